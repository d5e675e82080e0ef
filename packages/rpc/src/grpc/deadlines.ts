/**
 * The deadlines of all calls of a server or client, without a timer each: a wheel of slots 8 ms wide, each slot a doubly
 * linked list through the calls themselves, so that adding and removing (nearly every call ends before its deadline)
 * touch a few fields. One timer fires for the next slot that holds anything.
 *
 *   slot of tick t = t & 1023:   … │ 41 │ 42 ─▶ call ⇄ call ⇄ call │ 43 │ …      1024 × 8 ms = 8 s around
 *
 * A deadline further away than the wheel reaches stays in its slot and is passed over until its round comes.
 *
 * Invariants: a call is in at most one list; a call never expires before its deadline, and at most a slot plus the
 * timer's delay after it.
 */
import type { Clock, Timer, Timers } from "@quorate/world";

/** What a call carries for the wheel. `slot` is -1 while it is in no list. */
export interface Timed {
  deadlineMs: number;
  deadlineSlot: number;
  deadlineBefore: Timed | null;
  deadlineAfter: Timed | null;
  deadlinePassed(): void;
}

const slotMs = 8;
const slotCount = 1024;

export class Deadlines {
  /** Calls waiting. */
  count = 0;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #slots: (Timed | null)[] = new Array<Timed | null>(slotCount).fill(null);
  #timer: Timer | null = null;
  #timerTick = 0;
  /** Ticks up to and including this one have been looked at. */
  #doneTick: number;

  constructor(clock: Clock, timers: Timers) {
    this.#clock = clock;
    this.#timers = timers;
    this.#doneTick = Math.floor(clock.monotonicMs() / slotMs);
  }

  /** Starts watching `call`, whose `deadlineMs` is finite. */
  add(call: Timed): void {
    const tick = Math.max(Math.ceil(call.deadlineMs / slotMs), this.#doneTick + 1);
    const slot = tick % slotCount;
    const first = this.#slots[slot] ?? null;
    call.deadlineSlot = slot;
    call.deadlineBefore = null;
    call.deadlineAfter = first;
    if (first !== null) first.deadlineBefore = call;
    this.#slots[slot] = call;
    this.count++;
    if (this.#timer === null || tick < this.#timerTick) this.#arm(tick);
  }

  /** Stops watching; does nothing if it is not watched. */
  remove(call: Timed): void {
    const slot = call.deadlineSlot;
    if (slot < 0) return;
    const before = call.deadlineBefore;
    const after = call.deadlineAfter;
    if (before === null) this.#slots[slot] = after;
    else before.deadlineAfter = after;
    if (after !== null) after.deadlineBefore = before;
    call.deadlineSlot = -1;
    call.deadlineBefore = null;
    call.deadlineAfter = null;
    this.count--;
  }

  /** Forgets the timer; calls still watched are never told. */
  stop(): void {
    if (this.#timer !== null) this.#timer.cancel();
    this.#timer = null;
  }

  #arm(tick: number): void {
    if (this.#timer !== null) this.#timer.cancel();
    this.#timerTick = tick;
    const delayMs = tick * slotMs - this.#clock.monotonicMs();
    this.#timer = this.#timers.after(Math.max(1, Math.min(delayMs, slotMs * slotCount)), this.#fire);
  }

  readonly #fire = (): void => {
    this.#timer = null;
    const nowMs = this.#clock.monotonicMs();
    const nowTick = Math.floor(nowMs / slotMs);
    // After a long pause every slot needs one look, not one per missed round.
    let tick = Math.max(this.#doneTick + 1, nowTick - slotCount + 1);
    this.#doneTick = Math.max(this.#doneTick, nowTick);
    for (; tick <= nowTick; tick++) this.#expire(tick % slotCount, nowMs);
    if (this.count > 0 && this.#timer === null) this.#armNext();
  };

  #expire(slot: number, nowMs: number): void {
    let call: Timed | null = this.#slots[slot] ?? null;
    while (call !== null) {
      const after: Timed | null = call.deadlineAfter;
      if (call.deadlineMs <= nowMs) {
        this.remove(call);
        call.deadlinePassed();
        // What it did may have unlinked its neighbour: begin again, the expired ones are gone.
        call = after !== null && after.deadlineSlot === slot ? after : this.#firstExpired(slot, nowMs);
      } else call = after;
    }
  }

  #firstExpired(slot: number, nowMs: number): Timed | null {
    for (let call: Timed | null = this.#slots[slot] ?? null; call !== null; call = call.deadlineAfter) {
      if (call.deadlineMs <= nowMs) return call;
    }
    return null;
  }

  #armNext(): void {
    for (let ahead = 1; ahead <= slotCount; ahead++) {
      const tick = this.#doneTick + ahead;
      if (this.#slots[tick % slotCount] !== null) {
        this.#arm(tick);
        return;
      }
    }
  }
}
