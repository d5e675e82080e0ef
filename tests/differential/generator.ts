/**
 * Draws requests: every option of every call that needs no second member, over few keys so that they meet, with wrong
 * values often enough that every refusal is seen, and at times in an encoding that no encoder writes.
 *
 * What it draws depends on the seed and on what is known of the state, which itself depends on the seed alone: a failure
 * is replayed by its seed.
 */
import { AlarmAction, AlarmType, CompareTarget, SortTarget } from "@quorate/api";
import {
  AlarmRequest,
  AlarmResponse,
  CompactionRequest,
  CompactionResponse,
  type Compare,
  DefragmentRequest,
  DefragmentResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVRequest,
  HashKVResponse,
  HealthCheckRequest,
  HealthCheckResponse,
  type Init,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseLeasesRequest,
  LeaseLeasesResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
  MemberListRequest,
  MemberListResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RangeStreamResponse,
  type RequestOp,
  StatusRequest,
  StatusResponse,
  TxnRequest,
  TxnResponse,
  type WatchCreateRequest,
} from "@quorate/api/messages";
import { isBefore } from "./differences.ts";
import { distort } from "./distort.ts";
import type { KnownState } from "./known-state.ts";
import { type Operation, operation } from "./operation.ts";
import type { Seeded } from "./seeded.ts";

/** int64's ends; the codecs write them for the ends of what a number holds. */
const INT64_MAX = Number.MAX_SAFE_INTEGER;
const INT64_MIN = -Number.MAX_SAFE_INTEGER;

const MAX_TXN_OPS = 128;
/** Of transactions inside transactions. */
const DEPTH_MAX = 3;
const STREAMS = 3;
const RARELY_PERCENT = 2;

const KEYS: readonly Buffer[] = [
  ...["a", "ab", "abc", "b", "b/", "b/1", "b/2", "b0", "c", "d", "e", "foo", "foo/bar", "foo/baz", "fop", "zz"].map(
    (text) => Buffer.from(text),
  ),
  Buffer.of(0),
  Buffer.of(0, 0),
  Buffer.of(0x61, 0),
  Buffer.of(0x61, 0xff),
  Buffer.of(0x61, 0xff, 0xff),
  Buffer.of(0xff),
  Buffer.of(0xff, 0xff),
  Buffer.of(0xc3, 0x28),
];
const EMPTY = Buffer.alloc(0);
const OPEN_END = Buffer.of(0);

export const LEASE_IDS: readonly bigint[] = [
  1n,
  2n,
  3n,
  77n,
  -1n,
  -2n,
  1n << 40n,
  (1n << 53n) + 1n,
  (1n << 63n) - 1n,
  -(1n << 63n),
];
const UNKNOWN_LEASE = 0x7777n;
const WATCH_IDS: readonly bigint[] = [1n, 2n, 3n, 7n, 1n << 40n, (1n << 63n) - 1n, -(1n << 63n), -7n];

export type Step =
  | { readonly kind: "call"; readonly operation: Operation }
  /** The server picks the id, so the lease is looked at and revoked at once. */
  | { readonly kind: "grantAnyId"; readonly ttlSeconds: number }
  | { readonly kind: "keepAlive"; readonly id: bigint }
  | { readonly kind: "watchCreate"; readonly stream: number; readonly request: Init<WatchCreateRequest> }
  | { readonly kind: "watchCancel"; readonly stream: number; readonly id: bigint }
  | { readonly kind: "watchProgress"; readonly stream: number }
  /** A watch request that asks for nothing. */
  | { readonly kind: "watchNothing"; readonly stream: number };

export class Generator {
  readonly #seeded: Seeded;
  readonly #known: KnownState;
  /** Ids in use on a watch stream. */
  readonly #watchIds: (stream: number) => readonly bigint[];
  /** Steps that must follow one another. */
  readonly #queue: Step[] = [];

  constructor(seeded: Seeded, known: KnownState, watchIds: (stream: number) => readonly bigint[]) {
    this.#seeded = seeded;
    this.#known = known;
    this.#watchIds = watchIds;
  }

  static readonly streams: number = STREAMS;

  /** Nothing is half done. */
  get isFree(): boolean {
    return this.#queue.length === 0;
  }

  next(): Step {
    return this.#queue.shift() ?? this.#drawn();
  }

  #drawn(): Step {
    const seeded = this.#seeded;
    const draw = seeded.weighted<() => Step>([
      [280, () => this.#call(this.#put())],
      [240, () => this.#call(this.#range())],
      [30, () => this.#call(this.#rangeStream())],
      [70, () => this.#call(this.#deleteRange())],
      [180, () => this.#call(this.#txn())],
      [12, () => this.#call(this.#compact())],
      [25, () => this.#call(this.#hashKv())],
      [20, () => ({ kind: "call", operation: this.#grant() })],
      [10, () => this.#call(this.#revoke())],
      [20, () => this.#call(this.#timeToLive())],
      [8, () => this.#call(this.#leases())],
      [4, () => this.#edgeGrant()],
      [2, () => ({ kind: "grantAnyId", ttlSeconds: seeded.pick([0, 5, 100]) })],
      [15, () => ({ kind: "keepAlive", id: this.#leaseId() })],
      [35, () => this.#watchCreate()],
      [15, () => ({ kind: "watchCancel", stream: seeded.below(STREAMS), id: 0n })],
      [15, () => ({ kind: "watchProgress", stream: seeded.below(STREAMS) })],
      [4, () => this.#alarm()],
      [2, () => ({ kind: "watchNothing", stream: seeded.below(STREAMS) })],
      [12, () => this.#call(this.#administration())],
    ])();
    return draw.kind === "watchCancel" ? { ...draw, id: this.#watchIdToCancel(draw.stream) } : draw;
  }

  /** Anything at all, for the end of a run: a change that every watcher of everything sees. */
  change(): Operation {
    return operation("/etcdserverpb.KV/Put", PutRequest, PutResponse, { key: Buffer.from("a"), value: this.#value() });
  }

  #call(plain: Operation): Step {
    const bytes = this.#seeded.chance(4)
      ? distort(plain.bytes, this.#seeded, !isBefore(this.#known.version, "3.7"))
      : plain.bytes;
    return { kind: "call", operation: { ...plain, bytes } };
  }

  // --- KV

  #put(): Operation {
    return operation("/etcdserverpb.KV/Put", PutRequest, PutResponse, this.#putRequest());
  }

  #putRequest(): Init<PutRequest> {
    const seeded = this.#seeded;
    const ignoreValue = seeded.chance(8);
    const ignoreLease = seeded.chance(8);
    return {
      key: this.#key(),
      value: ignoreValue && !seeded.chance(10) ? EMPTY : this.#value(),
      lease: ignoreLease && !seeded.chance(10) ? 0n : seeded.chance(20) ? this.#leaseId() : 0n,
      prevKv: seeded.chance(30),
      ignoreValue,
      ignoreLease,
    };
  }

  #deleteRange(): Operation {
    const request = this.#deleteRequest();
    return operation("/etcdserverpb.KV/DeleteRange", DeleteRangeRequest, DeleteRangeResponse, request);
  }

  #deleteRequest(): Init<DeleteRangeRequest> {
    const key = this.#key();
    // Seldom everything from some key on, or nothing would ever grow old.
    const rangeEnd = this.#seeded.chance(60) ? EMPTY : this.#seeded.chance(85) ? prefixEnd(key) : this.#rangeEnd(key);
    return { key, rangeEnd, prevKv: this.#seeded.chance(40) };
  }

  #range(): Operation {
    return operation("/etcdserverpb.KV/Range", RangeRequest, RangeResponse, this.#rangeRequest());
  }

  #rangeStream(): Operation {
    const request = this.#rangeRequest();
    // Mostly what streams can do.
    const plain = this.#seeded.chance(80)
      ? {
          ...request,
          sortOrder: 0,
          minModRevision: 0,
          maxModRevision: 0,
          minCreateRevision: 0,
          maxCreateRevision: 0,
        }
      : request;
    return operation("/etcdserverpb.KV/RangeStream", RangeRequest, RangeStreamResponse, plain, "serverStream");
  }

  #rangeRequest(): Init<RangeRequest> {
    const seeded = this.#seeded;
    const key = this.#key();
    const isFiltered = seeded.chance(15);
    const bound = (): number => (isFiltered && seeded.chance(40) ? this.#revision() : 0);
    return {
      key,
      rangeEnd: seeded.chance(30) ? EMPTY : this.#rangeEnd(key),
      limit: seeded.chance(40) ? seeded.pick([1, 1, 2, 3, 5, 8, -1, 1000, INT64_MAX, INT64_MIN]) : 0,
      revision: seeded.chance(40) ? this.#revision() : 0,
      sortOrder: seeded.chance(35) ? seeded.pick([0, 1, 1, 2, 2, 2]) : this.#rareEnum(),
      sortTarget: seeded.chance(35) ? seeded.below(Object.keys(SortTarget).length) : this.#rareEnum(),
      serializable: seeded.chance(25),
      keysOnly: seeded.chance(20),
      countOnly: seeded.chance(10),
      minModRevision: bound(),
      maxModRevision: bound(),
      minCreateRevision: bound(),
      maxCreateRevision: bound(),
    };
  }

  #compact(): Operation {
    const { revision, compactRevision } = this.#known;
    const seeded = this.#seeded;
    const past = Math.max(compactRevision, 0) + seeded.below(Math.max(1, revision - Math.max(compactRevision, 0)));
    const request: Init<CompactionRequest> = {
      revision: seeded.weighted([
        [60, past],
        [10, revision],
        [10, compactRevision],
        [10, compactRevision - 1],
        [3, 0],
        [3, -1],
        [2, INT64_MIN],
        [3, revision + 1],
        [3, INT64_MAX],
      ]),
      physical: seeded.chance(50),
    };
    return operation("/etcdserverpb.KV/Compact", CompactionRequest, CompactionResponse, request);
  }

  /** Inside `depth` others; the innermost, at DEPTH_MAX, has none inside. */
  #txn(depth = 0): Operation {
    const drawn = this.#txnRequest(depth);
    // Etcd ends its process at a put that keeps the value of what the same transaction deleted, and sees that coming
    // except for deletions with an open end.
    const request = deletesToTheEnd(drawn) ? withoutIgnores(drawn) : drawn;
    return operation("/etcdserverpb.KV/Txn", TxnRequest, TxnResponse, request);
  }

  #txnRequest(depth: number): Init<TxnRequest> {
    const seeded = this.#seeded;
    if (depth === 0 && seeded.chance(1.5)) return this.#longTxn();
    const isReadOnly = seeded.chance(15);
    const ops = (): Init<RequestOp>[] =>
      seeded.list(seeded.pick([0, 1, 1, 1, 2, 2, 3, 4]), () =>
        isReadOnly ? { requestRange: this.#rangeRequest() } : this.#op(depth),
      );
    return {
      compare: seeded.list(seeded.pick([0, 1, 1, 1, 2, 3]), () => this.#compare()),
      success: ops(),
      failure: ops(),
    };
  }

  /** About as many operations as may be, distinct and not. */
  #longTxn(): Init<TxnRequest> {
    const seeded = this.#seeded;
    const count = MAX_TXN_OPS - 1 + seeded.below(3);
    const rangeOps = (length: number): Init<RequestOp>[] =>
      seeded.list(length, () => ({ requestRange: { key: seeded.pick(KEYS), countOnly: true } }));
    switch (seeded.below(4)) {
      case 0:
        return { success: rangeOps(count) };
      case 1:
        return { failure: rangeOps(count) };
      case 2:
        return { compare: seeded.list(count, () => ({ key: seeded.pick(KEYS), target: 0, result: 1, version: -1 })) };
      default:
        // Nested, the limits add up.
        return { success: [{ requestTxn: { success: rangeOps(count - 1) } }] };
    }
  }

  #op(depth: number): Init<RequestOp> {
    const seeded = this.#seeded;
    return seeded.weighted<() => Init<RequestOp>>([
      [40, () => ({ requestPut: this.#putRequest() })],
      [30, () => ({ requestRange: this.#opRange() })],
      [15, () => ({ requestDeleteRange: this.#deleteRequest() })],
      [depth < DEPTH_MAX ? 15 : 0, () => ({ requestTxn: this.#txnRequest(depth + 1) })],
      [1, () => ({})],
    ])();
  }

  /** Revisions that a transaction cannot read fail all of it, so fewer of them. */
  #opRange(): Init<RangeRequest> {
    const request = this.#rangeRequest();
    return this.#seeded.chance(70) ? { ...request, revision: 0 } : request;
  }

  #compare(): Init<Compare> {
    const seeded = this.#seeded;
    const key = this.#key();
    const target = seeded.below(Object.keys(CompareTarget).length);
    // Sometimes the union holds what another target would compare, or nothing.
    const given = seeded.chance(90) ? target : seeded.below(Object.keys(CompareTarget).length + 1);
    return {
      key,
      rangeEnd: seeded.chance(70) ? EMPTY : this.#rangeEnd(key),
      target: seeded.chance(97) ? target : seeded.pick([5, 17, -1]),
      result: seeded.chance(97) ? seeded.below(4) : seeded.pick([4, 99, -1]),
      ...this.#targetUnion(given),
    };
  }

  #targetUnion(target: number): Init<Compare> {
    const seeded = this.#seeded;
    switch (target) {
      case CompareTarget.VERSION:
        return { version: seeded.pick([0, 0, 1, 2, 3, -1, INT64_MAX]) };
      case CompareTarget.CREATE:
        return { createRevision: seeded.chance(30) ? 0 : this.#revision() };
      case CompareTarget.MOD:
        return { modRevision: seeded.chance(20) ? 0 : this.#revision() };
      case CompareTarget.VALUE:
        return { value: this.#value() };
      case CompareTarget.LEASE:
        return { lease: seeded.chance(50) ? 0n : this.#leaseId() };
      default:
        return {};
    }
  }

  // --- leases

  /** Never distorted: a grant without its id would make a lease of another id on each server. */
  #grant(): Operation {
    const ID = this.#seeded.pick(LEASE_IDS);
    return operation("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse, {
      ID,
      TTL: this.#known.nextTtlSeconds(),
    });
  }

  /** TTLs that are refused, raised to the least or kept; what is granted is looked at and revoked before it can end. */
  #edgeGrant(): Step {
    const ID = 0x5000n;
    const TTL = this.#seeded.pick([0, -1, 1, 2, 3, 60, 9_000_000_000, 9_000_000_001, INT64_MAX, INT64_MIN]);
    const lookUp = { ID, keys: true };
    for (const each of [
      operation("/etcdserverpb.Lease/LeaseTimeToLive", LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lookUp),
      operation("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, LeaseRevokeResponse, { ID }),
    ]) {
      this.#queue.push({ kind: "call", operation: each });
    }
    const request = { ID, TTL };
    const grant = operation("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse, request);
    return { kind: "call", operation: grant };
  }

  #revoke(): Operation {
    const request = { ID: this.#leaseId() };
    return operation("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeRequest, LeaseRevokeResponse, request);
  }

  #timeToLive(): Operation {
    return operation("/etcdserverpb.Lease/LeaseTimeToLive", LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, {
      ID: this.#leaseId(),
      keys: this.#seeded.chance(60),
    });
  }

  #leases(): Operation {
    return operation("/etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest, LeaseLeasesResponse, {});
  }

  // --- watches

  #watchCreate(): Step {
    const seeded = this.#seeded;
    const stream = seeded.below(STREAMS);
    const key = this.#key();
    const rangeEnd = seeded.chance(30) ? EMPTY : this.#rangeEnd(key);
    const startRevision = seeded.chance(50) ? 0 : this.#revision();
    const request: Init<WatchCreateRequest> = {
      key,
      rangeEnd,
      startRevision: this.#watchable(startRevision),
      progressNotify: seeded.chance(20),
      filters: seeded.chance(75) ? [] : seeded.list(1 + seeded.below(3), () => seeded.pick([0, 1, 1, 5, -1])),
      prevKv: seeded.chance(40),
      watchId: seeded.chance(70) ? 0n : seeded.pick([...WATCH_IDS, ...this.#watchIds(stream)]),
      fragment: seeded.chance(20),
    };
    return { kind: "watchCreate", stream, request };
  }

  /** Before 3.7, not every etcd refused to start before the first revision, or kept deletions at the compacted one. */
  #watchable(startRevision: number): number {
    const { version, compactRevision } = this.#known;
    if (!isBefore(version, "3.7")) return startRevision;
    return startRevision === compactRevision ? compactRevision + 1 : Math.max(startRevision, 0);
  }

  #watchIdToCancel(stream: number): bigint {
    const ids = this.#watchIds(stream);
    return ids.length > 0 && this.#seeded.chance(90) ? this.#seeded.pick(ids) : 999n;
  }

  // --- the rest

  /**
   * Asks for alarms; or raises one, for a few steps in which writes are refused, and clears it. Never an unknown action:
   * etcd ends its process at one.
   */
  #alarm(): Step {
    const seeded = this.#seeded;
    const alarm = seeded.pick([AlarmType.NONE, AlarmType.NOSPACE, AlarmType.NOSPACE, AlarmType.CORRUPT, 9]);
    const memberID = seeded.pick([0n, 5n]);
    const step = (request: Init<AlarmRequest>): Step => {
      return {
        kind: "call",
        operation: operation("/etcdserverpb.Maintenance/Alarm", AlarmRequest, AlarmResponse, request),
      };
    };
    if (seeded.chance(50))
      return step({ action: seeded.pick([AlarmAction.GET, AlarmAction.DEACTIVATE]), alarm, memberID });
    // Raising no alarm raised it, in etcds before 3.5.
    if (alarm === AlarmType.NONE && isBefore(this.#known.version, "3.5")) return step({ alarm, memberID });
    // Only 3.7 sees the puts of nested transactions when there is no space.
    const depth = isBefore(this.#known.version, "3.7") ? DEPTH_MAX : 0;
    for (let i = 0; i < 10; i++) {
      const draw = seeded.pick([
        () => this.#put(),
        () => this.#deleteRange(),
        () => this.#txn(depth),
        () => this.#compact(),
        () => this.#grant(),
        () => this.#revoke(),
        () => this.#range(),
      ]);
      this.#queue.push({ kind: "call", operation: draw() });
    }
    this.#queue.push(
      step({ action: AlarmAction.GET }),
      step({ action: AlarmAction.GET, alarm }),
      step({ action: AlarmAction.DEACTIVATE, alarm, memberID }),
    );
    return step({ action: AlarmAction.ACTIVATE, alarm, memberID });
  }

  #hashKv(): Operation {
    const { revision, compactRevision } = this.#known;
    const drawn = this.#seeded.weighted([
      [40, 0],
      [20, revision],
      [20, compactRevision],
      [40, this.#revision()],
    ]);
    // The answer repeats it, and the codec reads revisions exactly.
    const request: Init<HashKVRequest> = { revision: Math.max(drawn, -1_000_000) };
    return operation("/etcdserverpb.Maintenance/HashKV", HashKVRequest, HashKVResponse, request);
  }

  #administration(): Operation {
    const seeded = this.#seeded;
    return seeded.weighted<() => Operation>([
      [
        10,
        () =>
          operation("/etcdserverpb.Cluster/MemberList", MemberListRequest, MemberListResponse, {
            linearizable: seeded.chance(50),
          }),
      ],
      [10, () => operation("/etcdserverpb.Maintenance/Status", StatusRequest, StatusResponse, {})],
      [
        10,
        () =>
          operation("/grpc.health.v1.Health/Check", HealthCheckRequest, HealthCheckResponse, {
            service: seeded.pick(["", "", "etcdserverpb.KV", "nobody"]),
          }),
      ],
      [1, () => operation("/etcdserverpb.Maintenance/Defragment", DefragmentRequest, DefragmentResponse, {})],
      [2, () => operation("/etcdserverpb.KV/Missing", RangeRequest, RangeResponse, {})],
      [2, () => operation("/etcdserverpb.Missing/Range", RangeRequest, RangeResponse, {})],
    ])();
  }

  // --- values

  #key(): Buffer {
    return this.#seeded.chance(RARELY_PERCENT) ? EMPTY : this.#seeded.pick(KEYS);
  }

  #rangeEnd(key: Buffer): Buffer {
    const seeded = this.#seeded;
    return seeded.weighted<() => Buffer>([
      [30, () => prefixEnd(key)],
      [25, () => OPEN_END],
      [30, () => seeded.pick(KEYS)],
      [5, () => key],
      [10, () => Buffer.concat([key, OPEN_END])],
    ])();
  }

  /** Mostly distinct, so that orders by value are total; sometimes one of a few, so that compares hit. */
  #value(): Buffer {
    const seeded = this.#seeded;
    if (seeded.chance(40)) return Buffer.from(seeded.pick(["", "0", "1", "v", "\u0000", "é"]));
    if (seeded.chance(2)) return Buffer.alloc(3000 + seeded.below(20_000), seeded.below(256));
    return Buffer.from(`v${seeded.below(1_000_000)}`);
  }

  #revision(): number {
    const { revision, compactRevision } = this.#known;
    const seeded = this.#seeded;
    return seeded.weighted([
      [40, 1 + seeded.below(revision)],
      [30, Math.max(1, revision - seeded.below(20))],
      [10, revision],
      [5, revision + 1],
      [3, revision + 1 + seeded.below(50)],
      [8, compactRevision],
      [8, compactRevision - 1],
      [5, compactRevision + 1],
      [3, -1 - seeded.below(3)],
      [2, INT64_MAX],
      [2, INT64_MIN],
    ]);
  }

  #leaseId(): bigint {
    const { leases } = this.#known;
    const seeded = this.#seeded;
    if (leases.length > 0 && seeded.chance(85)) return seeded.pick(leases).id;
    return seeded.pick([UNKNOWN_LEASE, 0n, ...LEASE_IDS]);
  }

  /** Sort options that nobody knows. Etcds before 3.5 end their process at some of them. */
  #rareEnum(): number {
    const drawn = this.#seeded.chance(1) ? this.#seeded.pick([3, 5, 99, -1]) : 0;
    return isBefore(this.#known.version, "3.5") ? 0 : drawn;
  }
}

function deletesToTheEnd({ success = [], failure = [] }: Init<TxnRequest>): boolean {
  return [...success, ...failure].some(
    ({ requestDeleteRange, requestTxn }) =>
      (requestDeleteRange?.rangeEnd !== undefined && OPEN_END.equals(requestDeleteRange.rangeEnd)) ||
      (requestTxn !== undefined && deletesToTheEnd(requestTxn)),
  );
}

function withoutIgnores(txn: Init<TxnRequest>): Init<TxnRequest> {
  const rewritten = (op: Init<RequestOp>): Init<RequestOp> => {
    if (op.requestTxn !== undefined) return { requestTxn: withoutIgnores(op.requestTxn) };
    if (op.requestPut === undefined) return op;
    return { requestPut: { ...op.requestPut, ignoreValue: false, ignoreLease: false } };
  };
  return { ...txn, success: txn.success?.map(rewritten), failure: txn.failure?.map(rewritten) };
}

/** The end of the range of everything that begins with the key. */
function prefixEnd(key: Buffer): Buffer {
  let length = key.length;
  while (length > 0 && key[length - 1] === 0xff) length--;
  if (length === 0) return OPEN_END;
  const end = Buffer.from(key.subarray(0, length));
  end[length - 1]! += 1;
  return end;
}
