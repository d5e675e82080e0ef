/**
 * Whether two servers gave the same answer. Everything is compared: the status with its text, every field of every
 * message. Left aside is only what names the server (cluster and member ids, raft terms, sizes, addresses, clocks to two
 * seconds) and what etcd leaves to chance: the order among equals of a sort, and of the keys of a lease.
 */
import { SortOrder, SortTarget, StatusCode } from "@quorate/api";
import {
  type KeyValue,
  LeaseTimeToLiveResponse,
  MemberListResponse,
  type RangeRequest,
  RangeResponse,
  RangeStreamResponse,
  type RequestOp,
  type ResponseHeader,
  type ResponseOp,
  StatusResponse,
  type TxnRequest,
  TxnResponse,
} from "@quorate/api/messages";
import type { Ending } from "./connection.ts";
import type { Operation } from "./operation.ts";
import { show } from "./show.ts";

const RANGE_STREAM = "/etcdserverpb.KV/RangeStream";

export interface Answer {
  readonly code: number;
  readonly message: string;
  /** Decoded; null unless the call went well. The chunks of a stream are merged. */
  readonly response: object | null;
}

export function decodeAnswer({ path, responseType }: Operation, ending: Ending): Answer {
  const { code, message, messages } = ending;
  if (code !== StatusCode.Ok) return { code, message, response: null };
  const response = path === RANGE_STREAM ? mergeChunks(messages) : responseType.decode(messages[0]!);
  return { code, message, response };
}

/** An answer as text, with everything that may differ made the same. */
export function comparable(operation: Operation, answer: Answer, other: Answer): string {
  const { code, message, response } = answer;
  if (response === null) return `status ${code} ${JSON.stringify(comparableText(code, message))}`;
  const request = operation.requestType.decode(operation.bytes);
  return show(comparableResponse(operation, request, response, other.response));
}

/** What is wrong with bytes is said in each decoder's own words. */
function comparableText(code: number, message: string): string {
  const begun = /^grpc: (error unmarshalling request|failed to unmarshal the received message)/.exec(message);
  return code === StatusCode.Internal && begun !== null ? begun[0] : message;
}

function comparableResponse(operation: Operation, request: object, response: object, other: object | null): object {
  const shared = "header" in response ? { ...response, header: comparableHeader(response.header) } : response;
  switch (operation.responseType as unknown) {
    case RangeResponse:
    case RangeStreamResponse:
      return { ...shared, ...comparableRange(request as RangeRequest, response as RangeResponse) };
    case TxnResponse:
      return comparableTxn(request as TxnRequest, response as TxnResponse);
    case LeaseTimeToLiveResponse:
      return { ...shared, ...comparableTimeToLive(response as LeaseTimeToLiveResponse, other) };
    case MemberListResponse:
      return { ...shared, members: comparableMembers(response as MemberListResponse) };
    case StatusResponse:
      return { ...shared, ...comparableStatus(response as StatusResponse) };
    default:
      return shared;
  }
}

/** Which ids there are, not what they are. */
export function comparableHeader(header: unknown): object | undefined {
  if (header === undefined) return undefined;
  const { clusterId, memberId, revision, raftTerm } = header as ResponseHeader;
  return { hasCluster: clusterId !== 0n, hasMember: memberId !== 0n, hasTerm: raftTerm !== 0, revision };
}

function comparableTxn(request: TxnRequest, response: TxnResponse): object {
  const ops = response.succeeded ? request.success : request.failure;
  return {
    header: comparableHeader(response.header),
    succeeded: response.succeeded,
    responses: response.responses.map((each, i) => comparableOp(ops[i], each)),
  };
}

function comparableOp(request: RequestOp | undefined, response: ResponseOp): object {
  const { responseRange, responsePut, responseDeleteRange, responseTxn } = response;
  if (responseRange !== undefined && request?.requestRange !== undefined) {
    const header = comparableHeader(responseRange.header);
    return { responseRange: { ...responseRange, ...comparableRange(request.requestRange, responseRange), header } };
  }
  if (responseTxn !== undefined && request?.requestTxn !== undefined) {
    return { responseTxn: comparableTxn(request.requestTxn, responseTxn) };
  }
  if (responsePut !== undefined)
    return { responsePut: { ...responsePut, header: comparableHeader(responsePut.header) } };
  if (responseDeleteRange !== undefined) {
    const header = comparableHeader(responseDeleteRange.header);
    return { responseDeleteRange: { ...responseDeleteRange, header } };
  }
  return { ...response };
}

/** Equals of a sort have no order; which of them a limit cuts off is open too. */
function comparableRange(request: RangeRequest, { kvs, more }: RangeResponse): { kvs: object[] } {
  const orderOf = sortKey(request);
  if (orderOf === null) return { kvs: [...kvs] };
  const groups: KeyValue[][] = [];
  for (const kv of kvs) {
    const last = groups.at(-1);
    if (last !== undefined && orderOf(last[0]!) === orderOf(kv)) last.push(kv);
    else groups.push([kv]);
  }
  const cut = more ? groups.pop() : undefined;
  const rows: object[] = groups.flatMap((group) => group.sort((a, b) => Buffer.compare(a.key, b.key)));
  if (cut !== undefined) rows.push({ lastOf: orderOf(cut[0]!), count: cut.length });
  return { kvs: rows };
}

/** What a request sorts by; null if that is the key. */
function sortKey({ sortOrder, sortTarget, keysOnly }: RangeRequest): ((kv: KeyValue) => string) | null {
  switch (sortTarget) {
    case SortTarget.KEY:
      return null;
    case SortTarget.VERSION:
      return (kv) => `version ${kv.version}`;
    case SortTarget.CREATE:
      return (kv) => `create ${kv.createRevision}`;
    case SortTarget.MOD:
      return (kv) => `mod ${kv.modRevision}`;
    default:
      // The values are not shown, so any order could be right.
      if (keysOnly) return () => `order ${sortOrder === SortOrder.NONE}`;
      return (kv) => `value ${Buffer.from(kv.value).toString("hex")}`;
  }
}

function comparableTimeToLive(response: LeaseTimeToLiveResponse, other: object | null): object {
  const keys = [...response.keys].sort(Buffer.compare);
  const theirs = (other as LeaseTimeToLiveResponse | null)?.TTL ?? response.TTL;
  const isNear = response.TTL > 0 && theirs > 0 && Math.abs(response.TTL - theirs) <= 2;
  return { keys, TTL: isNear ? Math.min(response.TTL, theirs) : response.TTL };
}

function comparableMembers({ header, members }: MemberListResponse): object[] {
  return members.map(({ ID, name, peerURLs, clientURLs, isLearner }) => ({
    isSelf: ID === header?.memberId,
    name,
    peerUrls: peerURLs.length,
    clientUrls: clientURLs.length,
    isLearner,
  }));
}

function comparableStatus(status: StatusResponse): object {
  return {
    version: status.version.split(".").slice(0, 2).join("."),
    dbSize: status.dbSize > 0,
    dbSizeInUse: status.dbSizeInUse > 0 && status.dbSizeInUse <= status.dbSize,
    leader: status.leader === status.header?.memberId,
    raftIndex: status.raftIndex > 0,
    raftAppliedIndex: status.raftAppliedIndex > 0 && status.raftAppliedIndex <= status.raftIndex,
    raftTerm: status.raftTerm > 0,
  };
}

/** All chunks are parts of one RangeResponse (semantics of protobuf's merge). */
function mergeChunks(messages: readonly Uint8Array[]): RangeResponse {
  const merged = { header: undefined as ResponseHeader | undefined, kvs: [] as KeyValue[], more: false, count: 0 };
  for (const message of messages) {
    const { rangeResponse } = RangeStreamResponse.decode(message);
    if (rangeResponse === undefined) continue;
    merged.header = rangeResponse.header ?? merged.header;
    merged.kvs.push(...rangeResponse.kvs);
    merged.more ||= rangeResponse.more;
    merged.count += rangeResponse.count;
  }
  return merged;
}
