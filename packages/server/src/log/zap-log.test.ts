import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "@quorate/world";
import { ZapLog } from "./zap-log.ts";

function logTo(lines: string[], format: "json" | "console" = "json", clock: Partial<Clock> = {}): ZapLog {
  const at = { monotonicMs: () => 0, wallMs: () => Date.UTC(2026, 7, 20, 10, 0, 0, 7) + 0.25, ...clock };
  return new ZapLog({ level: "info", format, clock: at, write: (line) => lines.push(line) });
}

test("a line is one JSON object in zap's order and shape", () => {
  const lines: string[] = [];
  logTo(lines)
    .for("raft/raft.ts", "raft")
    .warn('quoted "text"\n', { id: 2n ** 64n - 1n, "took-ms": 1.5, error: new Error("x"), absent: undefined });
  const line = JSON.parse(lines[0]!);
  assert.deepEqual(Object.keys(line), ["level", "ts", "logger", "caller", "msg", "id", "took-ms", "error"]);
  assert.equal(line.id, "18446744073709551615");
  assert.equal(line.error, "x");
  assert.match(line.ts, /^2026-08-\d\dT\d\d:\d\d:00\.007250(Z|[+-]\d{4})$/);
});

test("lines below the level are not written", () => {
  const lines: string[] = [];
  logTo(lines).debug("x");
  assert.equal(lines.length, 0);
  assert.equal(logTo(lines).isEnabled("debug"), false);
});

// covers: LI-12
test("a field that cannot be rendered does not throw", () => {
  const lines: string[] = [];
  const loop: { self?: unknown } = {};
  loop.self = loop;
  logTo(lines).info("x", { loop });
  assert.match(lines[0]!, /"loop":"\(unprintable\)"/);
});

test("a message said over and over is thinned to the first 100 of a second and every 100th after", () => {
  const lines: string[] = [];
  let now = 0;
  const log = logTo(lines, "json", { monotonicMs: () => now });
  for (let i = 0; i < 350; i++) log.info("again");
  assert.equal(lines.length, 102);
  now = 1000;
  log.info("again");
  assert.equal(lines.length, 103);
});

test("console format separates the same columns with tabs", () => {
  const lines: string[] = [];
  logTo(lines, "console").info("hello", { a: 1 });
  assert.match(lines[0]!, /^[^\t]+\tINFO\tserver\thello\t\{"a":1\}\n$/);
});
