/** That no advisory is left without its test. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ADVISORIES, LIBRARY_ADVISORIES, NOT_APPLICABLE } from "./list.ts";

const ROOT = join(import.meta.dirname, "../..");

test("every advisory has a test that is named after it", () => {
  const sources = readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => readFileSync(join(import.meta.dirname, name), "utf8"))
    .join("");
  const tested = new Set([...sources.matchAll(/\badvisory\(\s*"(SA-\d\d)"/g)].map((match) => match[1]!));
  assert.deepEqual([...tested].sort(), Object.keys(ADVISORIES));
});

test("what came to etcd through its libraries has a test in the room whose code it would be", () => {
  for (const [id, [file, mark]] of Object.entries(LIBRARY_ADVISORIES)) {
    assert.match(readFileSync(join(ROOT, file), "utf8"), new RegExp(`covers: [^\\n]*${mark}\\b`), id);
    assert.ok(!Object.hasOwn(NOT_APPLICABLE, id), id);
  }
});
