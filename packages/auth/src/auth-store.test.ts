import assert from "node:assert/strict";
import { test } from "node:test";
import { PermissionType } from "@quorate/api";
import { Access, AuthStore, type Permission } from "./auth-store.ts";
import { FakeTables } from "./testing/fake-tables.ts";

const HASH = Buffer.from("$2a$10$hash");
const NOTHING = Buffer.alloc(0);

function permission(key: string, rangeEnd = "", permType: number = PermissionType.READWRITE): Permission {
  return { permType, key: Buffer.from(key), rangeEnd: Buffer.from(rangeEnd) };
}

interface Bench {
  readonly tables: FakeTables;
  readonly store: AuthStore;
}

function opened(tables: FakeTables): AuthStore {
  const store = new AuthStore(tables);
  store.begin();
  return store;
}

/** With root, and auth on. */
function enabled(): Bench {
  const tables = new FakeTables();
  const store = opened(tables);
  assert.equal(store.addUser("root", HASH, { noPassword: false }), null);
  assert.equal(store.grantRole("root", "root"), null);
  assert.equal(store.enable(), null);
  return { tables, store };
}

function read(
  store: AuthStore,
  user: string | null,
  key: string,
  rangeEnd = "",
  revision: number | null = null,
): unknown {
  const buffer = Buffer.from(key + rangeEnd);
  const caller = user === null ? null : { user, revision };
  return store.authorise(caller, Access.Read, buffer, 0, key.length, key.length, buffer.length);
}

test("rows are etcd's, byte for byte", () => {
  const { tables, store } = enabled();
  store.addUser("nobody", null, { noPassword: true });
  store.addRole("r");
  store.grantPermission("r", permission("k", "l", PermissionType.WRITE));
  store.grantPermission("r", permission("a", "", PermissionType.READ));
  store.grantRole("nobody", "r");
  assert.deepEqual(tables.hex, {
    "auth/authEnabled": "01",
    "auth/authRevision": "0000000000000008",
    // Permission READ is the zero of its enum and left out.
    "authRoles/r": `0a0172${"1203120161"}${"1208080112016b1a016c"}`,
    "authUsers/nobody": `0a06${hex("nobody")}1a01${hex("r")}22020801`,
    "authUsers/root": `0a04${hex("root")}120b${hex("$2a$10$hash")}1a04${hex("root")}2200`,
  });
});

function hex(text: string): string {
  return Buffer.from(text).toString("hex");
}

// covers: AP-11
test("a store over the rows of another is the same store", () => {
  const { tables, store } = enabled();
  store.addUser("u", HASH, undefined);
  store.addRole("r");
  store.grantPermission("r", permission("a", "c"));
  store.grantRole("u", "r");
  const again = opened(tables);
  assert.equal(again.isEnabled, true);
  assert.equal(again.revision, store.revision);
  assert.deepEqual(again.users(), ["root", "u"]);
  assert.deepEqual(again.rolesOf("u"), ["r"]);
  assert.deepEqual(again.passwordOf("u"), { hash: HASH, revision: store.revision });
  assert.equal(read(again, "u", "b"), null);
  assert.equal(read(again, "u", "c"), "PermissionDenied");
});

test("the revision begins at 1 and moves with every change, but not with enabling, no-ops and refusals", () => {
  const tables = new FakeTables();
  const store = opened(tables);
  assert.equal(store.revision, 1);
  assert.deepEqual(tables.hex, { "auth/authRevision": "0000000000000001" });
  const steps: [number, () => unknown][] = [
    [2, () => store.addUser("root", HASH, undefined)],
    [2, () => store.addUser("root", HASH, undefined)],
    [2, () => store.enable()],
    [3, () => store.grantRole("root", "root")],
    [3, () => store.grantRole("root", "root")],
    [3, () => store.enable()],
    [3, () => store.enable()],
    [4, () => store.changePassword("root", HASH)],
    [5, () => store.addRole("r")],
    [6, () => store.grantPermission("r", permission("a"))],
    [7, () => store.grantPermission("r", permission("a"))],
    [8, () => store.revokePermission("r", Buffer.from("a"), NOTHING)],
    [8, () => store.revokePermission("r", Buffer.from("a"), NOTHING)],
    [9, () => store.grantRole("root", "r")],
    [10, () => store.revokeRole("root", "r")],
    [11, () => store.deleteRole("r")],
    [12, () => store.addUser("u", HASH, undefined)],
    [13, () => store.deleteUser("u")],
    [14, () => store.disable()],
    [14, () => store.disable()],
  ];
  for (const [i, [revision, step]] of steps.entries()) {
    step();
    assert.equal(store.revision, revision, `after step ${i}`);
    assert.equal(opened(tables).revision, revision, `stored after step ${i}`);
  }
});

// covers: AU-06
test("what is refused, and of two reasons which", () => {
  const { store } = enabled();
  store.addUser("u", HASH, undefined);
  store.addUser("cn", null, { noPassword: true });
  store.addRole("r");
  store.grantPermission("r", permission("a", "c"));
  const refusals: [unknown, string | null][] = [
    [store.addUser("", null, undefined), "UserEmpty"],
    [store.addUser("u", null, undefined), "UserAlreadyExists"],
    [store.addUser("v", null, undefined), "NoPasswordUser"],
    [store.deleteUser("root"), "InvalidAuthManagement"],
    [store.deleteUser("nobody"), "UserNotFound"],
    [store.changePassword("nobody", null), "UserNotFound"],
    [store.changePassword("u", null), "NoPasswordUser"],
    [store.changePassword("cn", null), null],
    [store.grantRole("nobody", "none"), "UserNotFound"],
    [store.grantRole("u", "none"), "RoleNotFound"],
    [store.revokeRole("root", "root"), "InvalidAuthManagement"],
    [store.revokeRole("nobody", "r"), "UserNotFound"],
    [store.revokeRole("u", "none"), "RoleNotGranted"],
    [store.addRole(""), "RoleEmpty"],
    [store.addRole("r"), "RoleAlreadyExists"],
    [store.deleteRole("root"), "InvalidAuthManagement"],
    [store.deleteRole("none"), "RoleNotFound"],
    [store.grantPermission("none", undefined), "PermissionNotGiven"],
    [store.grantPermission("none", permission("")), "InvalidAuthManagement"],
    [store.grantPermission("none", permission("", "\0")), "InvalidAuthManagement"],
    [store.grantPermission("r", permission("b", "a")), "InvalidAuthManagement"],
    [store.grantPermission("r", permission("b", "b")), "InvalidAuthManagement"],
    [store.grantPermission("none", permission("b", "\0")), "RoleNotFound"],
    [store.revokePermission("none", NOTHING, NOTHING), "RoleNotFound"],
    [store.revokePermission("r", Buffer.from("a"), NOTHING), "PermissionNotGranted"],
  ];
  for (const [i, [actual, expected]] of refusals.entries()) assert.equal(actual, expected, `refusal ${i}`);
});

test("against an empty hash no password is checked: nobody logs in", () => {
  const { store } = enabled();
  assert.equal(store.addUser("u", NOTHING, undefined), null);
  assert.equal(store.passwordOf("u"), "AuthFailed");
  assert.equal(store.changePassword("u", HASH), null);
  assert.notEqual(store.passwordOf("u"), "AuthFailed");
  assert.equal(store.changePassword("u", NOTHING), null);
  assert.equal(store.passwordOf("u"), "AuthFailed");
});

test("a name of any length that is in the log is taken, for members of etcd's take it", () => {
  const { store, tables } = enabled();
  const long = "n".repeat(5000);
  assert.equal(store.addUser(long, HASH, undefined), null);
  assert.equal(store.addRole(long), null);
  assert.equal(store.grantRole(long, long), null);
  const again = opened(tables);
  assert.deepEqual(again.rolesOf(long), [long]);
  assert.equal(again.deleteRole(long), null);
  assert.equal(again.deleteUser(long), null);
  assert.equal(opened(tables).rolesOf(long), null);
});

test("auth cannot be enabled without root, nor while root is no administrator", () => {
  const store = opened(new FakeTables());
  assert.equal(store.enable(), "RootUserNotExist");
  store.addUser("root", HASH, undefined);
  assert.equal(store.enable(), "RootRoleNotExist");
  store.grantRole("root", "root");
  assert.equal(store.enable(), null);
  assert.equal(store.disable(), true);
  assert.equal(store.deleteUser("root"), null, "while auth is off root is a user like others");
});

test("while auth is off everything is allowed; while it is on, in this order: a name, its revision, its permissions", () => {
  const { store } = enabled();
  store.addUser("u", HASH, undefined);
  const { revision } = store;
  assert.equal(read(store, null, "a"), "UserEmpty");
  assert.equal(read(store, "u", "a", "", 0), "UserEmpty");
  // covers: AU-01
  assert.equal(read(store, "root", "a", "", revision - 1), "AuthOldRevision");
  assert.equal(read(store, "nobody", "a"), "PermissionDenied");
  assert.equal(read(store, "u", "a", "", revision), "PermissionDenied");
  assert.equal(read(store, "root", "a", "\0", revision), null);
  store.disable();
  assert.equal(read(store, null, "a"), null);
  assert.equal(store.authoriseAdmin(null), null);
});

test("the role root makes an administrator, and need not exist to be held", () => {
  const { store } = enabled();
  store.addUser("u", HASH, undefined);
  assert.equal(store.authoriseAdmin(null), "UserEmpty");
  assert.equal(store.authoriseAdmin({ user: "", revision: 1 }), "UserEmpty");
  assert.equal(store.authoriseAdmin({ user: "nobody", revision: null }), "UserNotFound");
  assert.equal(store.authoriseAdmin({ user: "u", revision: null }), "PermissionDenied");
  assert.equal(store.authoriseAdmin({ user: "root", revision: 1 }), null, "of whatever revision");
  store.grantRole("u", "root");
  assert.equal(store.authoriseAdmin({ user: "u", revision: null }), null);
  assert.deepEqual(store.roles(), []);
});

test("a user may see itself, and the roles it holds", () => {
  const { store } = enabled();
  store.addUser("u", HASH, undefined);
  store.addRole("r");
  store.addRole("s");
  store.grantRole("u", "r");
  const u = { user: "u", revision: null };
  assert.equal(store.authoriseUserGet(u, "u"), null);
  assert.equal(store.authoriseUserGet(u, "root"), "PermissionDenied");
  assert.equal(store.authoriseUserGet(null, "root"), "UserEmpty");
  assert.equal(store.authoriseRoleGet(u, "r"), null);
  assert.equal(store.authoriseRoleGet(u, "s"), "PermissionDenied");
  assert.equal(store.authoriseRoleGet(null, "r"), "UserEmpty");
  assert.equal(store.authoriseRoleGet({ user: "root", revision: null }, "s"), null);
});

test("a role that is deleted is taken from everybody; one that comes back under its name is another", () => {
  const { store } = enabled();
  store.addUser("u", HASH, undefined);
  store.addRole("r");
  store.grantPermission("r", permission("a"));
  store.grantRole("u", "r");
  assert.equal(read(store, "u", "a"), null);
  store.deleteRole("r");
  assert.equal(read(store, "u", "a"), "PermissionDenied");
  store.addRole("r");
  store.grantPermission("r", permission("a"));
  assert.equal(read(store, "u", "a"), "PermissionDenied");
});

test("a permission on the same range replaces the first of its key, and is a second one behind another", () => {
  const { store } = enabled();
  store.addRole("r");
  store.grantPermission("r", permission("b"));
  store.grantPermission("r", permission("a", "c", PermissionType.READ));
  store.grantPermission("r", permission("a", "b", PermissionType.READ));
  store.grantPermission("r", permission("a", "c", PermissionType.WRITE));
  // Not the first of its key any more: etcd does not find it.
  store.grantPermission("r", permission("a", "b", PermissionType.WRITE));
  const shown = store.permissionsOfRole("r")!.map((each) => `${each.key}-${each.rangeEnd} ${each.permType}`);
  assert.deepEqual(shown, ["a-c 1", "a-b 0", "a-b 1", "b- 2"]);
  assert.equal(store.revokePermission("r", Buffer.from("a"), Buffer.from("b")), null);
  assert.equal(store.permissionsOfRole("r")!.length, 2, "every one with that range goes");
});

test("the role root shows every key, whatever it was granted", () => {
  const { store } = enabled();
  assert.equal(store.permissionsOfRole("root"), null);
  store.addRole("root");
  store.grantPermission("root", permission("a"));
  const [shown] = store.permissionsOfRole("root")!;
  assert.deepEqual([shown!.key.length, ...shown!.rangeEnd, shown!.permType], [0, 0, PermissionType.READWRITE]);
});

test("names and roles are ordered by their bytes", () => {
  const { store } = enabled();
  // UTF-16 would order the last two the other way round.
  const names = ["a", "b", "z", "\uffee", "\u{1f600}"];
  for (const name of [...names].reverse()) {
    store.addUser(name, HASH, undefined);
    store.addRole(name);
    store.grantRole("a", name);
  }
  for (const name of names) store.grantRole("a", name);
  assert.deepEqual(store.rolesOf("a"), names);
  assert.deepEqual(store.roles(), names);
  assert.deepEqual(store.users(), ["a", "b", "root", "z", "\uffee", "\u{1f600}"]);
});

test("whose password may be checked at all", () => {
  const { store } = enabled();
  store.addUser("cn", null, { noPassword: true });
  assert.equal(store.passwordOf("nobody"), "AuthFailed");
  // covers: AU-08
  assert.equal(store.passwordOf("cn"), "NoPasswordUser");
  assert.equal(store.checkLogin("cn"), "AuthFailed");
  assert.equal(store.checkLogin("root"), null);
  store.disable();
  assert.equal(store.passwordOf("root"), "AuthNotEnabled");
  assert.equal(store.checkLogin("root"), "AuthNotEnabled");
});
