/**
 * Counts calls by the API version their clients say they speak (metadata `client-api-version`), which is how operators find
 * out who has to be upgraded. What is no UTF-8 is refused, as etcd refuses it. Called by admission.ts for every call.
 *
 * etcd makes a series of whatever a client sends; here there are at most VERSIONS of each type, and the rest are counted
 * together, so that a client cannot fill our memory and the monitoring's by counting upwards.
 */
import type { ServerCall } from "@quorate/rpc";
import type { Counter } from "../metrics/exposition.ts";

export type CallType = "unary" | "stream";

/** Makes the counter of one series; called once for each. */
export type ClientRequestCounter = (type: CallType, clientApiVersion: string) => Counter;

const CLIENT_API_VERSION = "client-api-version";
const UNKNOWN = "unknown";
const OTHER = "other";
/** Of each type. There is one for each minor release that anybody runs. */
const VERSIONS = 64;
const VERSION_BYTES = 64;
const utf8 = new TextDecoder("utf-8", { fatal: true });

export class ClientVersions {
  readonly #makeCounter: ClientRequestCounter;
  /** By what came over the wire, one character per byte. */
  readonly #counters: Readonly<Record<CallType, Map<string, Counter>>> = { unary: new Map(), stream: new Map() };

  constructor(makeCounter: ClientRequestCounter) {
    this.#makeCounter = makeCounter;
  }

  /** Counts the call; false: what it says is no text, and it is to be refused. Hot: one look-up, nothing is made. */
  admits(call: ServerCall, type: CallType): boolean {
    const version = call.metadata(CLIENT_API_VERSION) ?? UNKNOWN;
    const counter = this.#counters[type].get(version) ?? this.#firstOf(type, version);
    counter?.add();
    return counter !== null;
  }

  /** null: not UTF-8. */
  #firstOf(type: CallType, version: string): Counter | null {
    const text = textOf(version);
    if (text === null) return null;
    const counters = this.#counters[type];
    if (counters.size < VERSIONS && version.length <= VERSION_BYTES) {
      const counter = this.#makeCounter(type, text);
      counters.set(version, counter);
      return counter;
    }
    // Beyond the limit by this one.
    const other = counters.get(OTHER) ?? this.#makeCounter(type, OTHER);
    counters.set(OTHER, other);
    return other;
  }
}

function textOf(version: string): string | null {
  try {
    return utf8.decode(Buffer.from(version, "latin1"));
  } catch {
    return null;
  }
}
