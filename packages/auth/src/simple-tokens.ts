/**
 * Simple tokens: random texts that every member remembers, because the log told it of the log-in.
 *
 *   token      <16 random letters> . <index before the entry of the log-in>      "pKkUBnAhcyoGDQGS.42"
 *
 *   loggedIn ──▶ held ── known(): used, lives on ──▶ held
 *                  │                                    (noted once a second, so it may live a second longer)
 *                  └── unused for the TTL · user dropped · all dropped · pushed out by newer ones ──▶ nobody's
 *
 * A user who logs in over and over pushes out tokens of his own, long before there is no place left for those of others.
 *
 * The letters are chosen by the member that proposes the log-in, and the index is the same on all of them, so the text is.
 * When a token was last used is known only where it was used: a member may forget one that another still honours, and a
 * client that is refused logs in again. Nothing is kept across a restart.
 *
 * A token may come here before its log-in has been applied: its index tells, and the caller waits (./waiting-tokens.ts).
 *
 * Source: etcd server/auth/simple_token.go, and semantics §7.5 of the reference.
 */
import type { Clock, Random } from "@quorate/world";
import type { Identity, Login, Resolved, Tokens } from "./tokens.ts";
import { WaitingTokens } from "./waiting-tokens.ts";

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const NONCE_LENGTH = 16;

/** About 300 bytes each. */
const TOKENS_MAX = 65_536;
const TOKENS_PER_USER_MAX = 4096;
/** Of every so many tokens one makes room when all their places are taken: looking for them costs a pass over all. */
const ROOM_SHARE = 16;

export interface SimpleTokensOptions {
  readonly clock: Pick<Clock, "monotonicMs">;
  /** Must not be guessable. */
  readonly random: Random;
  /** How long a token lives without being used; etcd's default is 300,000. */
  readonly ttlMs: number;
  /** Of the last entry applied here, if any; {@link SimpleTokens.applied} tells of later ones. */
  readonly appliedIndex?: number;
  /** For tests. */
  readonly tokensMax?: number;
  readonly tokensPerUserMax?: number;
}

interface Held {
  readonly identity: Identity;
  /** Has been used since {@link SimpleTokens.expire} was last called. */
  isInUse: boolean;
  /** Before that, or when it was used first since then. */
  usedAtMs: number;
}

export class SimpleTokens implements Tokens {
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #random: Random;
  readonly #ttlMs: number;
  readonly #tokensMax: number;
  readonly #tokensPerUserMax: number;
  readonly #held = new Map<string, Held>();
  /** How many are held of a user, if any. */
  readonly #countOf = new Map<string, number>();
  readonly #waiting: WaitingTokens;
  /** What {@link known} was asked last, and what is held of it: the calls of one client come in a row. */
  #lastToken = "";
  #lastHeld: Held | undefined = undefined;

  constructor({
    clock,
    random,
    ttlMs,
    appliedIndex = 0,
    tokensMax = TOKENS_MAX,
    tokensPerUserMax = TOKENS_PER_USER_MAX,
  }: SimpleTokensOptions) {
    this.#clock = clock;
    this.#random = random;
    this.#ttlMs = ttlMs;
    this.#tokensMax = tokensMax;
    this.#tokensPerUserMax = tokensPerUserMax;
    this.#waiting = new WaitingTokens(clock, appliedIndex);
  }

  /** Tokens remembered here, expired ones included until {@link expire}. */
  get count(): number {
    return this.#held.size;
  }

  nonce(): string {
    let nonce = "";
    for (let i = 0; i < NONCE_LENGTH; i++) nonce += LETTERS[this.#random.below(LETTERS.length)];
    return nonce;
  }

  loggedIn(login: Login): void {
    // A member that is configured to sign tokens sends none, and what is left of the text anybody could guess.
    if (login.nonce === "") return;
    const { user } = login;
    if (this.#heldOf(user) >= this.#tokensPerUserMax) this.#makeRoom(this.#tokensPerUserMax, user);
    if (this.#held.size >= this.#tokensMax) this.#makeRoom(this.#tokensMax, null);
    this.#forgetLast();
    this.#held.set(textOf(login), {
      identity: { user, revision: null },
      isInUse: false,
      usedAtMs: this.#clock.monotonicMs(),
    });
    this.#countOf.set(user, this.#heldOf(user) + 1);
  }

  issue(login: Login, done: (token: string | null) => void): void {
    const token = textOf(login);
    done(this.#held.has(token) ? token : null);
  }

  /** Hot (once per call): one lookup, and nothing is allocated. A look at the clock costs as much again: one a second does. */
  known(token: string): Identity | undefined {
    if (token !== this.#lastToken) {
      this.#lastHeld = this.#held.get(token);
      this.#lastToken = token;
    }
    const held = this.#lastHeld;
    if (held === undefined) return undefined;
    if (held.isInUse) return held.identity;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - held.usedAtMs > this.#ttlMs) return undefined;
    held.isInUse = true;
    held.usedAtMs = nowMs;
    return held.identity;
  }

  resolve(token: string, done: (identity: Resolved) => void): void {
    const identity = this.known(token);
    if (identity !== undefined) done(identity);
    else if (this.#held.has(token)) done(null);
    else {
      // The log-in is the entry after the one the token names.
      const isTaken = this.#waiting.add(indexOf(token) + 1, () => done(this.known(token) ?? null));
      if (!isTaken) done("busy");
    }
  }

  applied(index: number): void {
    this.#waiting.applied(index);
  }

  dropUser(user: string): void {
    this.#forgetLast();
    for (const [token, { identity }] of this.#held) if (identity.user === user) this.#held.delete(token);
    this.#countOf.delete(user);
  }

  dropAll(): void {
    this.#forgetLast();
    this.#held.clear();
    this.#countOf.clear();
  }

  expire(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [token, held] of this.#held) {
      if (held.isInUse) {
        held.isInUse = false;
        held.usedAtMs = nowMs;
      } else if (nowMs - held.usedAtMs > this.#ttlMs) this.#forget(token, held);
    }
    this.#waiting.expire();
  }

  /** Those that have gone unused the longest, of this user (null: of everybody), give their places up. */
  #makeRoom(places: number, user: string | null): void {
    const candidates: [string, Held][] = [];
    for (const each of this.#held) if (user === null || each[1].identity.user === user) candidates.push(each);
    const lastUse = (held: Held): number => (held.isInUse ? Number.POSITIVE_INFINITY : held.usedAtMs);
    const usedAtMs = Float64Array.from(candidates, ([, held]) => lastUse(held)).sort();
    let left = Math.ceil(places / ROOM_SHARE);
    const latestMs = usedAtMs[left - 1]!;
    for (const [token, held] of candidates) {
      if (lastUse(held) > latestMs) continue;
      this.#forget(token, held);
      if (--left === 0) return;
    }
  }

  #heldOf(user: string): number {
    return this.#countOf.get(user) ?? 0;
  }

  #forgetLast(): void {
    this.#lastToken = "";
    this.#lastHeld = undefined;
  }

  #forget(token: string, { identity: { user } }: Held): void {
    this.#forgetLast();
    this.#held.delete(token);
    const left = this.#heldOf(user) - 1;
    if (left === 0) this.#countOf.delete(user);
    else this.#countOf.set(user, left);
  }
}

function textOf(login: Login): string {
  return `${login.nonce}.${login.index}`;
}

/** The index in a token's text; NaN if the text is not that of a token. */
function indexOf(token: string): number {
  const match = /^[a-zA-Z]{16}\.(\d{1,16})$/.exec(token);
  return match === null ? Number.NaN : Number(match[1]);
}
