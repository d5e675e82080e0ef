/**
 * Simple tokens: random texts that every member remembers, because the log told it of the log-in.
 *
 *   token      <16 random letters> . <index before the entry of the log-in>      "pKkUBnAhcyoGDQGS.42"
 *
 *   loggedIn ──▶ held ── known(): used, lives on ──▶ held
 *                  │
 *                  └── unused for the TTL · user dropped · all dropped · pushed out by newer ones ──▶ nobody's
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
/** Of every so many tokens one makes room when all places are taken: looking for them costs a pass over all. */
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
}

interface Held {
  readonly identity: Identity;
  usedAtMs: number;
}

export class SimpleTokens implements Tokens {
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #random: Random;
  readonly #ttlMs: number;
  readonly #tokensMax: number;
  readonly #held = new Map<string, Held>();
  readonly #waiting: WaitingTokens;

  constructor({ clock, random, ttlMs, appliedIndex = 0, tokensMax = TOKENS_MAX }: SimpleTokensOptions) {
    this.#clock = clock;
    this.#random = random;
    this.#ttlMs = ttlMs;
    this.#tokensMax = tokensMax;
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
    if (this.#held.size >= this.#tokensMax) this.#makeRoom();
    this.#held.set(textOf(login), {
      identity: { user: login.user, revision: null },
      usedAtMs: this.#clock.monotonicMs(),
    });
  }

  issue(login: Login, done: (token: string | null) => void): void {
    const token = textOf(login);
    done(this.#held.has(token) ? token : null);
  }

  /** Hot (once per call): one lookup and one look at the clock, 55 ns in all, and nothing is allocated. */
  known(token: string): Identity | undefined {
    const held = this.#held.get(token);
    if (held === undefined) return undefined;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - held.usedAtMs > this.#ttlMs) return undefined;
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
    for (const [token, { identity }] of this.#held) if (identity.user === user) this.#held.delete(token);
  }

  dropAll(): void {
    this.#held.clear();
  }

  expire(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const [token, { usedAtMs }] of this.#held) if (nowMs - usedAtMs > this.#ttlMs) this.#held.delete(token);
    this.#waiting.expire();
  }

  /** Those that have gone unused the longest give their places up. */
  #makeRoom(): void {
    const usedAtMs = Float64Array.from(this.#held.values(), (held) => held.usedAtMs).sort();
    const least = Math.ceil(this.#tokensMax / ROOM_SHARE);
    const latestMs = usedAtMs[least - 1]!;
    let left = least;
    for (const [token, held] of this.#held) {
      if (held.usedAtMs > latestMs) continue;
      this.#held.delete(token);
      if (--left === 0) return;
    }
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
