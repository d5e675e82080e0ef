/**
 * One run of one member's program, as far as the machine under it is concerned: its clock, its timers and turns, and when
 * its disk and storage answer. It can be suspended (a pause of the whole process, after which its clock has jumped and
 * everything that waited comes at once) and ends for good; the next start is another SimProcess.
 *
 *   running ──suspend──▶ suspended ──its time is over──▶ running        any ──end──▶ ended
 */
import type { Clock, Random, Timer, Timers } from "@quorate/world";
import type { SimEvent, SimTime, Suspendable } from "./sim-time.ts";

/** How long things take on a machine. Changed while it runs: a disk becomes slow, and recovers. */
export interface MachinePace {
  /** Around which the ends of durable writes and of storage commits are drawn. */
  diskMs: number;
  storageMs: number;
  /** One in so many takes a hundred times as long; 0: none. */
  stallOneIn: number;
}

/** The wall clock at the start of every simulation. */
const EPOCH_MS = 1_700_000_000_000;
/** A turn of the event loop takes up to this long. */
const TURN_MS = 0.05;
/** What takes longer on a disk is a disk that does not come back, which is another fault. */
const LONGEST_MS = 3000;

export class SimProcess implements Clock, Timers, Suspendable {
  readonly #time: SimTime;
  readonly #random: Random;
  readonly #pace: MachinePace;
  /** Seconds on this machine per second of the world. */
  readonly #rate: number;
  #isEnded = false;
  #isSuspended = false;
  #held: SimEvent[] = [];
  /** The process's work for the disk ends in order, as for the storage. */
  #storageBusyUntilMs = 0;

  constructor(time: SimTime, random: Random, options: { readonly pace: MachinePace; readonly rate: number }) {
    this.#time = time;
    this.#random = random;
    this.#pace = options.pace;
    this.#rate = options.rate;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  get isSuspended(): boolean {
    return this.#isSuspended;
  }

  monotonicMs(): number {
    return this.#time.nowMs * this.#rate;
  }

  wallMs(): number {
    return EPOCH_MS + this.#time.nowMs;
  }

  after(delayMs: number, fire: () => void): Timer {
    const event = this.#time.after(delayMs / this.#rate, fire, this);
    return {
      cancel: () => {
        event.isCancelled = true;
      },
    };
  }

  nextTurn(run: () => void): void {
    this.#time.after((this.#random.below(1000) / 1000) * TURN_MS, run, this);
  }

  /** The end of a durable write. Writes to different files may end in any order. */
  diskDone(run: () => void): void {
    this.#time.after(this.#takes(this.#pace.diskMs), run, this);
  }

  storageDone(run: () => void): void {
    const { nowMs } = this.#time;
    this.#storageBusyUntilMs = Math.max(this.#storageBusyUntilMs, nowMs) + this.#takes(this.#pace.storageMs);
    this.#time.after(this.#storageBusyUntilMs - nowMs, run, this);
  }

  /** Something from outside arrives. */
  deliver(run: () => void): void {
    this.#time.after(0, run, this);
  }

  suspend(forMs: number): void {
    if (this.#isSuspended || this.#isEnded) return;
    this.#isSuspended = true;
    this.#time.after(forMs, () => this.#goOn());
  }

  end(): void {
    this.#isEnded = true;
    this.#held = [];
  }

  hold(event: SimEvent): void {
    this.#held.push(event);
  }

  #goOn(): void {
    this.#isSuspended = false;
    const held = this.#held;
    this.#held = [];
    for (const event of held) {
      // A timer that was cancelled while it was held must not fire, so the flag is looked at again.
      this.#time.after(
        0,
        () => {
          if (!event.isCancelled) event.run();
        },
        this,
      );
    }
  }

  /** Between a third and three times the middle, mostly below it, or stalled. */
  #takes(middleMs: number): number {
    const { stallOneIn } = this.#pace;
    const isStalled = stallOneIn > 0 && this.#random.below(stallOneIn) === 0;
    const factor = 0.3 + (this.#random.below(1000) / 1000) ** 3 * 2.7;
    return Math.min(LONGEST_MS, middleMs * factor * (isStalled ? 100 : 1));
  }
}
