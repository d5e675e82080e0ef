/**
 * What the store allows against a model short enough to be believed: a role's permissions are lists of keys, written out.
 * All keys of up to three bytes over a small alphabet stand for all keys there are: every end of a permission, and the key
 * right behind a single one, is among them, and so is one behind them all.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PermissionType } from "@quorate/api";
import fc from "fast-check";
import { Access, AuthStore } from "./auth-store.ts";
import { FakeTables } from "./testing/fake-tables.ts";

const NO_BYTES = Buffer.alloc(0);
const BEHIND_ALL = Buffer.from([9]);

const allKeys: readonly Buffer[] = [...keysUpTo(3), BEHIND_ALL];

function keysUpTo(length: number): Buffer[] {
  if (length === 0) return [];
  const shorter = keysUpTo(length - 1);
  const longest = [NO_BYTES, ...shorter].filter((key) => key.length === length - 1);
  return [...shorter, ...longest.flatMap((key) => [0, 1, 2].map((byte) => Buffer.from([...key, byte])))];
}

function opened(tables: FakeTables): AuthStore {
  const store = new AuthStore(tables);
  store.begin();
  return store;
}

interface Range {
  readonly key: Buffer;
  readonly rangeEnd: Buffer;
}

/** The keys of a range, written out. */
function keysOf({ key, rangeEnd }: Range): readonly Buffer[] {
  if (rangeEnd.length === 0) return [key];
  const isOpen = rangeEnd.equals(Buffer.from([0]));
  return allKeys.filter((each) => each.compare(key) >= 0 && (isOpen || each.compare(rangeEnd) < 0));
}

function isAllowed(granted: readonly Range[], asked: Range): boolean {
  const allowed = granted.flatMap(keysOf);
  return keysOf(asked).every((key) => allowed.some((each) => each.equals(key)));
}

/** What is asked of ranges that hold none is grant-tree.ts's, and nothing that can be said shortly. */
function holdsKeys(asked: Range): boolean {
  return keysOf(asked).length > 0;
}

const someKey = fc
  .array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 2 })
  .map((bytes) => Buffer.from(bytes));
const someEnd = fc.oneof(fc.constant(NO_BYTES), fc.constant(Buffer.from([0])), someKey);
const someRange = fc.record({ key: someKey, rangeEnd: someEnd });
const someType = fc.constantFrom(PermissionType.READ, PermissionType.WRITE, PermissionType.READWRITE);
const someStep = fc.oneof(
  { weight: 5, arbitrary: fc.record({ op: fc.constant("grant"), role: fc.nat(1), range: someRange, type: someType }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("revoke"), role: fc.nat(1), range: someRange, type: someType }) },
);

// covers: AU-05, AU-10
test("a request is allowed exactly if every key it names is granted, whatever overlaps, touches or repeats", () => {
  const property = fc.property(
    fc.array(someStep, { maxLength: 8 }),
    fc.array(someRange.filter(holdsKeys), { minLength: 1, maxLength: 6 }),
    (steps, requests) => {
      const tables = new FakeTables();
      const store = opened(tables);
      store.addUser("root", NO_BYTES, undefined);
      store.grantRole("root", "root");
      store.addUser("u", NO_BYTES, undefined);
      for (const role of ["r0", "r1"]) {
        store.addRole(role);
        store.grantRole("u", role);
      }
      assert.equal(store.enable(), null);
      for (const { op, role, range, type } of steps) {
        if (op === "grant") store.grantPermission(`r${role}`, { permType: type, ...range });
        else store.revokePermission(`r${role}`, range.key, range.rangeEnd);
        // What was merged before a change must not outlive it.
        for (const asked of requests) decisionOf(store, Access.Read, asked);
      }
      const granted = ["r0", "r1"].flatMap((role) => store.permissionsOfRole(role)!);
      const reopened = opened(tables);
      for (const access of [Access.Read, Access.Write]) {
        const type = access === Access.Read ? PermissionType.READ : PermissionType.WRITE;
        const ranges = granted
          .filter(({ permType }) => permType === type || permType === PermissionType.READWRITE)
          .map(({ key, rangeEnd }) => ({ key: Buffer.from(key), rangeEnd: Buffer.from(rangeEnd) }));
        for (const asked of requests) {
          const expected = isAllowed(ranges, asked) ? null : "PermissionDenied";
          assert.equal(decisionOf(store, access, asked), expected);
          assert.equal(decisionOf(reopened, access, asked), expected, "the same from what is stored");
        }
      }
    },
  );
  fc.assert(property, { numRuns: 400 });
});

/** Key and range end as they lie in a request: somewhere in a larger buffer, with other bytes around them. */
function decisionOf(store: AuthStore, access: Access, { key, rangeEnd }: Range): string | null {
  const around = Buffer.from([7, 7]);
  const buffer = Buffer.concat([around, key, around, rangeEnd, around]);
  const endStart = 2 + key.length + 2;
  return store.authorise(
    { user: "u", revision: null },
    access,
    buffer,
    2,
    2 + key.length,
    endStart,
    endStart + rangeEnd.length,
  );
}
