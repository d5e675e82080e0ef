/**
 * etcdserverpb.Watch: one stream, many watchers. Creates and cancels are answered in the order asked; events come from
 * the hub and are framed here, a private head before the bytes that all watchers of a change share.
 *
 *   client ── create, cancel, progress ──▶ WatchStreamCall ──▶ WatchHub
 *          ◀── head │ shared events ─────       ▲ deliver, compacted ┘
 *
 * Flow control: a delivery is refused while more than the stream's share of bytes waits for the client; the hub keeps it
 * and is told when the stream has drained, so nothing is dropped, reordered or buffered without bound. A created answer
 * always precedes its watcher's events, because both go through the same queue and the hub delivers only after `create`.
 *
 * The client closing its half does not end the stream (semantics §5.1): events go on until it is cancelled.
 *
 * Hot: bench/watch.ts, one put to ten thousand watchers.
 */
import { type ErrorKind, watchCancelReasons } from "@quorate/api";
import { WatchRequest } from "@quorate/api/messages";
import {
  DuplicateWatchIdError,
  EmptyWatcherRangeError,
  FRAGMENT_OVERHEAD_SIZE_BYTES,
  fragmentEnds,
  NO_WATCH_ID,
  type SharedEvents,
  type Watcher,
  WatchFilter,
  type WatchSink,
  type WatchStream,
  writeControl,
  writeEventsHead,
} from "@quorate/mvcc";
import type { CallOwner, Method, ServerCall, StreamHandler } from "@quorate/rpc";
import type { Timer } from "@quorate/world";
import { answerWriter, failStreamThrown, sendWith } from "../answer.ts";
import type { Member } from "../member/member.ts";
import { refusalOfWatch } from "./read-permissions.ts";

/** What may wait for one client before its deliveries are refused: more than one large revision, far below a gigabyte. */
const QUEUED_MAX_BYTES = 1024 * 1024;
/** etcd draws the notification interval of each stream up to a tenth longer, so that they do not all fire at once. */
const PROGRESS_JITTER = 0.1;
/** What a timer takes: an interval of weeks is as good as never. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** etcd's: the whole key space may be watched by leaving the key out. */
const FIRST_KEY = Buffer.from([0]);
const FILTER_NOPUT = 0;
const FILTER_NODELETE = 1;

export function watchMethods(member: Member): [string, Method][] {
  return [["/etcdserverpb.Watch/Watch", { kind: "stream", open: (call) => new WatchStreamCall(member, call) }]];
}

/** What the service adds to a watcher. */
interface WatcherDetails {
  readonly wantsProgress: boolean;
  readonly isFragmenting: boolean;
  /** Events went out since the last notification was due. */
  hadEvents: boolean;
}

class WatchStreamCall implements StreamHandler, CallOwner, WatchSink {
  readonly #member: Member;
  readonly #call: ServerCall;
  readonly #stream: WatchStream;
  readonly #details = new Map<Watcher, WatcherDetails>();
  #progressTimer: Timer | null = null;

  constructor(member: Member, call: ServerCall) {
    this.#member = member;
    this.#call = call;
    this.#stream = member.hub.openStream(this);
    call.owner = this;
  }

  // --- the client's side

  message(call: ServerCall, buffer: Uint8Array, start: number, end: number): void {
    try {
      const request = WatchRequest.decode(buffer, start, end);
      if (request.createRequest !== undefined) this.#create(request.createRequest);
      else if (request.cancelRequest !== undefined) this.#cancel(request.cancelRequest.watchId);
      else if (request.progressRequest !== undefined) this.#progress();
    } catch (error) {
      this.#close();
      failStreamThrown(call, error);
    }
  }

  halfClosed(): void {}

  cancelled(): void {
    this.#close();
  }

  drained(): void {
    this.#member.hub.drained(this.#stream);
    this.#member.replayWatchers();
  }

  #create(request: CreateRequest): void {
    if (request.startRevision < 0) {
      this.#refuse(watchCancelReasons.Compacted);
      return;
    }
    const key = request.key.length === 0 ? FIRST_KEY : request.key;
    const refused = refusalOfWatch(this.#member.auth, this.#call, key, request.rangeEnd);
    if (refused !== null) {
      this.#refuse(reasonOf(refused));
      return;
    }
    try {
      const watcher = this.#member.hub.create(this.#stream, {
        id: request.watchId,
        key,
        rangeEnd: boundOf(request.rangeEnd),
        startRevision: request.startRevision,
        filters: filtersOf(request.filters),
        prevKv: request.prevKv,
      });
      this.#details.set(watcher, {
        wantsProgress: request.progressNotify,
        isFragmenting: request.fragment,
        hadEvents: false,
      });
      this.#control(watcher.id, { created: true });
      if (request.progressNotify) this.#startProgress();
      this.#member.replayWatchers();
    } catch (error) {
      if (error instanceof EmptyWatcherRangeError) this.#refuse(watchCancelReasons.EmptyWatcherRange);
      else if (error instanceof DuplicateWatchIdError) this.#refuse(watchCancelReasons.DuplicateWatchId);
      else throw error;
    }
  }

  /** A create that failed: one answer that is both created and cancelled, under no id. */
  #refuse(cancelReason: string): void {
    this.#control(NO_WATCH_ID, { created: true, canceled: true, cancelReason });
  }

  /** An id that is not in use gets no answer. */
  #cancel(id: bigint): void {
    const watcher = this.#stream.watchers.get(id);
    if (watcher === undefined) return;
    this.#member.hub.cancel(watcher);
    this.#details.delete(watcher);
    this.#control(id, { canceled: true });
  }

  /** Answered only if every watcher is up to date, behind everything queued; else not at all (WT-05). */
  #progress(): void {
    const revision = this.#member.hub.streamProgress(this.#stream);
    if (revision > 0) this.#control(NO_WATCH_ID, { revision });
  }

  #startProgress(): void {
    if (this.#progressTimer !== null) return;
    const { timers, progressNotifyMs, random } = this.#member.options;
    const intervalMs = Math.min(TIMER_MAX_MS, progressNotifyMs * (1 + (PROGRESS_JITTER * random.below(1000)) / 1000));
    const fire = (): void => {
      this.#notify();
      this.#progressTimer = timers.after(intervalMs, fire);
    };
    this.#progressTimer = timers.after(intervalMs, fire);
  }

  #notify(): void {
    for (const [watcher, details] of this.#details) {
      const revision = this.#member.hub.watcherProgress(watcher);
      if (details.wantsProgress && !details.hadEvents && revision > 0) this.#control(watcher.id, { revision });
      details.hadEvents = false;
    }
  }

  #close(): void {
    this.#progressTimer?.cancel();
    this.#progressTimer = null;
    this.#details.clear();
    this.#member.hub.closeStream(this.#stream);
  }

  // --- the hub's side

  deliver(watcher: Watcher, revision: number, events: SharedEvents): boolean {
    const call = this.#call;
    if (call.queuedBytes >= QUEUED_MAX_BYTES) return false;
    const details = this.#details.get(watcher);
    if (details !== undefined) {
      details.hadEvents = true;
      if (details.isFragmenting && this.#deliverFragments(watcher, revision, events)) return true;
    }
    this.#send(watcher, revision, events, 0, events.parts.length, false);
    return true;
  }

  compacted(watcher: Watcher, compactRevision: number): void {
    // The only answer whose header has no revision.
    this.#control(watcher.id, { canceled: true, compactRevision, revision: 0 });
  }

  #deliverFragments(watcher: Watcher, revision: number, events: SharedEvents): boolean {
    const { header, appliedTerm, limits } = this.#member;
    const headBytes = header.sizeBytes(revision, appliedTerm) + watcher.idField.length;
    const ends = fragmentEnds(headBytes, events, limits.maxRequestBytes + FRAGMENT_OVERHEAD_SIZE_BYTES);
    if (ends.length === 1) return false;
    let from = 0;
    for (const [i, to] of ends.entries()) {
      this.#send(watcher, revision, events, from, to, i < ends.length - 1);
      from = to;
    }
    return true;
  }

  #send(watcher: Watcher, revision: number, events: SharedEvents, from: number, to: number, isFragment: boolean): void {
    const writer = answerWriter;
    writer.reset();
    this.#member.header.write(writer, revision, this.#member.appliedTerm);
    writeEventsHead(writer, watcher.idField, isFragment);
    // The last event is shared as it is; what stands before it is copied behind the head.
    for (let i = from; i < to - 1; i++) writer.raw(events.parts[i]!, 0, events.parts[i]!.length);
    this.#call.sendShared(writer.buffer, 0, writer.position, events.parts[to - 1]!);
    this.#member.counters.watchEvents += to - from;
  }

  #control(
    watchId: bigint,
    fields: {
      readonly created?: boolean;
      readonly canceled?: boolean;
      readonly compactRevision?: number;
      readonly cancelReason?: string;
      readonly revision?: number;
    },
  ): void {
    const writer = answerWriter;
    writer.reset();
    this.#member.header.write(writer, fields.revision ?? this.#member.store.revision, this.#member.appliedTerm);
    writeControl(writer, {
      watchId,
      created: fields.created ?? false,
      canceled: fields.canceled ?? false,
      compactRevision: fields.compactRevision ?? 0,
      cancelReason: fields.cancelReason ?? "",
    });
    sendWith(this.#call, writer);
  }
}

type CreateRequest = NonNullable<ReturnType<typeof WatchRequest.decode>["createRequest"]>;

/** etcd says "permission denied" for everything else that auth may have against a watcher. */
function reasonOf(refused: ErrorKind): string {
  switch (refused) {
    case "InvalidAuthToken":
    case "AuthOldRevision":
    case "UserEmpty":
      return watchCancelReasons[refused];
    default:
      return watchCancelReasons.PermissionDenied;
  }
}

/** Empty: the one key. One zero byte: everything from the key on. */
function boundOf(rangeEnd: Uint8Array): Uint8Array | "open" | null {
  if (rangeEnd.length === 0) return null;
  return rangeEnd.length === 1 && rangeEnd[0] === 0 ? "open" : rangeEnd;
}

/** Filters nobody knows are ignored. */
function filtersOf(filters: readonly number[]): number {
  let bits = 0;
  for (const filter of filters) {
    if (filter === FILTER_NOPUT) bits |= WatchFilter.NoPut;
    else if (filter === FILTER_NODELETE) bits |= WatchFilter.NoDelete;
  }
  return bits;
}
