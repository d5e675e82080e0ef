/**
 * Every bound of the HTTP/2 and gRPC layer in one place, with its default and its reason. Servers and clients share
 * the type; what only one side uses says so. All are per connection unless the name says otherwise.
 *
 * The sum: a hostile connection can make us hold, at most,
 *   maxConcurrentStreams × streamWindowBytes      messages still incomplete (64 MiB)
 * + assemblyBudgetBytes                           messages larger than a stream's window (16 MiB)
 * + maxHeaderBlockBytes + the decoder's table     (36 KiB)
 * + maxUnsentBytes                                answers it asked for at once (512 MiB), while it goes on reading;
 *   unreadBytes                                   otherwise, after unreadTimeoutMs (64 MiB).
 * How many connections there may be is the listener's decision, not ours.
 */
export interface RpcLimits {
  /** Largest gRPC message accepted, after decompression. etcd: --max-request-bytes + 512 KiB. */
  readonly maxMessageBytes: number;
  /** Streams a peer may have open at once, announced as SETTINGS_MAX_CONCURRENT_STREAMS (server). */
  readonly maxConcurrentStreams: number;
  /** Streams refused for exceeding the cap, as a bucket: a client that keeps ignoring SETTINGS is sent away. */
  readonly refusedBurst: number;
  readonly refusedPerSecond: number;

  /** One encoded header block, HEADERS plus CONTINUATION. */
  readonly maxHeaderBlockBytes: number;
  /** CONTINUATION frames in one block. */
  readonly maxContinuations: number;
  /** Time from HEADERS to END_HEADERS. */
  readonly headerTimeoutMs: number;
  /** Decoded size of a header list (name + value + 32 each), announced; beyond it 431, beyond twice it GOAWAY. */
  readonly maxHeaderListBytes: number;
  /** Fields in one header list. */
  readonly maxHeaderFields: number;

  /** Receive window of the whole connection; given back when half is used, so 16 MiB means one frame per 8 MiB. */
  readonly connectionWindowBytes: number;
  /** Receive window of one stream, at least 65535, so that announcing it never shrinks a window in use. */
  readonly streamWindowBytes: number;
  /** Bytes of messages larger than the stream window that may be assembled at once; the others wait their turn. */
  readonly assemblyBudgetBytes: number;

  /** `send` answers false while a stream has this much queued. */
  readonly streamHighWaterBytes: number;
  /** `send` answers false on every stream while the connection has this much queued. */
  readonly unsentHighWaterBytes: number;
  /** Queued bytes beyond which the connection is closed, whatever its reader does. */
  readonly maxUnsentBytes: number;
  /** ... and beyond which it is closed if its reader has taken nothing for `unreadTimeoutMs`. */
  readonly unreadBytes: number;
  readonly unreadTimeoutMs: number;
  /** Bytes of queued DATA moved to the socket in one turn, so that one big answer never blocks the loop. */
  readonly turnBytes: number;
  /** A stream with bytes waiting and no progress for this long is reset; the connection goes after twice that. */
  readonly stallTimeoutMs: number;

  /**
   * Stream resets, from either side, of streams younger than `resetYoungMs`: the rapid reset attack and its kin, which
   * costs us work that concurrency does not bound because the streams are gone at once. A stream that has lived longer
   * ends for its own reasons (a short deadline, a departing client), at a pace the cap on streams bounds. The burst is
   * nghttp2's: after a pause of ours, a client's calls and their timeouts arrive in one go.
   */
  readonly resetBurst: number;
  readonly resetPerSecond: number;
  readonly resetYoungMs: number;
  /**
   * Frames that are legal but useless (unknown types, PRIORITY, frames on forgotten streams). As nghttp2 has it: a client
   * whose calls all reach their deadline sends several resets for each, most of them for streams that we have ended.
   */
  readonly glitchBurst: number;
  readonly glitchPerSecond: number;
  /** SETTINGS frames received. */
  readonly settingsBurst: number;
  readonly settingsPerSecond: number;
  /** Entries in one SETTINGS frame. */
  readonly maxSettingsEntries: number;
  /** Empty DATA frames that end nothing. */
  readonly emptyDataBurst: number;
  readonly emptyDataPerSecond: number;
  /** WINDOW_UPDATE frames allowed: base + perStream × (streams opened + perData × DATA frames sent). */
  readonly windowUpdateBase: number;
  readonly windowUpdatePerStream: number;
  readonly windowUpdatePerData: number;
  /** PING and SETTINGS acknowledgements waiting while the peer does not read. */
  readonly maxPendingAcks: number;

  /** The preface and the first SETTINGS must have arrived by then (server). */
  readonly prefaceTimeoutMs: number;
  /** A connection without streams for this long is sent away politely; Infinity never (server). */
  readonly idleTimeoutMs: number;
  /** Pings closer together than this are strikes, as etcd's --grpc-keepalive-min-time (server). */
  readonly keepaliveMinTimeMs: number;
  /** Whether pings without any open stream are judged by keepaliveMinTimeMs rather than by two hours (server). */
  readonly keepaliveWithoutStream: boolean;
  /** Strikes allowed; one more closes the connection with "too_many_pings" (server). */
  readonly maxPingStrikes: number;
  /** We ping a peer that has been silent for this long, as etcd's --grpc-keepalive-interval. Infinity never. */
  readonly keepaliveIntervalMs: number;
  /** ... and close if it stays silent for this long, as etcd's --grpc-keepalive-timeout. */
  readonly keepaliveTimeoutMs: number;
  /** Calls a client may have waiting for a free stream or a connection (client). */
  readonly maxPendingCalls: number;
}

const KiB = 1024;
const MiB = 1024 * KiB;

export const defaultLimits: RpcLimits = {
  maxMessageBytes: 2 * MiB,
  maxConcurrentStreams: 1000,
  refusedBurst: 100,
  refusedPerSecond: 10,
  maxHeaderBlockBytes: 32 * KiB,
  maxContinuations: 8,
  headerTimeoutMs: 5_000,
  maxHeaderListBytes: 64 * KiB,
  maxHeaderFields: 100,
  connectionWindowBytes: 16 * MiB,
  streamWindowBytes: 65_535,
  assemblyBudgetBytes: 16 * MiB,
  streamHighWaterBytes: 256 * KiB,
  unsentHighWaterBytes: 4 * MiB,
  maxUnsentBytes: 512 * MiB,
  unreadBytes: 64 * MiB,
  unreadTimeoutMs: 5_000,
  turnBytes: 256 * KiB,
  stallTimeoutMs: 30_000,
  resetBurst: 1_000,
  resetPerSecond: 33,
  resetYoungMs: 10,
  glitchBurst: 10_000,
  glitchPerSecond: 330,
  settingsBurst: 20,
  settingsPerSecond: 2,
  maxSettingsEntries: 32,
  emptyDataBurst: 10,
  emptyDataPerSecond: 1,
  windowUpdateBase: 5,
  windowUpdatePerStream: 2,
  windowUpdatePerData: 10,
  maxPendingAcks: 100,
  prefaceTimeoutMs: 10_000,
  idleTimeoutMs: 300_000,
  keepaliveMinTimeMs: 5_000,
  keepaliveWithoutStream: false,
  maxPingStrikes: 2,
  keepaliveIntervalMs: 7_200_000,
  keepaliveTimeoutMs: 20_000,
  maxPendingCalls: 100_000,
};

/** The defaults with `overrides` applied. Throws {@link InvalidLimit} for a combination that cannot work. */
export function resolveLimits(overrides: Partial<RpcLimits> = {}): RpcLimits {
  const limits: RpcLimits = { ...defaultLimits, ...overrides };
  for (const [name, value] of Object.entries(limits) as [keyof RpcLimits, number | boolean][]) {
    if (typeof value === "number" && !(value >= 0)) throw new InvalidLimit(name, value, "a number of at least 0");
  }
  if (limits.streamWindowBytes < 65_535 || limits.streamWindowBytes > maxWindowBytes) {
    throw new InvalidLimit("streamWindowBytes", limits.streamWindowBytes, "65535 to 2147483647");
  }
  if (limits.connectionWindowBytes < 65_535 || limits.connectionWindowBytes > maxWindowBytes) {
    throw new InvalidLimit("connectionWindowBytes", limits.connectionWindowBytes, "65535 to 2147483647");
  }
  if (limits.maxMessageBytes + 5 > maxWindowBytes) {
    throw new InvalidLimit("maxMessageBytes", limits.maxMessageBytes, "at most 2147483642");
  }
  if (limits.assemblyBudgetBytes < limits.maxMessageBytes + 5) {
    // A message that the budget can never admit would hang its stream.
    return { ...limits, assemblyBudgetBytes: limits.maxMessageBytes + 5 };
  }
  return limits;
}

/** RFC 9113 §6.9.1: no window may exceed this. */
export const maxWindowBytes = 0x7fff_ffff;

export class InvalidLimit extends Error {
  readonly kind = "InvalidLimit";
  constructor(name: string, value: number, allowed: string) {
    super(`rpc limit ${name} is ${value}, must be ${allowed}`);
    this.name = "InvalidLimit";
  }
}
