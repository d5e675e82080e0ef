/**
 * A client that watches everything, and comes back with the next revision at any member whenever its stream breaks. As
 * every revision has at least one event, what it sees must be all revisions one after the other: nothing lost, doubled or
 * out of order (known failures §1.8).
 */
import { Buffer } from "node:buffer";
import { type Event, WatchRequest, WatchResponse } from "@quorate/api/messages";
import { FakeCall, type FakeStream } from "@quorate/server/testing";
import type { ClientWorld, Served } from "./clients.ts";
import { describeEvents, type History } from "./history.ts";
import type { SimProcess } from "./sim-process.ts";
import type { Verdict } from "./violation.ts";

const EVERYTHING = Buffer.from([0]);

export class WatchClient {
  readonly name: string;
  readonly #world: ClientWorld;
  readonly #history: History;
  readonly #verdict: Verdict;
  #next = 2;
  #at: Served | null = null;
  #stream: FakeStream | null = null;
  /** Events of a revision whose other fragments are still to come. */
  #parts: Event[] = [];
  #isStopped = false;
  readonly counts = { reconnects: 0 };

  /** `wandersMs`: how long it stays with one member at most. */
  constructor(name: string, world: ClientWorld, history: History, verdict: Verdict, wandersMs: number) {
    this.name = name;
    this.#verdict = verdict;
    this.#world = world;
    this.#history = history;
    this.#later(0, wandersMs);
  }

  /** The revision it waits for. */
  get nextRevision(): number {
    return this.#next;
  }

  stop(): void {
    this.#isStopped = true;
    this.#leave();
  }

  processEnded(process: SimProcess): void {
    if (this.#at?.process === process) this.#stream = this.#at = null;
  }

  #later(delayMs: number, wandersMs: number): void {
    this.#world.time.after(delayMs, () => {
      if (this.#isStopped) return;
      const { random } = this.#world;
      if (this.#stream === null || random.below(2) === 0) this.#connect();
      this.#later(1 + random.below(wandersMs), wandersMs);
    });
  }

  #connect(): void {
    this.#leave();
    const served = this.#world.served();
    if (served.length === 0) return;
    const at = served[this.#world.random.below(served.length)]!;
    this.#at = at;
    this.counts.reconnects++;
    at.process.deliver(() => {
      if (this.#at !== at || !at.isServing) return;
      const call = new FakeCall("/etcdserverpb.Watch/Watch");
      const stream = at.machine.openStream(call.path, call);
      this.#stream = stream;
      call.onMessage = () => this.#take(stream);
      call.onEnd = () => {
        if (this.#stream === stream) this.#stream = this.#at = null;
      };
      this.#world.trace.line(this.name, () => `watches ${at.name} from revision ${this.#next}`);
      stream.send(WatchRequest, {
        createRequest: { key: EVERYTHING, rangeEnd: EVERYTHING, startRevision: this.#next, fragment: true },
      });
    });
  }

  #leave(): void {
    const stream = this.#stream;
    const at = this.#at;
    this.#stream = this.#at = null;
    this.#parts = [];
    if (stream !== null && at !== null) at.process.deliver(() => stream.call.cancel());
  }

  #take(stream: FakeStream): void {
    if (this.#stream !== stream) return;
    for (const response of stream.received(WatchResponse)) {
      if (response.canceled) {
        // Everything before was compacted: it goes on from there, and the revisions between are nobody's loss.
        if (response.compactRevision > 0) this.#next = Math.max(this.#next, response.compactRevision);
        this.#leave();
        return;
      }
      this.#parts.push(...response.events);
      if (!response.fragment) this.#takeEvents(this.#at!.name);
    }
  }

  #takeEvents(from: string): void {
    const events = this.#parts;
    this.#parts = [];
    for (let start = 0; start < events.length; ) {
      const revision = events[start]!.kv!.modRevision;
      let end = start;
      while (end < events.length && events[end]!.kv!.modRevision === revision) end++;
      if (revision !== this.#next) {
        throw this.#verdict.broken(
          "watchers see every revision once and in order",
          `${this.name} is told of revision ${revision} by ${from}, due is ${this.#next}: ${describeEvents(events)}`,
        );
      }
      this.#next = revision + 1;
      this.#history.watchedAll(this.name, revision, events.slice(start, end));
      start = end;
    }
  }
}
