/**
 * Whether a history is linearizable: whether each operation can be given one moment between its call and its return such
 * that a sequential object, the model, gives every answer as it was given. The search is Wing and Gong's with Lowe's
 * memory of configurations already visited, the idea of Porcupine. Deterministic; no clock but a budget of steps.
 *
 * A configuration is the set of operations that have had their moment, and the model's state. Operations are sorted by
 * their calls, so the set is almost always a beginning of the list, and is kept as that plus a small window:
 *
 *      0 1 2 3 4 5 6 7 8 9 …        first = 4: all before it have had their moment
 *      ■ ■ ■ ■ □ ■ □ ■ □ □          window = 0b1010: 5 and 7 have had it too, 4 and 6 have not
 *
 * The next moment belongs to an operation that was called before any waiting one returned. Operations of unknown outcome
 * have no return, so they would be candidates for ever, and trying all subsets of them is what makes histories with
 * failures hopeless. Three rules tame them:
 *
 *   - To give one its moment means that it changed the state; never giving it one means that it did not. The model
 *     therefore refuses those that would change nothing.
 *   - What follows it directly must be an operation that looks at the state. If a blind write does, or nothing, then
 *     leaving it out explains the history just as well.
 *   - Of several with the same effect the one called first serves as well as any other, so only that is tried.
 */

/** The sequential object. `Op` is whatever the history is made of. */
export interface Model<Op extends Timed, State> {
  readonly initial: State;
  /** The state after `op`, whose outcome is known, or null if its answer cannot be given in `state`. */
  step(state: State, op: Op): State | null;
  /** The state after `op` of unknown outcome has changed it, or null if it could have changed nothing. */
  stepUnknown(state: State, op: Op): State | null;
  /** True only if neither in `state` nor in any that can follow the answer of `op` can be given: a way not to be followed. */
  isTooLate(state: State, op: Op): boolean;
  /**
   * False if neither the effect nor the answer of `op` depends on the state before it, other than on things which leaving
   * an operation of unknown outcome out never spoils.
   */
  observes(op: Op): boolean;
  /** Equal for two operations of unknown outcome if nothing in this history can tell the effect of one from the other's. */
  effect(op: Op): string;
  /** Equal exactly for equal states. */
  key(state: State): string;
  /**
   * Of several candidates of known outcome, and then of those of unknown outcome, the one of the lowest rank is tried
   * first: a guess that makes legal histories quick.
   */
  rank(op: Op): number;
}

export interface Timed {
  readonly call: number;
  /** Null: unknown outcome. */
  readonly return: number | null;
}

export type SearchVerdict<Op, State> =
  | { readonly kind: "ok"; readonly steps: number }
  | {
      readonly kind: "illegal";
      readonly steps: number;
      /** One longest order that the model accepts. */
      readonly prefix: readonly Op[];
      /** What the model is in after it. */
      readonly state: State;
      /** Operations of known outcome that could have come next, none of which the model accepts. */
      readonly stuck: readonly Op[];
    }
  | { readonly kind: "unknown"; readonly steps: number };

/** Gives up with "unknown" after `budget` tries of the model. `history` may come in any order. */
export function search<Op extends Timed, State>(
  model: Model<Op, State>,
  history: readonly Op[],
  budget: number,
): SearchVerdict<Op, State> {
  return new Search(model, history, budget).run();
}

/** One configuration on the path from the start, and how far its candidates have been tried. */
interface Configuration<Op, State> {
  readonly first: number;
  readonly window: bigint;
  /** Bit i: `unknown[i]` has had its moment. */
  readonly used: bigint;
  readonly state: State;
  /** What this follows, and the operation that led here; null at the start. */
  readonly before: Configuration<Op, State> | null;
  readonly by: Op | null;
  /** Whether only an operation that observes may follow. */
  readonly mustObserve: boolean;
  /** Indexes into `known`, best guess first. */
  readonly candidates: readonly number[];
  /** The earliest return of those that wait: only what was called before it may come next. */
  readonly bound: number;
  /** Next to try: below `candidates.length` one of those, then unknown ones. */
  next: number;
}

class Search<Op extends Timed, State> {
  readonly #model: Model<Op, State>;
  readonly #known: readonly (Op & { readonly return: number })[];
  readonly #unknown: readonly Op[];
  /** By index into `unknown`: the one before it with the same effect, or -1. */
  readonly #twinBefore: readonly number[];
  readonly #budget: number;
  /** By everything but `used`, the values of that. */
  readonly #visited: Map<string, bigint[]> = new Map();
  #steps = 0;

  constructor(model: Model<Op, State>, history: readonly Op[], budget: number) {
    this.#model = model;
    const sorted = [...history].sort((a, b) => a.call - b.call);
    this.#known = sorted.filter((op): op is Op & { readonly return: number } => op.return !== null);
    const unknown = sorted.filter((op) => op.return === null);
    this.#unknown = unknown.sort((a, b) => model.rank(a) - model.rank(b));
    this.#twinBefore = twinsBefore(this.#unknown.map((op) => model.effect(op)));
    this.#budget = budget;
  }

  run(): SearchVerdict<Op, State> {
    let at: Configuration<Op, State> | null = this.#configuration(null, 0, 0n, 0n, this.#model.initial, null, false);
    let longest = at;
    let longestKnown = 0;
    while (at !== null) {
      if (at.first === this.#known.length) return { kind: "ok", steps: this.#steps };
      if (this.#steps > this.#budget) return { kind: "unknown", steps: this.#steps };
      const following: Configuration<Op, State> | null = this.#following(at);
      if (following !== null) {
        const knownCount = following.first + bitCount(following.window);
        if (knownCount > longestKnown) {
          longestKnown = knownCount;
          longest = following;
        }
      }
      at = following ?? at.before;
    }
    return this.#illegal(longest);
  }

  #illegal(end: Configuration<Op, State>): SearchVerdict<Op, State> {
    const prefix: Op[] = [];
    for (let at = end; at.before !== null; at = at.before) prefix.push(at.by!);
    return {
      kind: "illegal",
      steps: this.#steps,
      prefix: prefix.reverse(),
      state: end.state,
      stuck: end.candidates.map((i) => this.#known[i]!),
    };
  }

  /** The next configuration after `at` that was never visited, or null once its candidates are exhausted. */
  #following(at: Configuration<Op, State>): Configuration<Op, State> | null {
    while (at.next < at.candidates.length) {
      const i = at.candidates[at.next++]!;
      const op = this.#known[i]!;
      if (at.mustObserve && !this.#model.observes(op)) continue;
      this.#steps++;
      const state = this.#model.step(at.state, op);
      if (state === null) continue;
      let first = at.first;
      let window = at.window | (1n << BigInt(i - first));
      while ((window & 1n) === 1n) {
        window >>= 1n;
        first++;
      }
      if (this.#isNew(first, window, at.used, state, false)) {
        const following = this.#configuration(at, first, window, at.used, state, op, false);
        if (!this.#isDead(following)) return following;
      }
    }
    for (;;) {
      const i = at.next - at.candidates.length;
      const op = this.#unknown[i];
      if (op === undefined) return null;
      at.next++;
      if (op.call > at.bound || isSet(at.used, i)) continue;
      const twin = this.#twinBefore[i]!;
      if (twin !== -1 && !isSet(at.used, twin)) continue;
      if (at.mustObserve && !this.#model.observes(op)) continue;
      this.#steps++;
      const state = this.#model.stepUnknown(at.state, op);
      if (state === null) continue;
      const used = at.used | (1n << BigInt(i));
      if (this.#isNew(at.first, at.window, used, state, true)) {
        const following = this.#configuration(at, at.first, at.window, used, state, op, true);
        if (!this.#isDead(following)) return following;
      }
    }
  }

  /**
   * Whether the configuration is worth looking at: it is not if the same was reached with the same unknown operations used,
   * or with fewer, since what is still unused only helps.
   */
  #isNew(first: number, window: bigint, used: bigint, state: State, mustObserve: boolean): boolean {
    const key = `${first}/${window.toString(36)}/${mustObserve ? 1 : 0}/${this.#model.key(state)}`;
    const before = this.#visited.get(key);
    if (before === undefined) this.#visited.set(key, [used]);
    else if (before.some((fewer) => (fewer & ~used) === 0n)) return false;
    else before.push(used);
    return true;
  }

  #isDead({ state, candidates }: Configuration<Op, State>): boolean {
    return candidates.some((i) => this.#model.isTooLate(state, this.#known[i]!));
  }

  #configuration(
    before: Configuration<Op, State> | null,
    first: number,
    window: bigint,
    used: bigint,
    state: State,
    by: Op | null,
    mustObserve: boolean,
  ): Configuration<Op, State> {
    const candidates: number[] = [];
    let bound = Number.POSITIVE_INFINITY;
    for (let i = first; i < this.#known.length; i++) {
      const op = this.#known[i]!;
      if (op.call > bound) break;
      if (isSet(window, i - first)) continue;
      candidates.push(i);
      if (op.return < bound) bound = op.return;
    }
    candidates.sort((a, b) => this.#model.rank(this.#known[a]!) - this.#model.rank(this.#known[b]!));
    return { before, first, window, used, state, by, mustObserve, candidates, bound, next: 0 };
  }
}

function twinsBefore(effects: readonly string[]): number[] {
  const latest = new Map<string, number>();
  return effects.map((effect, i) => {
    const twin = latest.get(effect) ?? -1;
    latest.set(effect, i);
    return twin;
  });
}

function isSet(bits: bigint, i: number): boolean {
  return ((bits >> BigInt(i)) & 1n) === 1n;
}

function bitCount(bits: bigint): number {
  let count = 0;
  for (let rest = bits; rest !== 0n; rest >>= 1n) if ((rest & 1n) === 1n) count++;
  return count;
}
