import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration, parseDurationMs } from "./duration.ts";

test("Go durations are read as Go reads them", () => {
  const table: [string, number | null][] = [
    ["0", 0],
    ["5s", 5000],
    ["300ms", 300],
    ["1h30m", 5_400_000],
    ["1.5h", 5_400_000],
    [".5s", 500],
    ["-2s", -2000],
    ["+2s", 2000],
    ["100us", 0.1],
    ["100µs", 0.1],
    ["1ns", 1e-6],
    ["", null],
    ["5", null],
    ["s", null],
    ["5 s", null],
    ["1d", null],
    ["9999999999h", null],
  ];
  for (const [text, ms] of table) assert.equal(parseDurationMs(text), ms, text);
});

test("durations are printed as Go prints them", () => {
  const table: [number, string][] = [
    [0, "0s"],
    [7000, "7s"],
    [90_000, "1m30s"],
    [3_600_000, "1h0m0s"],
    [250, "250ms"],
    [1.5, "1.5ms"],
    [0.0015, "1.5µs"],
    [0.000002, "2ns"],
    [-1500, "-1.5s"],
  ];
  for (const [ms, text] of table) assert.equal(formatDuration(ms), text);
});
