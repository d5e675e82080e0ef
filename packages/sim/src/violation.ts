/** A promise of the system that a simulation saw broken; the message names the promise and what contradicts it. */
export class Violation extends Error {
  readonly kind = "Violation";
  readonly promise: string;

  constructor(promise: string, detail: string, options?: ErrorOptions) {
    super(`${promise}: ${detail}`, options);
    this.name = "Violation";
    this.promise = promise;
  }
}

/** Keeps the first violation, because the code under test may catch what is thrown through it. */
export class Verdict {
  violation: Violation | null = null;

  /** To be thrown by the caller. */
  broken(promise: string, detail: string, options?: ErrorOptions): Violation {
    const violation = new Violation(promise, detail, options);
    this.violation ??= violation;
    return violation;
  }
}
