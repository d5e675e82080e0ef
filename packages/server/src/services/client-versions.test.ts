import assert from "node:assert/strict";
import { test } from "node:test";
import { Counter } from "../metrics/exposition.ts";
import { FakeCall } from "../testing/fake-call.ts";
import { type CallType, ClientVersions } from "./client-versions.ts";

class Counted {
  readonly series = new Map<string, Counter>();
  readonly versions: ClientVersions = new ClientVersions((type, version) => {
    const name = `${type} ${version}`;
    assert.ok(!this.series.has(name), `the series of ${name} is made once`);
    const counter = new Counter();
    this.series.set(name, counter);
    return counter;
  });

  call(type: CallType, version?: string): boolean {
    return this.versions.admits(
      new FakeCall("/a/B", version === undefined ? {} : { "client-api-version": version }),
      type,
    );
  }

  get values(): Record<string, number> {
    return Object.fromEntries([...this.series].map(([name, { value }]) => [name, value]));
  }
}

test("calls are counted by type and by the version their client tells, unknown if it tells none", () => {
  const counted = new Counted();
  for (const version of ["3.7.1", "3.7.1", "3.6.0", "", undefined, undefined])
    assert.ok(counted.call("unary", version));
  assert.ok(counted.call("stream", "3.7.1"));
  assert.deepEqual(counted.values, {
    "unary 3.7.1": 2,
    "unary 3.6.0": 1,
    "unary ": 1,
    "unary unknown": 2,
    "stream 3.7.1": 1,
  });
});

test("a version is UTF-8: what is not, is refused and counted nowhere", () => {
  const counted = new Counted();
  const wire = (text: string): string => Buffer.from(text).toString("latin1");
  assert.ok(counted.call("unary", wire("drei·sieben")));
  assert.ok(!counted.call("unary", "3.7\xff"));
  assert.ok(!counted.call("unary", "3.7\xc3"));
  assert.deepEqual(counted.values, { "unary drei·sieben": 1 });
});

test("versions beyond the limit, and one that is too long, are counted together", () => {
  const counted = new Counted();
  for (let i = 0; i < 1000; i++) assert.ok(counted.call("unary", `1.${i}`));
  assert.ok(counted.call("unary", "9".repeat(1000)));
  assert.equal(counted.series.size, 65);
  assert.equal(counted.values["unary other"], 1000 - 64 + 1);
  counted.call("unary", "1.0");
  assert.equal(counted.values["unary 1.0"], 2);
  assert.ok(!counted.call("unary", "\xff"), "also then");
});
