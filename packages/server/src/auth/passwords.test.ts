import assert from "node:assert/strict";
import { test } from "node:test";
import { type LogFields, silentLog } from "@quorate/world";
import { ManualWorld } from "../testing/manual-world.ts";
import type { PasswordRequest, PasswordThreadOwner, StartPasswordThread } from "./password-thread.ts";
import { type PasswordCall, Passwords, passwordsOf } from "./passwords.ts";

/** A thread for which a test answers. */
class FakeThread {
  readonly asked: PasswordRequest[] = [];
  readonly owners: PasswordThreadOwner[] = [];
  endedCount = 0;
  readonly start: StartPasswordThread = (owner) => {
    this.owners.push(owner);
    return {
      ask: (request) => this.asked.push(request),
      end: () => {
        this.endedCount++;
      },
    };
  };
  get owner(): PasswordThreadOwner {
    return this.owners.at(-1)!;
  }
  verified(isRight: boolean): void {
    this.owner.answered({ kind: "verified", isRight });
  }
}

const OPEN: PasswordCall = { isOpen: true, connection: {} };
/** Draws the last place. */
const LAST = { below: (bound: number) => bound - 1 };
const HASH = "$2a$04$XZhCtnJPHBSDJAcVtnIgHevBVRpTjVKsQD1O6AKpd/.r8RIOmttl2";
const OTHER_HASH = "$2a$04$yeIQA8d3kll0I1kyhyWlEuFL0HTQ3iziFDRbeCG1PRJk9WX3l/RYm";

function setUp(): { world: ManualWorld; thread: FakeThread; passwords: Passwords } {
  const world = new ManualWorld();
  const thread = new FakeThread();
  return {
    world,
    thread,
    passwords: new Passwords({ cost: 5, timers: world, random: LAST, log: silentLog, startThread: thread.start }),
  };
}

/** What is heard of a check, in order; empty while nothing is. */
function verifying(
  passwords: Passwords,
  {
    user = "alice",
    hash = HASH,
    password = "abc",
    call = OPEN,
  }: Partial<Record<"user" | "hash" | "password", string>> & { call?: PasswordCall } = {},
): string[] {
  const heard: string[] = [];
  passwords.verify({ user, hash: Buffer.from(hash), password, call }, (outcome) => heard.push(outcome));
  return heard;
}

function hashing(passwords: Passwords, password: string): string[] {
  const heard: string[] = [];
  passwords.hash(password, OPEN, (result) =>
    heard.push(typeof result === "string" ? result : Buffer.from(result).toString()),
  );
  return heard;
}

test("the thread is started by the first job and ended after half a minute without one", () => {
  const { world, thread, passwords } = setUp();
  assert.equal(thread.owners.length, 0);
  const first = verifying(passwords);
  assert.equal(thread.owners.length, 1);
  thread.verified(true);
  assert.deepEqual(first, ["right"]);
  assert.equal(world.fireNext(world.nowMs + 29_999), false);
  assert.equal(thread.endedCount, 0);
  assert.equal(world.fireNext(world.nowMs + 1), true);
  assert.equal(thread.endedCount, 1);
  assert.equal(world.timerCount, 0);
  verifying(passwords, { user: "bob" });
  assert.equal(thread.owners.length, 2);
});

test("one job runs at a time, the others in the order they came", () => {
  const { thread, passwords } = setUp();
  const right = verifying(passwords, { user: "a" });
  const wrong = verifying(passwords, { user: "b", password: "nope" });
  const hashed = hashing(passwords, "new");
  assert.equal(thread.asked.length, 1);
  thread.verified(true);
  assert.deepEqual([right, wrong, hashed], [["right"], [], []]);
  assert.equal(thread.asked.length, 2);
  thread.verified(false);
  assert.deepEqual(thread.asked[2], { kind: "hash", password: "new", cost: 5 });
  thread.owner.answered({ kind: "hashed", hash: HASH });
  assert.deepEqual([wrong, hashed], [["wrong"], [HASH]]);
});

test("a right password is remembered for its user and stored hash, and for nothing else", () => {
  const { thread, passwords } = setUp();
  verifying(passwords);
  thread.verified(true);
  assert.deepEqual(verifying(passwords), ["right"], "at once");
  assert.equal(thread.asked.length, 1);
  const others = [{ user: "alic" }, { user: "bob" }, { password: "abcd" }, { password: "ab" }, { hash: OTHER_HASH }];
  for (const other of others) assert.deepEqual(verifying(passwords, other), []);
  for (const _ of others) thread.verified(false);
  assert.equal(thread.asked.length, 1 + others.length);
});

test("a wrong password is never remembered, neither as right nor as wrong", () => {
  const { thread, passwords } = setUp();
  verifying(passwords, { password: "nope" });
  thread.verified(false);
  assert.deepEqual(verifying(passwords, { password: "nope" }), []);
  assert.equal(thread.asked.length, 2);
});

test("a user that is dropped is checked anew", () => {
  const { thread, passwords } = setUp();
  verifying(passwords);
  thread.verified(true);
  passwords.dropUser("bob");
  assert.deepEqual(verifying(passwords), ["right"]);
  passwords.dropUser("alice");
  assert.deepEqual(verifying(passwords), []);
});

test("1,024 right passwords are remembered; the one not used for the longest is forgotten", () => {
  const { thread, passwords } = setUp();
  for (let i = 0; i < 1024; i++) {
    verifying(passwords, { user: `u${i}` });
    thread.verified(true);
  }
  assert.deepEqual(verifying(passwords, { user: "u0" }), ["right"]);
  verifying(passwords, { user: "one more" });
  thread.verified(true);
  assert.deepEqual(verifying(passwords, { user: "u0" }), ["right"]);
  assert.deepEqual(verifying(passwords, { user: "u1" }), []);
});

test("a thousand log-ins of one user at once cost one bcrypt", () => {
  const { thread, passwords } = setUp();
  const heard = Array.from({ length: 1000 }, () => verifying(passwords));
  assert.equal(thread.asked.length, 1);
  thread.verified(true);
  for (const each of heard) assert.deepEqual(each, ["right"]);
  assert.equal(thread.asked.length, 1);
});

test("4,096 jobs wait, and the next is told: too many requests", () => {
  const { thread, passwords } = setUp();
  const heard = Array.from({ length: 4097 }, (_, i) => verifying(passwords, { user: `u${i}` }));
  assert.deepEqual(verifying(passwords, { user: "late" }), ["TooManyRequests"]);
  assert.deepEqual(hashing(passwords, "late"), ["TooManyRequests"]);
  assert.deepEqual(verifying(passwords, { user: "u4096" }), [], "shares a job that waits");
  thread.verified(true);
  assert.deepEqual(heard[0], ["right"]);
  assert.deepEqual(verifying(passwords, { user: "late" }), []);
});

test("whoever guesses a user's password makes nobody else wait", () => {
  const { thread, passwords } = setUp();
  for (let i = 0; i < 65; i++) assert.deepEqual(verifying(passwords, { password: `guess ${i}` }), []);
  const bobs = verifying(passwords, { user: "bob", password: "bob's" });
  const hashed = hashing(passwords, "new");
  for (let i = 0; i < 2; i++) thread.verified(false);
  assert.equal(thread.asked[2]!.password, "bob's");
  thread.verified(true);
  assert.deepEqual(bobs, ["right"]);
  assert.equal(thread.asked[3]!.password, "new");
  thread.owner.answered({ kind: "hashed", hash: HASH });
  assert.deepEqual(hashed, [HASH]);
});

test("nor keeps that user out: when 64 of his wait, the next takes a place drawn by lot", () => {
  const { thread, passwords } = setUp();
  const guesses = Array.from({ length: 65 }, (_, i) => verifying(passwords, { password: `guess ${i}` }));
  const right = verifying(passwords, { password: "right" });
  assert.deepEqual(guesses.at(-1), ["TooManyRequests"]);
  for (let i = 0; i < 64; i++) thread.verified(false);
  thread.verified(true);
  assert.deepEqual(right, ["right"]);
  assert.deepEqual(guesses[63], ["wrong"]);
  assert.deepEqual(verifying(passwords, { password: "guess 64" }), [], "whoever was pushed out may come again");
});

test("work that no call waits for any more is not done, and makes room", () => {
  const { thread, passwords } = setUp();
  verifying(passwords, { user: "first" });
  const gone = { isOpen: true, connection: {} };
  const heard = Array.from({ length: 64 }, (_, i) => verifying(passwords, { password: `guess ${i}`, call: gone }));
  const shared = verifying(passwords, { password: "guess 63" });
  gone.isOpen = false;
  assert.deepEqual(verifying(passwords, { password: "one more" }), []);
  thread.verified(true);
  assert.equal(thread.asked.length, 2);
  assert.equal(thread.asked[1]!.password, "guess 63");
  thread.verified(true);
  assert.deepEqual(shared, ["right"]);
  assert.deepEqual(heard[0], ["Timeout"]);
});

test("a job that runs for two minutes is given up, and the next has a new thread", () => {
  const { world, thread, passwords } = setUp();
  const first = verifying(passwords);
  const second = verifying(passwords, { user: "bob" });
  assert.equal(world.fireNext(world.nowMs + 120_000), true);
  assert.deepEqual(first, ["Timeout"]);
  assert.equal(thread.endedCount, 1);
  assert.equal(thread.owners.length, 2);
  thread.verified(true);
  assert.deepEqual(second, ["right"]);
});

test("a thread that is lost costs its job, not the others", () => {
  const { thread, passwords } = setUp();
  const first = verifying(passwords);
  const second = verifying(passwords, { user: "bob" });
  thread.owner.lost(new Error("out of memory"));
  assert.deepEqual(first, ["Timeout"]);
  thread.verified(false);
  assert.deepEqual(second, ["wrong"]);
});

test("whoever waits when the server stops is told, and nothing is begun afterwards", () => {
  const { world, thread, passwords } = setUp();
  const heard = [verifying(passwords), verifying(passwords, { user: "bob" }), hashing(passwords, "x")];
  passwords.stop();
  assert.deepEqual(heard, [["Stopped"], ["Stopped"], ["Stopped"]]);
  assert.equal(thread.endedCount, 1);
  assert.equal(world.timerCount, 0);
  assert.deepEqual(verifying(passwords), ["Stopped"]);
});

test("what is no bcrypt hash fits no password, and costs nothing", () => {
  const { thread, passwords } = setUp();
  for (const hash of [
    "",
    "x",
    HASH.slice(0, 59),
    HASH.replace("$04$", "$03$"),
    HASH.replace("$04$", "$32$"),
    `$3${HASH.slice(2)}`,
  ]) {
    assert.deepEqual(verifying(passwords, { hash }), ["wrong"], hash);
  }
  assert.equal(thread.owners.length, 0);
});

test("a password of more than 72 bytes is not hashed, whatever its number of characters", () => {
  const { thread, passwords } = setUp();
  assert.deepEqual(hashing(passwords, "é".repeat(36)), []);
  assert.deepEqual(hashing(passwords, `${"é".repeat(36)}x`), ["PasswordTooLong"]);
  assert.deepEqual(hashing(passwords, "x".repeat(73)), ["PasswordTooLong"]);
  assert.equal(thread.asked.length, 1);
});

test("a cost that bcrypt does not take means 10, with a warning", () => {
  const world = new ManualWorld();
  const warned: (LogFields | undefined)[] = [];
  const log = { ...silentLog, warn: (_message: string, fields?: LogFields) => warned.push(fields) };
  for (const given of [4, 31]) passwordsOf({ bcryptCostConfigured: given }, { timers: world, random: LAST, log });
  assert.equal(warned.length, 0);
  for (const given of [0, 3, 32, 2 ** 40])
    passwordsOf({ bcryptCostConfigured: given }, { timers: world, random: LAST, log });
  assert.deepEqual(
    warned.map((fields) => fields?.["given-cost"]),
    [0, 3, 32, 2 ** 40],
  );
});
