import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { isEmptyForBcrypt, SEEN_BYTES, seenByBcrypt } from "./seen-by-bcrypt.ts";

test("what bcrypt sees of a password is kept, however long its characters are, and not much more", () => {
  for (const character of ["a", "é", "漢", "😀", "a😀"]) {
    const password = character.repeat(100_000);
    const seen = seenByBcrypt(password);
    assert.ok(seen.length <= SEEN_BYTES + 1);
    const start = (text: string): string => Buffer.from(text).subarray(0, SEEN_BYTES).toString("hex");
    assert.equal(start(seen), start(password), character);
  }
  assert.equal(seenByBcrypt("short"), "short");
});

test("of a huge password nothing stays alive with what is kept of it", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const usedBytes = (): number => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const before = usedBytes();
  const kept = Array.from({ length: 32 }, () => seenByBcrypt(Buffer.alloc(1024 * 1024, "x").toString()));
  const grownBytes = usedBytes() - before;
  assert.ok(grownBytes < 8 * 1024 * 1024, `${grownBytes} bytes for ${kept.length} passwords`);
});

// covers: SA-08
test("a password of NULs alone, as far as bcrypt looks, is the empty one", () => {
  for (const password of ["", "\0", "\0".repeat(71), "\0".repeat(72), `${"\0".repeat(72)}x`, "\0".repeat(1000)]) {
    assert.equal(isEmptyForBcrypt(password), true);
  }
  for (const password of ["x", "\0x", `${"\0".repeat(71)}x`, "x\0"]) assert.equal(isEmptyForBcrypt(password), false);
});
