/**
 * What etcd 3.4 and 3.5 still put into their logs as requests of the retired v2 store, in the form that later versions
 * have for it. 3.6 converts the same two when it applies them; newer ones, like us, know only the converted form.
 *
 *   v2 request  {1 ID, 2 method, 3 path, 4 value, ...}
 *
 *   PUT /0/members/<hex>/attributes {"name":..,"clientURLs":[..]}  ─▶ cluster_member_attr_set
 *   PUT /0/version 3.4.0                                           ─▶ cluster_version_set
 *   QGET, a read that went through the log; SYNC                   ─▶ an operation without effect
 *   anything else is about keys of the v2 API, which nobody serves any more: left as it is, and not known here
 */
import { InternalRaftRequest } from "@quorate/api/messages";
import { MalformedMessage, Reader } from "@quorate/api/wire";
import { parseVersion } from "@quorate/membership";
import { Entry, EntryType } from "@quorate/raft";

const ATTRIBUTES_PATH = /^\/0\/members\/([0-9a-f]{1,16})\/attributes$/;
const METHODS: readonly string[] = ["PUT", "QGET", "SYNC"];
const VERSION_PATH = "/0/version";

/** The entry itself, if it is none of those. */
export function withoutLegacy(entry: Entry): Entry {
  if (entry.type !== EntryType.Normal || entry.data.length === 0) return entry;
  const request = legacyRequestOf(entry.data);
  if (request === null) return entry;
  const data = converted(request, entry.index);
  return data === null ? entry : new Entry(entry.type, entry.term, entry.index, data);
}

interface LegacyRequest {
  readonly id: bigint;
  readonly method: string;
  readonly path: string;
  readonly value: string;
}

/** Null if it is none. No other request has a text in the second field. */
function legacyRequestOf(data: Uint8Array): LegacyRequest | null {
  const reader = new Reader();
  reader.reset(data, 0, data.length);
  let id = 0n;
  const texts = ["", "", "", "", ""];
  try {
    while (reader.position < reader.end) {
      const tag = reader.tag();
      if (tag === 0x08) id = reader.uint64Big();
      else if (tag === 0x12 || tag === 0x1a || tag === 0x22) texts[tag >>> 3] = Buffer.from(reader.bytes()).toString();
      else reader.skip(tag);
    }
  } catch (error) {
    if (error instanceof MalformedMessage) return null;
    throw error;
  }
  const [, , method, path, value] = texts as [string, string, string, string, string];
  return METHODS.includes(method) ? { id, method, path, value } : null;
}

function converted({ id, method, path, value }: LegacyRequest, index: number): Uint8Array | null {
  // Nobody waits for the answer here; only 0 is no id.
  const header = { ID: id === 0n ? BigInt(index) : id };
  if (method !== "PUT") return InternalRaftRequest.encode({ header, downgradeVersionTest: { ver: "" } });
  if (path === VERSION_PATH) {
    return parseVersion(value) === null
      ? null
      : InternalRaftRequest.encode({ header, clusterVersionSet: { ver: value } });
  }
  const match = ATTRIBUTES_PATH.exec(path);
  const attributes = match === null ? null : attributesOf(value);
  if (match === null || attributes === null) return null;
  const memberID = BigInt(`0x${match[1]}`);
  return InternalRaftRequest.encode({ header, clusterMemberAttrSet: { memberID, memberAttributes: attributes } });
}

/** Null if it is not what etcd writes. */
function attributesOf(text: string): { readonly name: string; readonly clientUrls: readonly string[] } | null {
  let parsed: { readonly name?: unknown; readonly clientURLs?: unknown };
  try {
    parsed = JSON.parse(text);
  } catch {
    return null;
  }
  const { name = "", clientURLs = [] } = parsed ?? {};
  const isText = (each: unknown): each is string => typeof each === "string";
  if (!isText(name) || !Array.isArray(clientURLs) || !clientURLs.every(isText)) return null;
  return { name, clientUrls: clientURLs };
}
