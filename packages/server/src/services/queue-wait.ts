/**
 * A client's way through the queue of keys under a name, until its own is the oldest. Locks and campaigns differ only in
 * what they say at the end.
 *
 *   session ─▶ enter ─┬─ first ──────────────────────────────────▶ reached
 *              (txn)  └─ not first ─▶ look ── nobody before ─────▶ reached
 *                                      │  ▲ └─ own key is gone ──▶ expired
 *                                      ▼  │
 *                                     watch
 *   cancelled or failed in the queue ─▶ leave: the own key is deleted
 *
 * A waiter watches the key just before its own, so that an end wakes one waiter and not all, and its own key, so that it
 * hears at once that its session has expired (known failure LO-03).
 *
 * Invariants:
 *  - `look` reads own key and predecessor at one revision, linearizably, and nothing else makes an owner of who has waited:
 *    nobody owns what its expired lease took away meanwhile (LO-01);
 *  - a key is deleted only together with a comparison of its create revision, so that leaving late never takes away a newer
 *    place of the same session (LO-04);
 *  - the client's call holds its slot until its place is kept or given up, also when the client has long gone (LO-05).
 */
import { type ErrorKind, EventType, errors, FilterType } from "@quorate/api";
import {
  type Init,
  type KeyValue,
  type ResponseHeader,
  type TxnResponse,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import type { CallOwner, ServerCall } from "@quorate/rpc";
import { failOuter, type LocalCall, type LocalFailure, type LocalMethods } from "./local-call.ts";
import { firstUnder, isCreatedAt, keyOf, lastUnderBefore, TXN } from "./owner-keys.ts";
import { openSession } from "./session.ts";

/** A session's place in the queue. */
export interface Place {
  readonly key: Buffer;
  readonly createRevision: number;
  readonly lease: bigint;
  /** Of the transaction it was entered or found with. */
  readonly header: ResponseHeader;
}

export interface QueueEntry {
  readonly name: Uint8Array;
  /** 0 for a fresh one. */
  readonly lease: bigint;
  readonly value: Uint8Array;
  /** The error if the own key is gone before its turn has come. */
  readonly expired: ErrorKind;
}

export interface QueueOwner {
  /** The own key is the oldest; `header` is of the read, or the transaction, that showed it. Called once, at the end. */
  reached(place: Place, header: ResponseHeader): void;
  /** The session was in the queue already, with this key. `goOn` once, at any time later. */
  wasThere?(place: Place, kv: KeyValue, goOn: (failure: LocalFailure | null) => void): void;
}

export class QueueWait implements CallOwner {
  readonly #methods: LocalMethods;
  readonly #call: ServerCall;
  readonly #entry: QueueEntry;
  readonly #owner: QueueOwner;
  /** Null until the key is in the queue. */
  #place: Place | null = null;
  /** Giving up deletes the key: it was made for this call, or is what this call waits with. */
  #isOurs = false;
  #isEntering = false;
  #isOver = false;
  /** What is under way and may be given up at any time. */
  #inner: LocalCall | null = null;

  constructor(methods: LocalMethods, call: ServerCall, entry: QueueEntry, owner: QueueOwner) {
    this.#methods = methods;
    this.#call = call;
    this.#entry = entry;
    this.#owner = owner;
  }

  begin(): void {
    this.#call.owner = this;
    this.#call.holdSlot();
    this.#inner = openSession(this.#methods, this.#call, this.#entry.lease, (failure, lease) => {
      this.#inner = null;
      if (failure !== null) this.#fail(failure);
      else this.#enter(lease);
    });
  }

  /** A transaction that may have put the key already is awaited: what it did has to be undone. */
  cancelled(): void {
    this.#inner?.abandon();
    this.#inner = null;
    if (!this.#isEntering) this.#giveUp();
  }

  #enter(lease: bigint): void {
    const { name, value } = this.#entry;
    const key = keyOf(name, lease);
    this.#isEntering = true;
    const owner = { requestRange: { ...firstUnder(name), keysOnly: true } };
    const request = {
      compare: [isCreatedAt(key, 0)],
      success: [{ requestPut: { key, value, lease } }, owner],
      failure: [{ requestRange: { key } }, owner],
    };
    this.#methods.unary(this.#call, TXN, request, (failure, response) => {
      this.#isEntering = false;
      if (failure !== null) this.#fail(failure);
      else this.#entered(key, lease, response!);
    });
  }

  #entered(key: Buffer, lease: bigint, response: TxnResponse): void {
    const header = response.header!;
    const existing = response.succeeded ? null : response.responses[0]!.responseRange!.kvs[0]!;
    const createRevision = existing?.createRevision ?? header.revision;
    const place: Place = { key, createRevision, lease, header };
    this.#place = place;
    this.#isOurs = existing === null;
    if (!this.#call.isOpen) {
      this.#giveUp();
      return;
    }
    // Who put its key into an empty queue is first without having been seen in it.
    const first = response.responses[1]!.responseRange!.kvs[0];
    const isFirst = first === undefined || first.createRevision === createRevision;
    const goOn = (failure: LocalFailure | null): void => {
      if (this.#isOver) return;
      if (failure !== null) this.#fail(failure);
      else if (isFirst) this.#reached(header);
      else this.#wait();
    };
    if (existing !== null && this.#owner.wasThere !== undefined) this.#owner.wasThere(place, existing, goOn);
    else goOn(null);
  }

  #wait(): void {
    this.#isOurs = true;
    this.#look();
  }

  #look(): void {
    const { key, createRevision } = this.#place!;
    const before = { requestRange: lastUnderBefore(this.#entry.name, createRevision) };
    const own = { requestRange: { key, keysOnly: true } };
    this.#inner = this.#methods.unary(this.#call, TXN, { success: [before, own] }, (failure, response) => {
      this.#inner = null;
      if (failure !== null) this.#fail(failure);
      else this.#looked(response!);
    });
  }

  #looked({ header, responses }: TxnResponse): void {
    const before = responses[0]!.responseRange!.kvs[0];
    const own = responses[1]!.responseRange!.kvs[0];
    if (own?.createRevision !== this.#place!.createRevision) {
      this.#isOurs = false;
      this.#fail(errors[this.#entry.expired]);
    } else if (before === undefined) this.#reached(header!);
    else this.#watch([before.key, own.key], header!.revision + 1);
  }

  /** Until one of the keys is deleted, or has been compacted away before that could be seen. */
  #watch(keys: readonly Uint8Array[], startRevision: number): void {
    const requests: Init<WatchRequest>[] = keys.map((key) => ({
      createRequest: { key, startRevision, filters: [FilterType.NOPUT] },
    }));
    this.#inner = this.#methods.open(this.#call, "/etcdserverpb.Watch/Watch", WatchRequest, requests, {
      received: (message) => this.#watched(WatchResponse.decode(message, 0, message.length)),
      ended: (failure) => this.#fail(failure ?? errors.WatchCanceled),
    });
  }

  #watched(response: WatchResponse): void {
    const isDeleted = response.events.some(({ type }) => type === EventType.DELETE);
    if (isDeleted || response.compactRevision > 0) {
      this.#endWatch();
      this.#look();
    } else if (response.canceled) {
      this.#endWatch();
      this.#fail({ code: errors.WatchCanceled.code, message: response.cancelReason });
    }
  }

  #endWatch(): void {
    this.#inner?.abandon();
    this.#inner = null;
  }

  #reached(header: ResponseHeader): void {
    this.#isOver = true;
    this.#call.owner = null;
    this.#call.releaseSlot();
    this.#owner.reached(this.#place!, header);
  }

  #fail(failure: LocalFailure): void {
    this.#inner?.abandon();
    this.#inner = null;
    failOuter(this.#call, failure);
    this.#giveUp();
  }

  /** If this fails too, the lease will end the place. */
  #giveUp(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const call = this.#call;
    if (this.#place === null || !this.#isOurs) {
      call.releaseSlot();
      return;
    }
    const { key, createRevision } = this.#place;
    const request = { compare: [isCreatedAt(key, createRevision)], success: [{ requestDeleteRange: { key } }] };
    this.#methods.unary(call, TXN, request, () => call.releaseSlot());
  }
}
