import assert from "node:assert/strict";
import { test } from "node:test";
import { PermissionType } from "@quorate/api";
import { Access, AuthStore } from "@quorate/auth";
import { Lessor } from "@quorate/lease";
import { refusalOfLease, refusalOfPut } from "./key-permissions.ts";

const LEASE = 7n;
const KEYS = ["b", "c", "a"].map((text) => Buffer.from(text));

/** Root, and a user `some` who may write up to `c` and read nothing; a lease that counts how often its keys are looked at. */
function setUp(): { guarded: { auth: AuthStore; lessor: Lessor }; looked: () => number } {
  const auth = new AuthStore({ put() {}, scan() {} });
  auth.begin();
  for (const name of ["root", "some"]) {
    auth.addUser(name, Buffer.from("hash"), undefined);
    auth.addRole(name);
    auth.grantRole(name, name);
  }
  const permission = { permType: PermissionType.WRITE, key: Buffer.from("a"), rangeEnd: Buffer.from("c") };
  assert.equal(auth.grantPermission("some", permission), null);
  assert.equal(auth.enable(), null);
  const clock = { monotonicMs: () => 0, wallMs: () => 0 };
  const lessor = new CountingLessor({ clock, table: { put() {} }, minTtlSeconds: 1 });
  lessor.grant(LEASE, 100);
  return { guarded: { auth, lessor }, looked: () => lessor.looked };
}

class CountingLessor extends Lessor {
  looked = 0;

  override keys(): Uint8Array[] {
    assert.fail("nobody needs a sorted copy to be asked about a lease");
  }

  override everyKey(id: bigint, holds: (buffer: Uint8Array, length: number) => boolean): boolean {
    this.looked++;
    return super.everyKey(id, holds);
  }
}

const caller = (user: string) => ({ user, revision: null });

test("a lease is refused to whoever may not do the same to each of its keys", () => {
  const { guarded } = setUp();
  assert.equal(refusalOfLease(guarded, caller("some"), LEASE, Access.Write), null, "no key, nothing to refuse");
  guarded.lessor.attach(LEASE, KEYS[0]!);
  assert.equal(refusalOfLease(guarded, caller("some"), LEASE, Access.Write), null);
  assert.equal(refusalOfLease(guarded, caller("some"), LEASE, Access.Read), "PermissionDenied");
  for (const key of KEYS) guarded.lessor.attach(LEASE, key);
  assert.equal(refusalOfLease(guarded, caller("some"), LEASE, Access.Write), "PermissionDenied");
  assert.equal(refusalOfLease(guarded, null, LEASE, Access.Write), "UserEmpty");
  assert.equal(refusalOfLease(guarded, { user: "some", revision: 1 }, LEASE, Access.Write), "AuthOldRevision");
  guarded.lessor.detach(LEASE, KEYS[1]!);
  assert.equal(refusalOfLease(guarded, caller("some"), LEASE, Access.Write), null);
});

test("no key of a lease is looked at for an administrator, nor while auth is off", () => {
  const { guarded, looked } = setUp();
  for (const key of KEYS) guarded.lessor.attach(LEASE, key);
  const put = { buffer: KEYS[0]!, keyStart: 0, keyEnd: 1, lease: LEASE, prevKv: false };
  assert.equal(refusalOfPut(guarded, caller("root"), put), null);
  assert.equal(refusalOfLease(guarded, caller("root"), LEASE, Access.Read), null);
  assert.equal(looked(), 0);
  assert.equal(refusalOfPut(guarded, caller("some"), put), "PermissionDenied");
  assert.equal(looked(), 1);
  guarded.auth.disable();
  assert.equal(refusalOfPut(guarded, null, put), null);
  assert.equal(looked(), 1);
});
