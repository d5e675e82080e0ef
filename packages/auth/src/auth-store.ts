/**
 * Who there is and what each may do: users, roles with their permissions, whether auth is on, and the auth revision, which
 * counts the changes. Replicated state: the applier changes it as the log says, services ask it about every request.
 *
 *   log ─▶ addUser, grantRole, … ─▶ users, roles ─┬─▶ tables
 *                                                 └─▶ merged permissions of a user (built when next asked for)
 *   request ─▶ authorise(caller, access, keys) ─▶ null, or what it is refused for
 *
 * Invariants:
 *  - a change either happens whole and moves the revision by one, or changes nothing; enabling moves nothing (etcd's way);
 *  - checks come in etcd's order, so that of two reasons to refuse the same one is told;
 *  - who asks sees the permissions of this moment: what is merged carries the generation it was merged at (AU-10);
 *  - {@link AuthStore.authorise} is the only place that says whether a key may be read or written.
 */
import { type ErrorKind, PermissionType } from "@quorate/api";
import { Role, User, type UserAddOptions } from "@quorate/api/messages";
import {
  type AuthTables,
  decodeEnabled,
  decodeRevision,
  decodeRole,
  decodeUser,
  ENABLED_KEY,
  encodeEnabled,
  encodeRevision,
  REVISION_KEY,
} from "./auth-tables.ts";
import { Intervals, isGrantable } from "./intervals.ts";
import { compareNames, isSameBytes } from "./key-order.ts";
import { sortAfterGrant } from "./permission-order.ts";
import type { Identity } from "./tokens.ts";

/** The user whom auth cannot be enabled without, and the role that makes an administrator. */
export const ROOT = "root";

export const Access = { Read: 0, Write: 1 } as const;
export type Access = (typeof Access)[keyof typeof Access];

/** What a role allows on a range of keys. */
export interface Permission {
  /** A number of PermissionType; one that nobody knows allows nothing. */
  readonly permType: number;
  readonly key: Uint8Array;
  /** Empty: the one key. One zero byte: every key from `key` on. */
  readonly rangeEnd: Uint8Array;
}

/** What a password has to be checked against. */
export interface StoredPassword {
  /** bcrypt's text, the store's own; not empty. */
  readonly hash: Uint8Array;
  /** The auth revision this is of. */
  readonly revision: number;
}

interface UserEntry {
  readonly name: string;
  readonly nameBytes: Uint8Array;
  readonly password: Uint8Array;
  /** By bytes. */
  readonly roles: readonly string[];
  /** undefined: made by an etcd too old to know of options. */
  readonly options: UserAddOptions | undefined;
  merged: MergedPermissions | null;
}

interface RoleEntry {
  readonly name: string;
  /** In etcd's order, see permission-order.ts. */
  readonly permissions: readonly Permission[];
}

/** All that a user's roles come to. */
interface MergedPermissions {
  readonly generation: number;
  readonly isAdmin: boolean;
  readonly read: Intervals;
  readonly write: Intervals;
}

const NO_BYTES = new Uint8Array(0);
const FIRST_REVISION = 1;
/** What the role root is shown with, whatever it was granted. */
const ALL_KEYS: Permission = {
  permType: PermissionType.READWRITE,
  key: NO_BYTES,
  rangeEnd: Uint8Array.of(0),
};

export class AuthStore {
  readonly #tables: AuthTables;
  readonly #users = new Map<string, UserEntry>();
  readonly #roles = new Map<string, RoleEntry>();
  #isEnabled = false;
  #revision = 0;
  /** Of users and roles, in memory: what was merged at another one is merged anew. */
  #generation = 0;
  /** Whom {@link authorise} was asked about last and what he may: what one client asks comes in a row. */
  #lastUser = "";
  #lastPermissions: MergedPermissions | null = null;

  /** Over what the tables hold. Throws AuthRecordCorruptError. */
  constructor(tables: AuthTables) {
    this.#tables = tables;
    tables.scan("auth", (key, value) => {
      if (isSameBytes(key, ENABLED_KEY)) this.#isEnabled = decodeEnabled(value);
      else if (isSameBytes(key, REVISION_KEY)) this.#revision = decodeRevision(value);
    });
    tables.scan("authUsers", (key, value) => {
      const { name, password, roles, options } = decodeUser(key, value);
      const user = userEntry(Buffer.from(name).toString(), password, roles, options);
      this.#users.set(user.name, user);
    });
    tables.scan("authRoles", (key, value) => {
      const { name, keyPermission } = decodeRole(key, value);
      const role = { name: Buffer.from(name).toString(), permissions: keyPermission };
      this.#roles.set(role.name, role);
    });
  }

  /**
   * Begins counting where nobody has: writes the first revision, as etcd's first start does, for a member of etcd's that got
   * these tables without one would count from 0. To be called when tables may be written.
   */
  begin(): void {
    if (this.#revision !== 0) return;
    this.#revision = FIRST_REVISION;
    this.#tables.put("auth", REVISION_KEY, encodeRevision(FIRST_REVISION));
  }

  // --- what is asked on every request

  /** Hot: every request asks. */
  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  get revision(): number {
    return this.#revision;
  }

  /**
   * Whether the caller may read or write the key buffer[keyStart, keyEnd), or every key of the range up to
   * buffer[rangeEndStart, rangeEndEnd), as received: an empty range end is the one key, one zero byte means every key from
   * there on. null: yes. `caller` null: nobody. Hot: allocates nothing but what a change has made stale.
   */
  authorise(
    caller: Identity | null,
    access: Access,
    buffer: Uint8Array,
    keyStart: number,
    keyEnd: number,
    rangeEndStart: number,
    rangeEndEnd: number,
  ): ErrorKind | null {
    if (!this.#isEnabled) return null;
    if (caller === null || caller.revision === 0) return "UserEmpty";
    if (caller.revision !== null && caller.revision < this.#revision) return "AuthOldRevision";
    let permissions = this.#lastPermissions;
    if (permissions === null || caller.user !== this.#lastUser || permissions.generation !== this.#generation) {
      const user = this.#users.get(caller.user);
      if (user === undefined) return "PermissionDenied";
      permissions = this.#permissionsOf(user);
      this.#lastPermissions = permissions;
      this.#lastUser = caller.user;
    }
    if (permissions.isAdmin) return null;
    const intervals = access === Access.Read ? permissions.read : permissions.write;
    return intervals.covers(buffer, keyStart, keyEnd, rangeEndStart, rangeEndEnd) ? null : "PermissionDenied";
  }

  /** Whether the caller may do what only administrators may. Does not look at the revision, as etcd does not. */
  authoriseAdmin(caller: Identity | null): ErrorKind | null {
    if (!this.#isEnabled) return null;
    if (caller === null || caller.user === "") return "UserEmpty";
    const user = this.#users.get(caller.user);
    if (user === undefined) return "UserNotFound";
    return this.#permissionsOf(user).isAdmin ? null : "PermissionDenied";
  }

  /** Whether the caller may see a user: its own, or as administrator any. */
  authoriseUserGet(caller: Identity | null, name: string): ErrorKind | null {
    const refused = this.authoriseAdmin(caller);
    return refused !== null && name === (caller?.user ?? "") ? null : refused;
  }

  /** Whether the caller may see a role: one it holds, or as administrator any. */
  authoriseRoleGet(caller: Identity | null, role: string): ErrorKind | null {
    const refused = this.authoriseAdmin(caller);
    if (refused === null) return null;
    const holds = this.#users.get(caller?.user ?? "")?.roles.includes(role) === true;
    return holds ? null : refused;
  }

  // --- what there is

  /** UTF-8 of a user's name, the store's own for users there are: not to be changed. */
  nameBytes(user: string): Uint8Array {
    return this.#users.get(user)?.nameBytes ?? Buffer.from(user);
  }

  users(): string[] {
    return [...this.#users.keys()].sort(compareNames);
  }

  roles(): string[] {
    return [...this.#roles.keys()].sort(compareNames);
  }

  /** null: no such user. */
  rolesOf(user: string): readonly string[] | null {
    return this.#users.get(user)?.roles ?? null;
  }

  /** null: no such role. */
  permissionsOfRole(role: string): readonly Permission[] | null {
    const entry = this.#roles.get(role);
    if (entry === undefined) return null;
    return role === ROOT ? [ALL_KEYS] : entry.permissions;
  }

  /** What a password has to be checked against before a log-in may be proposed. */
  passwordOf(name: string): StoredPassword | ErrorKind {
    if (!this.#isEnabled) return "AuthNotEnabled";
    const user = this.#users.get(name);
    if (user === undefined) return "AuthFailed";
    if (user.options?.noPassword === true) return "NoPasswordUser";
    if (user.password.length === 0) return "AuthFailed";
    return { hash: user.password, revision: this.#revision };
  }

  /** Whether a log-in whose password was checked before its entry still stands, as etcd sees it. null: yes. */
  checkLogin(name: string): ErrorKind | null {
    if (!this.#isEnabled) return "AuthNotEnabled";
    const user = this.#users.get(name);
    return user === undefined || user.options?.noPassword === true ? "AuthFailed" : null;
  }

  // --- what the log says. Each returns why nothing was changed, or null.

  enable(): ErrorKind | null {
    if (this.#isEnabled) return null;
    const root = this.#users.get(ROOT);
    if (root === undefined) return "RootUserNotExist";
    if (!root.roles.includes(ROOT)) return "RootRoleNotExist";
    this.#isEnabled = true;
    this.#tables.put("auth", ENABLED_KEY, encodeEnabled(true));
    return null;
  }

  /** False: it was off already. */
  disable(): boolean {
    if (!this.#isEnabled) return false;
    this.#isEnabled = false;
    this.#tables.put("auth", ENABLED_KEY, encodeEnabled(false));
    this.#changed();
    return true;
  }

  /** `passwordHash` is bcrypt's text, of no use for a user without a password; null: what was sent is none. */
  addUser(name: string, passwordHash: Uint8Array | null, options: UserAddOptions | undefined): ErrorKind | null {
    if (name === "") return "UserEmpty";
    if (this.#users.has(name)) return "UserAlreadyExists";
    const { noPassword } = options ?? { noPassword: false };
    const password = noPassword ? NO_BYTES : passwordHash;
    if (password === null) return "NoPasswordUser";
    this.#putUser(userEntry(name, password, [], { noPassword }));
    this.#changed();
    return null;
  }

  deleteUser(name: string): ErrorKind | null {
    if (this.#isEnabled && name === ROOT) return "InvalidAuthManagement";
    const user = this.#users.get(name);
    if (user === undefined) return "UserNotFound";
    this.#users.delete(name);
    this.#tables.put("authUsers", user.nameBytes, null);
    this.#changed();
    return null;
  }

  /** Of a user without a password nothing but the revision changes. null: what was sent is no hash. */
  changePassword(name: string, passwordHash: Uint8Array | null): ErrorKind | null {
    const user = this.#users.get(name);
    if (user === undefined) return "UserNotFound";
    const password = user.options?.noPassword === true ? NO_BYTES : passwordHash;
    if (password === null) return "NoPasswordUser";
    this.#putUser(userEntry(name, password, user.roles, user.options));
    this.#changed();
    return null;
  }

  /** The role root need not exist. Granting what is granted already is well and changes nothing. */
  grantRole(name: string, role: string): ErrorKind | null {
    const user = this.#users.get(name);
    if (user === undefined) return "UserNotFound";
    if (role !== ROOT && !this.#roles.has(role)) return "RoleNotFound";
    if (user.roles.includes(role)) return null;
    this.#setRoles(user, [...user.roles, role].sort(compareNames));
    this.#changed();
    return null;
  }

  revokeRole(name: string, role: string): ErrorKind | null {
    if (this.#isEnabled && name === ROOT && role === ROOT) return "InvalidAuthManagement";
    const user = this.#users.get(name);
    if (user === undefined) return "UserNotFound";
    if (!user.roles.includes(role)) return "RoleNotGranted";
    this.#setRoles(
      user,
      user.roles.filter((each) => each !== role),
    );
    this.#changed();
    return null;
  }

  addRole(name: string): ErrorKind | null {
    if (name === "") return "RoleEmpty";
    if (this.#roles.has(name)) return "RoleAlreadyExists";
    this.#putRole({ name, permissions: [] });
    this.#changed();
    return null;
  }

  /** Who held it holds it no more. */
  deleteRole(name: string): ErrorKind | null {
    if (this.#isEnabled && name === ROOT) return "InvalidAuthManagement";
    if (!this.#roles.delete(name)) return "RoleNotFound";
    this.#tables.put("authRoles", Buffer.from(name), null);
    for (const user of this.#users.values()) {
      if (!user.roles.includes(name)) continue;
      this.#setRoles(
        user,
        user.roles.filter((each) => each !== name),
      );
    }
    this.#changed();
    return null;
  }

  /**
   * Changes the type of the role's first permission with this key if its range end is the same too, else adds one; hence
   * there may be duplicates (etcd's way, and members must agree).
   */
  grantPermission(name: string, permission: Permission | undefined): ErrorKind | null {
    if (permission === undefined) return "PermissionNotGiven";
    if (!isGrantable(permission)) return "InvalidAuthManagement";
    const role = this.#roles.get(name);
    if (role === undefined) return "RoleNotFound";
    const permissions = [...role.permissions];
    const at = permissions.findIndex(({ key }) => isSameBytes(key, permission.key));
    if (at >= 0 && isSameBytes(permissions[at]!.rangeEnd, permission.rangeEnd)) {
      permissions[at] = permission;
    } else {
      permissions.push(permission);
      sortAfterGrant(permissions);
    }
    this.#putRole({ name, permissions });
    this.#changed();
    return null;
  }

  /** Of every permission with exactly this key and range end. */
  revokePermission(name: string, key: Uint8Array, rangeEnd: Uint8Array): ErrorKind | null {
    const role = this.#roles.get(name);
    if (role === undefined) return "RoleNotFound";
    const permissions = role.permissions.filter(
      (each) => !isSameBytes(each.key, key) || !isSameBytes(each.rangeEnd, rangeEnd),
    );
    if (permissions.length === role.permissions.length) return "PermissionNotGranted";
    this.#putRole({ name, permissions });
    this.#changed();
    return null;
  }

  // ---

  #changed(): void {
    this.#revision++;
    this.#tables.put("auth", REVISION_KEY, encodeRevision(this.#revision));
    this.#generation++;
  }

  #setRoles(user: UserEntry, roles: readonly string[]): void {
    this.#putUser(userEntry(user.name, user.password, roles, user.options));
  }

  #putUser(user: UserEntry): void {
    this.#users.set(user.name, user);
    const { nameBytes, password, roles, options } = user;
    this.#tables.put("authUsers", nameBytes, User.encode({ name: nameBytes, password, roles, options }));
  }

  #putRole(role: RoleEntry): void {
    this.#roles.set(role.name, role);
    const name = Buffer.from(role.name);
    this.#tables.put("authRoles", name, Role.encode({ name, keyPermission: role.permissions }));
  }

  #permissionsOf(user: UserEntry): MergedPermissions {
    const { merged } = user;
    if (merged !== null && merged.generation === this.#generation) return merged;
    const granted = user.roles.flatMap((role) => this.#roles.get(role)?.permissions ?? []);
    const allowing = (type: number): Intervals =>
      new Intervals(granted.filter(({ permType }) => permType === type || permType === PermissionType.READWRITE));
    user.merged = {
      generation: this.#generation,
      isAdmin: user.roles.includes(ROOT),
      read: allowing(PermissionType.READ),
      write: allowing(PermissionType.WRITE),
    };
    return user.merged;
  }
}

function userEntry(
  name: string,
  password: Uint8Array,
  roles: readonly string[],
  options: UserAddOptions | undefined,
): UserEntry {
  return { name, nameBytes: Buffer.from(name), password, roles, options, merged: null };
}
