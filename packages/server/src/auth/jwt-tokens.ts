/**
 * Signed tokens: a JSON Web Token that says who logged in, at which auth revision, and until when. Nothing is remembered
 * but keys, so they outlive restarts, and another server with the same keys, etcd's included, issues and takes the same.
 *
 *   header  {"alg":"RS256","typ":"JWT"}
 *   claims  {"exp":1700000300,"revision":5,"username":"alice"}
 *
 * The algorithm is the configured one, whatever a token says of itself.
 *
 *   resolve ─▶ verified before? ── yes ─▶ its identity, at once
 *                │ no
 *                ▼
 *              queue (bounded; the same text once) ─▶ jose, two at a time ─▶ remembered until it expires, or nobody
 *
 * jose computes in libuv's pool of four threads, which is also the log's: two of them at most are busy with whatever
 * strangers present as a token.
 *
 * Source: etcd server/auth/jwt.go, and semantics §7.5 of the reference.
 */
import type { Identity, Login, Resolved, Tokens } from "@quorate/auth";
import type { Clock, Log } from "@quorate/world";
import type { JwtConfig, SignMethod } from "../config/auth-token.ts";
import { type JwtKeys, readJwtKeys } from "./jwt-keys.ts";

type Jose = typeof import("jose");

export interface JwtTokensWorld {
  readonly clock: Pick<Clock, "wallMs">;
  readonly log: Log;
}

/** About 1 KiB each. */
const REMEMBERED_MAX = 4096;
/** Tokens that wait to be verified, and calls that wait for them. */
const WAITING_TOKENS_MAX = 1024;
const WAITING_CALLS_MAX = 16_384;
const VERIFYING_MAX = 2;
const TOKEN_LENGTH_MAX = 16_384;

type Done = (identity: Resolved) => void;

interface Verified {
  readonly identity: Identity;
  /** By the wall clock; Infinity: a token that does not say. */
  readonly expiresAtMs: number;
}

export class JwtTokens implements Tokens {
  readonly #jose: Jose;
  readonly #keys: JwtKeys;
  readonly #signMethod: SignMethod;
  readonly #ttlMs: number;
  readonly #clock: Pick<Clock, "wallMs">;
  readonly #log: Log;
  /** In the order they were verified. */
  readonly #verified = new Map<string, Verified>();
  /** Who waits for what to be verified; those not yet begun are in the queue as well. */
  readonly #waiting = new Map<string, Done[]>();
  readonly #queue: string[] = [];
  #waitingCalls = 0;
  #verifying = 0;

  /** Reads the keys. Rejects with JwtKeyError. */
  static async open(config: JwtConfig, world: JwtTokensWorld): Promise<JwtTokens> {
    if (config.unknownOptions.length > 0) world.log.warn("unknown JWT options", { keys: config.unknownOptions });
    const keys = readJwtKeys(config);
    // Loaded only for those who sign their tokens: everybody else keeps the memory.
    return new JwtTokens(await import("jose"), keys, config, world);
  }

  private constructor(jose: Jose, keys: JwtKeys, config: JwtConfig, world: JwtTokensWorld) {
    this.#jose = jose;
    this.#keys = keys;
    this.#signMethod = config.signMethod;
    this.#ttlMs = config.ttlMs;
    this.#clock = world.clock;
    this.#log = world.log;
  }

  nonce(): string {
    return "";
  }

  loggedIn(): void {}

  issue(login: Login, done: (token: string | null) => void): void {
    const { signing } = this.#keys;
    if (signing === null) {
      done(null);
      return;
    }
    const exp = Math.floor((this.#clock.wallMs() + this.#ttlMs) / 1000);
    new this.#jose.SignJWT({ exp, revision: login.revision, username: login.user })
      .setProtectedHeader({ alg: this.#signMethod, typ: "JWT" })
      .sign(signing)
      .then(
        (token) => {
          const identity = { user: login.user, revision: login.revision };
          this.#remember(token, { identity, expiresAtMs: exp * 1000 });
          done(token);
        },
        (error: unknown) => {
          this.#log.error("failed to sign a JWT token", { "user-name": login.user, revision: login.revision, error });
          done(null);
        },
      );
  }

  /** Hot (once per call): one lookup and one look at the clock. */
  known(token: string): Identity | undefined {
    const verified = this.#verified.get(token);
    if (verified === undefined || this.#clock.wallMs() >= verified.expiresAtMs) return undefined;
    return verified.identity;
  }

  resolve(token: string, done: Done): void {
    const identity = this.known(token);
    if (identity !== undefined) {
      done(identity);
      return;
    }
    if (token.length > TOKEN_LENGTH_MAX) {
      done(null);
      return;
    }
    const same = this.#waiting.get(token);
    const isFull =
      this.#waitingCalls >= WAITING_CALLS_MAX || (same === undefined && this.#waiting.size >= WAITING_TOKENS_MAX);
    if (isFull) {
      done("busy");
      return;
    }
    this.#waitingCalls++;
    if (same !== undefined) same.push(done);
    else {
      this.#waiting.set(token, [done]);
      this.#queue.push(token);
      this.#verifyNext();
    }
  }

  applied(): void {}

  /** A signed token cannot be taken back. Its revision is older than the store's from now on, which refuses it keys. */
  dropUser(): void {}

  dropAll(): void {}

  expire(): void {
    const nowMs = this.#clock.wallMs();
    for (const [token, { expiresAtMs }] of this.#verified) if (nowMs >= expiresAtMs) this.#verified.delete(token);
  }

  #verifyNext(): void {
    while (this.#verifying < VERIFYING_MAX) {
      const token = this.#queue.shift();
      if (token === undefined) return;
      this.#verifying++;
      this.#verify(token).then((verified) => {
        this.#verifying--;
        if (verified !== null) this.#remember(token, verified);
        this.#tell(token, verified?.identity ?? null);
        this.#verifyNext();
      });
    }
  }

  /** Never rejects. */
  async #verify(token: string): Promise<Verified | null> {
    try {
      const { payload } = await this.#jose.jwtVerify(token, this.#keys.verifying, {
        algorithms: [this.#signMethod],
        currentDate: new Date(this.#clock.wallMs()),
      });
      return verifiedOf(payload);
    } catch (error) {
      // The error's text and code say what was wrong, its other fields what the token said.
      const { message } = error as Error;
      this.#log.debug("failed to parse a JWT token", { error: message });
      return null;
    }
  }

  #tell(token: string, identity: Identity | null): void {
    const waiting = this.#waiting.get(token)!;
    this.#waiting.delete(token);
    this.#waitingCalls -= waiting.length;
    for (const done of waiting) done(identity);
  }

  #remember(token: string, verified: Verified): void {
    this.#verified.set(token, verified);
    if (this.#verified.size <= REMEMBERED_MAX) return;
    const [oldest] = this.#verified.keys();
    this.#verified.delete(oldest!);
  }
}

/** null: claims that say nobody (covers AU-04: a token without them must not stop a member). */
function verifiedOf(claims: { readonly [name: string]: unknown }): Verified | null {
  const { username, revision, exp } = claims;
  if (typeof username !== "string" || typeof revision !== "number" || !(revision >= 0)) return null;
  // What is not a number exactly could not be written into an entry.
  if (!Number.isSafeInteger(Math.floor(revision))) return null;
  return {
    identity: { user: username, revision: Math.floor(revision) },
    expiresAtMs: typeof exp === "number" ? exp * 1000 : Number.POSITIVE_INFINITY,
  };
}
