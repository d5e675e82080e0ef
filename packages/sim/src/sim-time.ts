/**
 * The one order in which everything in a simulation happens: events by their time, at equal times in the order they were
 * set. Nothing else moves time.
 */
import { assert } from "@quorate/world";

export interface SimEvent {
  readonly atMs: number;
  readonly number: number;
  readonly run: () => void;
  /** Whose program it happens to: not while that is suspended, and never after its end. Null: to the world at large. */
  readonly process: Suspendable | null;
  isCancelled: boolean;
}

export interface Suspendable {
  readonly isEnded: boolean;
  readonly isSuspended: boolean;
  /** Keeps what would have happened for when it goes on. */
  hold(event: SimEvent): void;
}

export class SimTime {
  #nowMs = 0;
  #count = 0;
  /** A binary heap. */
  readonly #events: SimEvent[] = [];

  get nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void, process: Suspendable | null = null): SimEvent {
    assert(delayMs >= 0, "events are not set in the past");
    const event = { atMs: this.#nowMs + delayMs, number: this.#count++, run, process, isCancelled: false };
    this.#push(event);
    return event;
  }

  /** Moves on to the next event and lets it happen; false if there is none. */
  step(): boolean {
    for (let event = this.#pop(); event !== undefined; event = this.#pop()) {
      if (event.isCancelled || event.process?.isEnded === true) continue;
      this.#nowMs = event.atMs;
      if (event.process?.isSuspended === true) {
        event.process.hold(event);
        continue;
      }
      event.run();
      return true;
    }
    return false;
  }

  #push(event: SimEvent): void {
    const events = this.#events;
    let at = events.length;
    events.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, events[parent]!)) break;
      events[at] = events[parent]!;
      at = parent;
    }
    events[at] = event;
  }

  #pop(): SimEvent | undefined {
    const events = this.#events;
    const first = events[0];
    const last = events.pop();
    if (last === undefined || events.length === 0) return first;
    let at = 0;
    for (let child = 1; child < events.length; child = 2 * at + 1) {
      if (child + 1 < events.length && isBefore(events[child + 1]!, events[child]!)) child++;
      if (!isBefore(events[child]!, last)) break;
      events[at] = events[child]!;
      at = child;
    }
    events[at] = last;
    return first;
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.number < b.number);
}
