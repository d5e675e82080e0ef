import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Login, NoTokens, SimpleTokens, type SimpleTokensOptions } from "./index.ts";

const TTL_MS = 300_000;

/** Only the monotonic one: what tells the time of day may jump (covers: AU-02). */
class FakeClock {
  nowMs = 1000;
  monotonicMs(): number {
    return this.nowMs;
  }
}

/** Counts upwards, so that a test sees which letters are asked for. */
class CountingRandom {
  readonly bounds: number[] = [];
  below(bound: number): number {
    this.bounds.push(bound);
    return (this.bounds.length - 1) % bound;
  }
}

function setUp(options: Partial<SimpleTokensOptions> = {}): { clock: FakeClock; tokens: SimpleTokens } {
  const clock = new FakeClock();
  const tokens = new SimpleTokens({ clock, random: new CountingRandom(), ttlMs: TTL_MS, appliedIndex: 0, ...options });
  return { clock, tokens };
}

function logIn(tokens: SimpleTokens, login: Partial<Login> = {}): string {
  const whole = { user: "alice", nonce: tokens.nonce(), revision: 5, index: 41, ...login };
  tokens.loggedIn(whole);
  tokens.applied(whole.index + 1);
  const heard: (string | null)[] = [];
  tokens.issue(whole, (token) => heard.push(token));
  assert.equal(heard.length, 1);
  assert.notEqual(heard[0], null);
  return heard[0]!;
}

/** What resolve says, in the order it says so; empty while it has said nothing. */
function resolving(tokens: SimpleTokens, token: string): (string | null)[] {
  const heard: (string | null)[] = [];
  tokens.resolve(token, (identity) => {
    heard.push(identity === null || identity === "busy" ? identity : identity.user);
  });
  return heard;
}

test("a nonce is 16 letters, each drawn from the 52 of both cases", () => {
  const random = new CountingRandom();
  const { tokens } = setUp({ random });
  assert.equal(tokens.nonce(), "abcdefghijklmnop");
  assert.equal(tokens.nonce(), "qrstuvwxyzABCDEF");
  assert.deepEqual(new Set(random.bounds), new Set([52]));
});

test("a token is the nonce and the index, and the same text on every member (covers: AU-02)", () => {
  const login = { user: "alice", nonce: "pKkUBnAhcyoGDQGS", revision: 5, index: 42 };
  const members = [setUp().tokens, setUp().tokens, setUp().tokens];
  for (const tokens of members) assert.equal(logIn(tokens, login), "pKkUBnAhcyoGDQGS.42");
  for (const tokens of members)
    assert.deepEqual(tokens.known("pKkUBnAhcyoGDQGS.42"), { user: "alice", revision: null });
});

test("a forged token is nobody's", () => {
  const { tokens } = setUp();
  const token = logIn(tokens);
  const forged = [
    "",
    ".",
    ".41",
    "41",
    token.slice(0, -1),
    `${token} `,
    `${token}.41`,
    `0${token}`,
    token.toUpperCase(),
    token.replace(".41", ".040"),
    token.replace(".41", ".0041"),
    token.replace(".41", ".-1"),
    token.replace(".41", ".4e1"),
    token.replace(".41", ".99999999999999999999999999"),
    token.replace(".41", ".9007199254740993"),
    `${"x".repeat(100_000)}.41`,
    "__proto__",
    "constructor",
  ];
  for (const each of forged) {
    assert.equal(tokens.known(each), undefined, each.slice(0, 40));
    assert.deepEqual(resolving(tokens, each), [null], each.slice(0, 40));
  }
});

test("a token that is not used for its TTL is nobody's, before and after it has been swept", () => {
  const { clock, tokens } = setUp();
  const token = logIn(tokens);
  clock.nowMs += TTL_MS + 1;
  assert.equal(tokens.known(token), undefined);
  assert.deepEqual(resolving(tokens, token), [null]);
  tokens.expire();
  assert.equal(tokens.count, 0);
  assert.deepEqual(resolving(tokens, token), [null]);
});

test("every use of a token begins its TTL anew", () => {
  const { clock, tokens } = setUp();
  const token = logIn(tokens);
  for (let i = 0; i < 10; i++) {
    clock.nowMs += TTL_MS - 1;
    tokens.expire();
    assert.equal(tokens.known(token)?.user, "alice");
  }
  clock.nowMs += TTL_MS;
  assert.deepEqual(resolving(tokens, token), ["alice"]);
  clock.nowMs += TTL_MS;
  assert.equal(tokens.known(token)?.user, "alice");
});

test("a token in use is looked at once a second: its TTL begins when the second ends in which it was used", () => {
  const { clock, tokens } = setUp();
  const token = logIn(tokens);
  assert.equal(tokens.known(token)?.user, "alice");
  clock.nowMs += 1000;
  tokens.expire();
  clock.nowMs += TTL_MS;
  tokens.expire();
  assert.equal(tokens.known(token)?.user, "alice");
  clock.nowMs += 1000;
  tokens.expire();
  clock.nowMs += TTL_MS + 1;
  assert.equal(tokens.known(token), undefined);
  tokens.expire();
  assert.equal(tokens.count, 0);
});

test("tokens of a dropped user are nobody's; those of others live on (covers: AU-02)", () => {
  const { tokens } = setUp();
  const alice = [logIn(tokens, { index: 1 }), logIn(tokens, { index: 2 })];
  const bob = logIn(tokens, { user: "bob", index: 3 });
  tokens.dropUser("alice");
  for (const token of alice) {
    assert.equal(tokens.known(token), undefined);
    assert.deepEqual(resolving(tokens, token), [null]);
  }
  assert.equal(tokens.known(bob)?.user, "bob");
  tokens.dropAll();
  assert.equal(tokens.known(bob), undefined);
});

test("a log-in without letters, of a member that signs its tokens, makes no token anybody could guess", () => {
  const { tokens } = setUp();
  tokens.loggedIn({ user: "root", nonce: "", revision: 5, index: 41 });
  assert.equal(tokens.known(".41"), undefined);
  const heard: (string | null)[] = [];
  tokens.issue({ user: "root", nonce: "", revision: 5, index: 41 }, (token) => heard.push(token));
  assert.deepEqual(heard, [null]);
});

test("a token that is ahead of this member waits until the log-in, one entry after its index, is applied", () => {
  const { tokens } = setUp({ appliedIndex: 40 });
  const token = "pKkUBnAhcyoGDQGS.42";
  const heard = resolving(tokens, token);
  tokens.applied(41);
  tokens.applied(42);
  assert.deepEqual(heard, []);
  tokens.loggedIn({ user: "alice", nonce: "pKkUBnAhcyoGDQGS", revision: 5, index: 42 });
  tokens.applied(43);
  assert.deepEqual(heard, ["alice"]);
  tokens.applied(44);
  assert.equal(heard.length, 1);
});

test("a token that turns out to be forged when its index is applied is nobody's", () => {
  const { tokens } = setUp({ appliedIndex: 40 });
  const heard = resolving(tokens, "AAAAAAAAAAAAAAAA.42");
  tokens.applied(100);
  assert.deepEqual(heard, [null]);
});

test("whoever waits for an index is told after five seconds, in the order they came", () => {
  const { clock, tokens } = setUp({ appliedIndex: 40 });
  const first = resolving(tokens, "AAAAAAAAAAAAAAAA.1000");
  clock.nowMs += 3000;
  const second = resolving(tokens, "BBBBBBBBBBBBBBBB.50");
  clock.nowMs += 2000;
  tokens.expire();
  assert.deepEqual([first, second], [[null], []]);
  tokens.applied(51);
  assert.deepEqual(second, [null]);
});

test("nobody waits for an index that could not be reached in time", () => {
  const { tokens } = setUp({ appliedIndex: 40 });
  assert.deepEqual(resolving(tokens, "AAAAAAAAAAAAAAAA.2000041"), [null]);
  assert.deepEqual(resolving(tokens, "AAAAAAAAAAAAAAAA.9999999999999999"), [null]);
  assert.deepEqual(resolving(tokens, "AAAAAAAAAAAAAAAA.2000039"), []);
});

test("1,024 wait, and of the next nothing can be said, unless it is waited for in no case", () => {
  const { tokens } = setUp({ appliedIndex: 40 });
  const known = logIn(tokens, { index: 40 });
  for (let i = 0; i < 1024; i++) assert.deepEqual(resolving(tokens, "AAAAAAAAAAAAAAAA.50"), []);
  assert.deepEqual(resolving(tokens, "AAAAAAAAAAAAAAAA.50"), ["busy"]);
  assert.deepEqual(resolving(tokens, "AAAAAAAAAAAAAAAA.10"), [null]);
  assert.deepEqual(resolving(tokens, known), ["alice"]);
  tokens.applied(51);
  assert.deepEqual(resolving(tokens, "AAAAAAAAAAAAAAAA.60"), []);
});

test("when all places are taken, those unused the longest give theirs up", () => {
  const { clock, tokens } = setUp({ tokensMax: 160 });
  const all: string[] = [];
  for (let i = 0; i < 160; i++) {
    clock.nowMs += 1;
    all.push(logIn(tokens, { index: i }));
  }
  clock.nowMs += 1;
  tokens.known(all[0]!);
  const newest = logIn(tokens, { index: 160 });
  assert.equal(tokens.count, 151);
  assert.equal(tokens.known(newest)?.user, "alice");
  assert.equal(tokens.known(all[0]!)?.user, "alice", "was used");
  for (let i = 1; i <= 10; i++) assert.equal(tokens.known(all[i]!), undefined);
  assert.equal(tokens.known(all[11]!)?.user, "alice");
});

test("a user who logs in over and over pushes out what he has not used himself, and nobody else's", () => {
  const { clock, tokens } = setUp({ tokensMax: 160, tokensPerUserMax: 32 });
  const idle = Array.from({ length: 5 }, (_, index) => logIn(tokens, { user: "bob", index }));
  const all: string[] = [];
  for (let i = 0; i < 1000; i++) {
    clock.nowMs += 100;
    if (i % 10 === 0) tokens.expire();
    if (i > 0) assert.equal(tokens.known(all[0]!)?.user, "alice", "is in use");
    all.push(logIn(tokens, { index: 100 + i }));
    assert.ok(tokens.count <= 5 + 32);
    assert.equal(tokens.known(all.at(-1)!)?.user, "alice");
  }
  for (const token of idle) assert.equal(tokens.known(token)?.user, "bob");
});

test("what has ended, in whichever way, takes no place of its user", () => {
  const ends: ((clock: FakeClock, tokens: SimpleTokens) => void)[] = [
    (_, tokens) => tokens.dropUser("alice"),
    (_, tokens) => tokens.dropAll(),
    (clock, tokens) => {
      tokens.expire();
      clock.nowMs += TTL_MS + 1;
      tokens.expire();
    },
  ];
  const { clock, tokens } = setUp({ tokensPerUserMax: 16 });
  for (const end of ends) {
    const all = Array.from({ length: 16 }, (_, index) => logIn(tokens, { index }));
    for (const token of all) assert.equal(tokens.known(token)?.user, "alice");
    end(clock, tokens);
    assert.equal(tokens.count, 0);
  }
});

test("for any history, a token stands for its user exactly as long as a plain list of log-ins says", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("login" as const), user: fc.constantFrom("a", "b", "c") }),
    fc.record({ kind: fc.constant("use" as const), which: fc.nat(20) }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: TTL_MS }) }),
    fc.record({ kind: fc.constant("drop" as const), user: fc.constantFrom("a", "b", "c") }),
    fc.record({ kind: fc.constant("dropAll" as const) }),
    fc.record({ kind: fc.constant("expire" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { clock, tokens } = setUp();
      let list: { token: string; user: string; isInUse: boolean; usedAtMs: number }[] = [];
      const issued: string[] = [];
      const whose = (token: string): string | undefined =>
        list.find((each) => each.token === token && (each.isInUse || clock.nowMs - each.usedAtMs <= TTL_MS))?.user;
      for (const each of steps) {
        if (each.kind === "login") {
          const token = logIn(tokens, { user: each.user, index: issued.length });
          issued.push(token);
          list.push({ token, user: each.user, isInUse: false, usedAtMs: clock.nowMs });
        } else if (each.kind === "use" && issued.length > 0) {
          const token = issued[each.which % issued.length]!;
          const expected = whose(token);
          assert.equal(tokens.known(token)?.user, expected);
          for (const entry of list) if (entry.token === token && expected !== undefined) entry.isInUse = true;
        } else if (each.kind === "wait") clock.nowMs += each.ms;
        else if (each.kind === "drop") {
          tokens.dropUser(each.user);
          list = list.filter((entry) => entry.user !== each.user);
        } else if (each.kind === "dropAll") {
          tokens.dropAll();
          list = [];
        } else if (each.kind === "expire") {
          tokens.expire();
          for (const entry of list.filter(({ isInUse }) => isInUse)) {
            entry.isInUse = false;
            entry.usedAtMs = clock.nowMs;
          }
        }
      }
      for (const token of issued) assert.deepEqual(resolving(tokens, token), [whose(token) ?? null]);
    }),
  );
});

test("with no kind of token nothing is issued and every token is invalid", () => {
  const tokens = new NoTokens();
  const heard: unknown[] = [];
  tokens.loggedIn();
  tokens.issue({ user: "root", nonce: tokens.nonce(), revision: 1, index: 1 }, (token) => heard.push(token));
  tokens.resolve("root.1", (identity) => heard.push(identity));
  assert.deepEqual(heard, [null, null]);
  assert.equal(tokens.nonce(), "");
  assert.equal(tokens.known(), undefined);
});
