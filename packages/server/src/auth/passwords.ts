/**
 * Password hashing and checking, off the event loop: bcrypt in a thread of its own (./password-thread.ts), one after the
 * other, while the rest of the server has the other cores. The auth service asks; nothing that applies an entry does.
 *
 *   verify ─▶ remembered? ── yes ─▶ right, at once
 *               │ no
 *               ▼
 *             the same being checked? ── yes ─▶ wait with it
 *               │ no
 *               ▼
 *             queue of the user (bounded); users take turns ─▶ thread ─▶ right (remembered) or wrong (never remembered)
 *
 * What is remembered of a right password is a digest of it together with the user and the stored hash, under a key that
 * only this process has ever had: a changed password is another entry, and memory shows nobody's password.
 *
 * The thread is started when it is first needed, for it costs 20 MB, and ended when nobody has asked for a while, which
 * gives a part of that back.
 *
 * Passwords go to no log and into no error.
 */
import { createHmac, randomBytes } from "node:crypto";
import type { ErrorKind } from "@quorate/api";
import { assert, type Log, type Random, type Timer, type Timers } from "@quorate/world";
import { FairQueue } from "./fair-queue.ts";
import {
  type BcryptHash,
  type PasswordAnswer,
  type PasswordRequest,
  type PasswordThread,
  type StartPasswordThread,
  startPasswordThread,
} from "./password-thread.ts";
import { SEEN_BYTES, seenByBcrypt } from "./seen-by-bcrypt.ts";

/**
 * - `TooManyRequests`: the queues are full, all together or this user's, and the lot has fallen on this one.
 * - `Timeout`: bcrypt took too long, or its thread was lost.
 * - `PasswordTooLong`: to be hashed, with more than 72 bytes.
 * - `Stopped`: the server is stopping.
 */
export type PasswordFailure = Extract<ErrorKind, "TooManyRequests" | "Timeout" | "PasswordTooLong" | "Stopped">;

/** The call on whose behalf it is done: work that nobody waits for any more is not begun. */
export interface PasswordCall {
  readonly isOpen: boolean;
  /** The connection it came by. */
  readonly connection: object;
}

export interface PasswordCheck {
  readonly user: string;
  /** As stored. What is no bcrypt hash, the empty one included, fits no password. */
  readonly hash: Uint8Array;
  readonly password: string;
  readonly call: PasswordCall;
}

export interface PasswordsOptions {
  /** bcrypt's, 4 to 31, for new hashes. */
  readonly cost: number;
  readonly timers: Pick<Timers, "after">;
  /** Draws who goes when a queue is full. */
  readonly random: Random;
  readonly log: Log;
  /** For tests and the simulator. */
  readonly startThread?: StartPasswordThread;
}

/** Different jobs that wait; at bcrypt's usual cost that is four minutes. */
const WAITING_MAX = 4096;
/** Of one user: four seconds, if nobody else asks. */
const WAITING_PER_USER_MAX = 64;
/** Calls that wait for one job. */
const CALLS_PER_JOB_MAX = 16_384;
const REMEMBERED_MAX = 1024;
const IDLE_MS = 30_000;
/** A hash of cost 20 takes one minute. Longer ones would keep everybody else waiting for hours. */
const RUN_MAX_MS = 120_000;

const COST_MIN = 4;
const COST_MAX = 31;
const COST_DEFAULT = 10;

interface Waiting {
  readonly call: PasswordCall;
  readonly done: (answer: PasswordAnswer | PasswordFailure) => void;
}

interface Job {
  readonly request: PasswordRequest;
  /** Whose password is checked; null: a new hash. */
  readonly user: string | null;
  /** Under which a check is shared and remembered; "" for a new hash. */
  readonly digest: string;
  readonly waiting: Waiting[];
}

/** Passwords as configured: a cost that bcrypt does not take means its default, with a warning, as in etcd. */
export function passwordsOf(
  config: { readonly bcryptCostConfigured: number },
  { timers, random, log }: Pick<PasswordsOptions, "timers" | "random" | "log">,
): Passwords {
  const given = config.bcryptCostConfigured;
  const isTaken = given >= COST_MIN && given <= COST_MAX;
  if (!isTaken) {
    log.warn("use default bcrypt cost instead of the invalid given cost", {
      "min-cost": COST_MIN,
      "max-cost": COST_MAX,
      "default-cost": COST_DEFAULT,
      "given-cost": given,
    });
  }
  return new Passwords({ cost: isTaken ? given : COST_DEFAULT, timers, random, log });
}

export class Passwords {
  readonly #cost: number;
  readonly #timers: Pick<Timers, "after">;
  readonly #log: Log;
  readonly #startThread: StartPasswordThread;
  readonly #key: Buffer = randomBytes(32);
  /** Digest of a right password → its user; the one used last is at the end. */
  readonly #remembered = new Map<string, string>();
  readonly #queue: FairQueue<Job>;
  #running: Job | null = null;
  /** Checks that wait or run, by digest. */
  readonly #checks = new Map<string, Job>();
  #thread: PasswordThread | null = null;
  /** Of the job that runs, or else of the idle thread. */
  #timer: Timer | null = null;
  #isStopped = false;

  constructor({ cost, timers, random, log, startThread = startPasswordThread }: PasswordsOptions) {
    this.#cost = cost;
    this.#timers = timers;
    this.#queue = new FairQueue({
      max: WAITING_MAX,
      maxPerOwner: WAITING_PER_USER_MAX,
      random,
      sourceOf: ({ waiting }) => waiting[0]!.call.connection,
    });
    this.#log = log;
    this.#startThread = startThread;
  }

  /** `done` once, at once if the answer is known. The hash is transferred: bcrypt's text in ASCII. */
  hash(password: string, call: PasswordCall, done: (result: Uint8Array | PasswordFailure) => void): void {
    if (Buffer.byteLength(password) > SEEN_BYTES) {
      done("PasswordTooLong");
      return;
    }
    const job: Job = { request: { kind: "hash", password, cost: this.#cost }, user: null, digest: "", waiting: [] };
    job.waiting.push({
      call,
      done: (answer) => {
        if (typeof answer === "string") return done(answer);
        assert(answer.kind === "hashed", "a password that was to be hashed was hashed");
        done(Buffer.from(answer.hash, "latin1"));
      },
    });
    this.#enqueue(job);
  }

  /** `done` once, at once if the answer is known. */
  verify(check: PasswordCheck, done: (outcome: "right" | "wrong" | PasswordFailure) => void): void {
    const hash = parseHash(check.hash);
    if (hash === null) {
      done("wrong");
      return;
    }
    const password = seenByBcrypt(check.password);
    const digest = this.#digestOf(check.user, check.hash, password);
    if (this.#remembered.has(digest)) {
      this.#remember(digest, check.user);
      done("right");
      return;
    }
    const waiting: Waiting = {
      call: check.call,
      done: (answer) => {
        if (typeof answer === "string") return done(answer);
        assert(answer.kind === "verified", "a password that was to be checked was checked");
        done(answer.isRight ? "right" : "wrong");
      },
    };
    const same = this.#checks.get(digest);
    if (same === undefined) {
      this.#enqueue({
        request: { kind: "verify", password, hash },
        user: check.user,
        digest,
        waiting: [waiting],
      });
    } else if (same.waiting.length < CALLS_PER_JOB_MAX) same.waiting.push(waiting);
    else done("TooManyRequests");
  }

  /** The user is gone or has another password: what was remembered of it is of no use any more. */
  dropUser(user: string): void {
    for (const [digest, each] of this.#remembered) if (each === user) this.#remembered.delete(digest);
  }

  /** Whoever waits hears `Stopped`. */
  stop(): void {
    this.#isStopped = true;
    this.#endThread();
    const waiting = this.#queue.removeIf(() => true);
    const jobs = this.#running === null ? waiting : [this.#running, ...waiting];
    this.#running = null;
    for (const job of jobs) this.#finish(job, "Stopped");
  }

  #enqueue(job: Job): void {
    if (this.#isStopped) return tell(job, "Stopped");
    if (this.#queue.isFullFor(job.user)) this.#dropUnwanted();
    const displaced = this.#queue.add(job.user, job);
    if (displaced === job) return tell(job, "TooManyRequests");
    if (job.user !== null) this.#checks.set(job.digest, job);
    if (displaced !== null) this.#finish(displaced, "TooManyRequests");
    this.#runNext();
  }

  /** Calls that ended have left their jobs behind. */
  #dropUnwanted(): void {
    for (const job of this.#queue.removeIf((each) => !isWanted(each))) this.#finish(job, "Timeout");
  }

  #runNext(): void {
    while (this.#running === null) {
      const job = this.#queue.next();
      if (job === undefined) {
        this.#restBeforeEnding();
        return;
      }
      if (!isWanted(job)) this.#finish(job, "Timeout");
      else this.#run(job);
    }
  }

  #run(job: Job): void {
    this.#running = job;
    this.#thread ??= this.#startThread({
      answered: (answer) => this.#answered(answer),
      lost: (error) => this.#lost(error),
    });
    this.#setTimer(RUN_MAX_MS, () => this.#lost(new Error(`bcrypt took longer than ${RUN_MAX_MS} ms`)));
    this.#thread.ask(job.request);
  }

  #answered(answer: PasswordAnswer): void {
    const job = this.#running;
    assert(job !== null, "an answer about a password was asked for");
    this.#running = null;
    if (job.user !== null && answer.kind === "verified" && answer.isRight) this.#remember(job.digest, job.user);
    this.#finish(job, answer);
    this.#runNext();
  }

  #lost(error: Error): void {
    this.#log.error("lost the thread that hashes passwords", { error });
    this.#endThread();
    const job = this.#running;
    this.#running = null;
    if (job !== null) this.#finish(job, "Timeout");
    this.#runNext();
  }

  #restBeforeEnding(): void {
    if (this.#thread === null) this.#setTimer(null);
    else this.#setTimer(IDLE_MS, () => this.#endThread());
  }

  #endThread(): void {
    this.#setTimer(null);
    this.#thread?.end();
    this.#thread = null;
  }

  #setTimer(delayMs: null): void;
  #setTimer(delayMs: number, fire: () => void): void;
  #setTimer(delayMs: number | null, fire?: () => void): void {
    this.#timer?.cancel();
    this.#timer = delayMs === null ? null : this.#timers.after(delayMs, fire!);
  }

  #finish(job: Job, answer: PasswordAnswer | PasswordFailure): void {
    if (job.user !== null) this.#checks.delete(job.digest);
    tell(job, answer);
  }

  #remember(digest: string, user: string): void {
    this.#remembered.delete(digest);
    this.#remembered.set(digest, user);
    if (this.#remembered.size <= REMEMBERED_MAX) return;
    const [oldest] = this.#remembered.keys();
    this.#remembered.delete(oldest!);
  }

  #digestOf(user: string, hash: Uint8Array, password: string): string {
    const text = JSON.stringify([user, Buffer.from(hash).toString("latin1"), password]);
    return createHmac("sha256", this.#key).update(text).digest("base64");
  }
}

function tell(job: Job, answer: PasswordAnswer | PasswordFailure): void {
  for (const { done } of job.waiting) done(answer);
}

function isWanted(job: Job): boolean {
  return job.waiting.some(({ call }) => call.isOpen);
}

/** null: not a hash that any password fits. As Go's library, whatever follows the 2 is taken for an `a`. */
function parseHash(hash: Uint8Array): BcryptHash | null {
  const match = /^\$2[^$]?\$(\d\d)\$([./A-Za-z0-9]{22})([./A-Za-z0-9]{31})/.exec(Buffer.from(hash).toString("latin1"));
  if (match === null) return null;
  const [, cost, salt, digest] = match as unknown as [string, string, string, string];
  return Number(cost) >= COST_MIN && Number(cost) <= COST_MAX ? { cost: Number(cost), salt, digest } : null;
}
