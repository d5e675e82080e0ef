/**
 * One claim about our own state, checked always. A false claim is a bug of ours, never bad input, and nothing may
 * catch it and carry on: the process ends, because a member that doubts its own state must not answer.
 *
 * The text is a constant so that a passing assertion builds nothing.
 */
export function assert(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new BrokenInvariant(claim);
}

/** Thrown by {@link assert}. Only the process's last-resort handler may see it. */
export class BrokenInvariant extends Error {
  readonly kind = "BrokenInvariant";
  constructor(claim: string) {
    super(`broken invariant: ${claim}`);
    this.name = "BrokenInvariant";
  }
}
