/**
 * Who follows an election: the current leader, then everything it proclaims, and when it is gone the next one.
 *
 *   look ─┬─ a leader ──────────────────▶ told ─▶ follow its key ── deleted ─▶ look
 *         └─ none ─▶ await the first put ─▶ told ─┘
 *
 * A client that does not read holds the watch up, whose hub keeps what is left for it: nothing piles up here. A watch that
 * compaction has overtaken begins anew with the leader of now.
 */
import { EventType, errors, FilterType } from "@quorate/api";
import {
  type Init,
  type KeyValue,
  LeaderResponse,
  type ResponseHeader,
  type WatchCreateRequest,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import type { CallOwner, ServerCall } from "@quorate/rpc";
import { answerWriter, sendWith } from "../answer.ts";
import { failOuter, type LocalCall, type LocalFailure, type LocalMethods } from "./local-call.ts";
import { firstUnder, RANGE, rangeUnder } from "./owner-keys.ts";

export class Observation implements CallOwner {
  readonly #methods: LocalMethods;
  readonly #call: ServerCall;
  readonly #name: Uint8Array;
  /** The read or the watch under way. */
  #inner: LocalCall | null = null;
  #isClientBehind = false;

  constructor(methods: LocalMethods, call: ServerCall, name: Uint8Array) {
    this.#methods = methods;
    this.#call = call;
    this.#name = name;
  }

  begin(): void {
    this.#call.owner = this;
    this.#look();
  }

  cancelled(): void {
    this.#endInner();
  }

  drained(): void {
    this.#isClientBehind = false;
    this.#inner?.unpause();
  }

  #look(): void {
    this.#inner = this.#methods.unary(this.#call, RANGE, firstUnder(this.#name), (failure, found) => {
      this.#inner = null;
      if (failure !== null) return failOuter(this.#call, failure);
      const header = found!.header!;
      const leader = found!.kvs[0];
      if (leader === undefined) this.#awaitLeader(header.revision + 1);
      else this.#follow(header, leader);
    });
  }

  #awaitLeader(startRevision: number): void {
    const range = { ...rangeUnder(this.#name), startRevision, filters: [FilterType.NODELETE] };
    this.#watch(range, ({ header, events }) => {
      const kv = events[0]?.kv;
      if (kv === undefined) return;
      this.#endInner();
      this.#follow({ ...header!, revision: kv.modRevision }, kv);
    });
  }

  #follow(header: ResponseHeader, leader: KeyValue): void {
    this.#tell(header, leader);
    this.#watch({ key: leader.key, startRevision: header.revision + 1 }, (response) => {
      for (const { type, kv } of response.events) {
        if (type === EventType.DELETE) {
          this.#endInner();
          this.#look();
          return;
        }
        this.#tell(response.header!, kv!);
      }
    });
  }

  #watch(createRequest: Init<WatchCreateRequest>, changed: (response: WatchResponse) => void): void {
    const inner = this.#methods.open(this.#call, "/etcdserverpb.Watch/Watch", WatchRequest, [{ createRequest }], {
      received: (message) => {
        const response = WatchResponse.decode(message, 0, message.length);
        if (response.compactRevision > 0) {
          this.#endInner();
          this.#look();
        } else if (response.canceled) {
          this.#fail({ code: errors.WatchCanceled.code, message: response.cancelReason });
        } else changed(response);
      },
      ended: (failure) => this.#fail(failure ?? errors.WatchCanceled),
    });
    this.#inner = inner;
    if (this.#isClientBehind) inner.pause();
  }

  #tell(header: ResponseHeader, kv: KeyValue): void {
    answerWriter.reset();
    LeaderResponse.write(answerWriter, { header, kv });
    if (sendWith(this.#call, answerWriter) || !this.#call.isOpen) return;
    this.#isClientBehind = true;
    this.#inner?.pause();
  }

  #fail(failure: LocalFailure): void {
    this.#endInner();
    failOuter(this.#call, failure);
  }

  #endInner(): void {
    this.#inner?.abandon();
    this.#inner = null;
  }
}
