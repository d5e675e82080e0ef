/**
 * What a kind of token has to do: simple tokens (./simple-tokens.ts), signed ones, and none at all. The server makes one
 * of them as configured and asks it about every call that presents a token.
 *
 *   Authenticate ─▶ nonce() ─▶ log ─▶ every member: loggedIn() ─▶ where the client is: issue() ─▶ client
 *   call ─▶ known() ── at once, or ─▶ resolve() ─▶ Identity, nobody, or busy
 */

/** Whom a call comes from. */
export interface Identity {
  readonly user: string;
  /**
   * The auth revision at which this was established: a key check refuses an older one than the store's. null: as of now,
   * whenever it is asked (simple tokens).
   */
  readonly revision: number | null;
}

/** A log-in whose entry was applied. */
export interface Login {
  readonly user: string;
  /** As {@link Tokens.nonce} gave it, on the member that proposed it. */
  readonly nonce: string;
  /** The auth revision then. */
  readonly revision: number;
  /** Raft index before the entry's: the same on every member (semantics §7.5 of the reference). */
  readonly index: number;
}

/** null: nobody. "busy": too many wait to be told, so nothing is known of this one. */
export type Resolved = Identity | null | "busy";

export interface Tokens {
  /** What goes into the log with a log-in ("simple_token"); "" where nothing is needed. */
  nonce(): string;
  /** A log-in was applied here; each member calls this, in the order of the log. */
  loggedIn(login: Login): void;
  /** The token of a log-in proposed here, after {@link loggedIn}; null: none can be issued (no private key, no kind). */
  issue(login: Login, done: (token: string | null) => void): void;
  /** Hot: whom a token stands for, if that can be said at once. A token that is used lives on. */
  known(token: string): Identity | undefined;
  /** Whom a token stands for, which may take until this member has applied the log-in. `done` once. */
  resolve(token: string, done: (identity: Resolved) => void): void;
  /** The entry of this index has been applied: tokens that waited for it can be told. */
  applied(index: number): void;
  /** The user is gone, or its password has changed. */
  dropUser(user: string): void;
  /** Auth was switched off, or the state was replaced by a snapshot. */
  dropAll(): void;
  /** Forgets what has expired; once a second. */
  expire(): void;
}
