/**
 * The same watch stream on two servers. Every answer to a create or cancel must be the same, in the same order; every
 * watcher must get the same events in the same order, and exactly those of the known history that it asked for. How
 * events are grouped into responses is each server's own business, except that one revision is never split (the streams
 * here never send as much as would be fragmented).
 */
import assert from "node:assert/strict";
import { EventType, FilterType } from "@quorate/api";
import {
  type Event,
  type Init,
  WatchCancelRequest,
  WatchCreateRequest,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import { comparableHeader } from "./answers.ts";
import type { Connection, Stream } from "./connection.ts";
import type { KnownState } from "./known-state.ts";
import { show } from "./show.ts";

const WATCH = "/etcdserverpb.Watch/Watch";
const PATIENCE_MS = 10_000;
const PROGRESS_RETRY_MS = 100;
const NO_ID = -1n;

/** One watcher, from its create to the cancel that the client asks for. */
interface Watcher {
  readonly id: bigint;
  readonly request: WatchCreateRequest;
  /** The first revision it is to see. */
  readonly from: number;
  /** It starts at the compacted revision, of which each key's last change is kept. */
  readonly isAtCompacted: boolean;
  /** It asked for what was compacted already, and is told so instead of getting events. */
  readonly isTooLate: boolean;
  /** Events already found equal. */
  checked: number;
}

export class WatchPair {
  readonly #sides: readonly [Side, Side];
  readonly #known: KnownState;
  readonly #watchers = new Map<bigint, Watcher>();
  #controls = 0;

  /** The reference first. */
  constructor(connections: readonly [Connection, Connection], known: KnownState) {
    this.#known = known;
    this.#sides = [new Side("etcd", connections[0]), new Side("Quorate", connections[1])];
  }

  get ids(): readonly bigint[] {
    return [...this.#watchers.keys()];
  }

  /** Answered alike by both sides; a watcher there is from then on, unless it was refused. */
  async create(init: Init<WatchCreateRequest>): Promise<void> {
    const request = WatchCreateRequest.decode(WatchCreateRequest.encode(init));
    for (const side of this.#sides) side.send({ createRequest: init });
    const response = await this.#nextControl();
    if (response.canceled) return;
    const { revision, compactRevision } = this.#known;
    const from = request.startRevision === 0 ? revision + 1 : request.startRevision;
    const isTooLate = request.startRevision > 0 && request.startRevision < compactRevision;
    const isAtCompacted = request.startRevision === compactRevision;
    const watcher = { id: response.watchId, request, from, isAtCompacted, isTooLate, checked: 0 };
    this.#watchers.set(response.watchId, watcher);
  }

  /** A cancel of an id that is not in use is answered by nothing; whether it is shows in what comes next. */
  async cancel(id: bigint): Promise<void> {
    await this.settle();
    for (const side of this.#sides)
      side.send({ cancelRequest: WatchCancelRequest.decode(WatchCancelRequest.encode({ watchId: id })) });
    if (!this.#watchers.has(id)) return;
    await this.#nextControl();
    this.#watchers.delete(id);
    for (const side of this.#sides) side.events.delete(id);
  }

  sendNothing(): void {
    for (const side of this.#sides) side.send({});
  }

  /** Asks for progress. It is told exactly if every watcher can be up to date; asked again, because etcd needs time. */
  async progress(): Promise<void> {
    await this.settle();
    const { revision } = this.#known;
    const isBlocked =
      this.#watchers.size === 0 ||
      [...this.#watchers.values()].some((each) => each.isTooLate || each.from > revision + 1);
    for (const side of this.#sides) {
      side.progress.length = 0;
      side.send({ progressRequest: {} });
      if (isBlocked) continue;
      const deadline = performance.now() + PATIENCE_MS;
      while (!(await side.stream.until(() => side.progress.length > 0, PROGRESS_RETRY_MS))) {
        assert.ok(performance.now() < deadline, `${side.name} does not tell the progress of a stream`);
        side.send({ progressRequest: {} });
      }
      for (const each of side.progress) {
        const { header, ...rest } = each;
        assert.equal(header?.revision, revision, `${side.name}: the revision of a progress answer`);
        assert.equal(show(rest), show({ watchId: NO_ID }), `${side.name}: a progress answer`);
      }
    }
  }

  /** Waits until every watcher has everything it asked for, and compares. */
  async settle(): Promise<void> {
    for (const watcher of this.#watchers.values()) {
      const expected = eventsFor(watcher, this.#known.history);
      const count = watcher.isTooLate ? 1 : expected.length;
      for (const side of this.#sides) {
        const got = side.events.get(watcher.id)!;
        const isThere = await side.stream.until(() => got.length >= count, PATIENCE_MS);
        assert.ok(isThere, `${side.name}: ${nameOf(watcher)} got ${got.length} of ${count}:\n${got.join("\n")}`);
        assert.equal(
          got.length,
          count,
          `${side.name}: ${nameOf(watcher)} got too much:\n${got.slice(count).join("\n")}`,
        );
      }
      const [theirs, ours] = this.#sides.map((side) => side.events.get(watcher.id)!) as [string[], string[]];
      for (let i = watcher.checked; i < count; i++) {
        assert.equal(ours[i], theirs[i], `event ${i} of ${nameOf(watcher)}`);
        const event = expected[i];
        if (event !== undefined) assert.ok(ours[i]!.startsWith(showEvent(event)), `${ours[i]} is not ${show(event)}`);
      }
      watcher.checked = count;
    }
    for (const side of this.#sides) {
      assert.equal(
        side.controls.length,
        this.#controls,
        `${side.name} answered more than was asked:\n${side.controls.at(-1)}`,
      );
      assert.equal(side.complaint, null, side.name);
    }
  }

  halfClose(): void {
    for (const side of this.#sides) side.stream.halfClose();
  }

  close(): void {
    for (const side of this.#sides) side.stream.cancel();
  }

  /** The next answer to a create or cancel, equal on both sides. */
  async #nextControl(): Promise<WatchResponse> {
    const index = this.#controls++;
    for (const side of this.#sides) {
      const isThere = await side.stream.until(() => side.controls.length > index, PATIENCE_MS);
      assert.ok(isThere, `${side.name} does not answer a watch request`);
    }
    const [theirs, ours] = this.#sides;
    assert.equal(ours.controls[index], theirs.controls[index], "the answer to a watch request");
    return theirs.controlResponses[index]!;
  }
}

/** One server's end: sorts what arrives. */
class Side {
  readonly name: string;
  readonly stream: Stream;
  /** Answers to creates and cancels, in order, as text. */
  readonly controls: string[] = [];
  readonly controlResponses: WatchResponse[] = [];
  /** Of each watcher in use. */
  readonly events: Map<bigint, string[]> = new Map();
  readonly progress: WatchResponse[] = [];
  /** Something arrived that may never arrive. */
  complaint: string | null = null;
  readonly #lastRevisions = new Map<bigint, number>();

  constructor(name: string, connection: Connection) {
    this.name = name;
    this.stream = connection.stream(WATCH, (message) => this.#received(WatchResponse.decode(message)));
  }

  send(request: Init<WatchRequest>): void {
    this.stream.send(WatchRequest.encode(request));
  }

  #received(response: WatchResponse): void {
    const { created, canceled, compactRevision, watchId, events, header } = response;
    const isTooLate = canceled && compactRevision !== 0;
    if (created || (canceled && !isTooLate)) {
      this.controls.push(show({ ...response, header: comparableHeader(header) }));
      this.controlResponses.push(response);
      if (created && !canceled) {
        this.events.set(watchId, []);
        this.#lastRevisions.delete(watchId);
      }
      return;
    }
    if (events.length === 0 && !isTooLate) {
      this.progress.push(response);
      return;
    }
    const list = this.events.get(watchId);
    if (list === undefined) {
      this.complaint = `events of a watcher that does not exist: ${show(response)}`;
      return;
    }
    if (isTooLate) {
      list.push(show({ ...response, header: comparableHeader(header) }));
      return;
    }
    const first = events[0]!.kv!.modRevision;
    const last = events.at(-1)!.kv!.modRevision;
    if (first <= (this.#lastRevisions.get(watchId) ?? 0)) this.complaint = `revision ${first} is split`;
    if (header!.revision < last) this.complaint = `a header of revision ${header!.revision} over ${last}`;
    this.#lastRevisions.set(watchId, last);
    for (const event of events) list.push(`${showEvent(event)} prev ${show(event.prevKv)}`);
  }
}

function showEvent({ type, kv }: Event): string {
  return `${type === EventType.PUT ? "PUT" : "DELETE"} ${show(kv)}`;
}

function nameOf({ id, request, from }: Watcher): string {
  return `watcher ${id} (${show(request)}, from revision ${from})`;
}

/** What a watcher is to get of all that happened. */
function eventsFor(watcher: Watcher, history: readonly Event[]): readonly Event[] {
  if (watcher.isTooLate) return [];
  const events = history.filter((event) => isFor(watcher, event));
  if (!watcher.isAtCompacted) return events;
  const isReplaced = (event: Event): boolean =>
    history.findLast(({ kv }) => kv!.modRevision === watcher.from && Buffer.compare(kv!.key, event.kv!.key) === 0) !==
    event;
  return events.filter((event) => event.kv!.modRevision !== watcher.from || !isReplaced(event));
}

function isFor({ request, from }: Watcher, { type, kv }: Event): boolean {
  if (kv!.modRevision < from) return false;
  if (request.filters.includes(type === EventType.PUT ? FilterType.NOPUT : FilterType.NODELETE)) return false;
  const key = Buffer.from(kv!.key);
  const first = request.key.length === 0 ? Buffer.of(0) : request.key;
  if (request.rangeEnd.length === 0) return key.equals(first);
  if (key.compare(first) < 0) return false;
  return (request.rangeEnd.length === 1 && request.rangeEnd[0] === 0) || key.compare(request.rangeEnd) < 0;
}
