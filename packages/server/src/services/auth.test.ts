/** Logging in, and what becomes of tokens and secrets. Who may call what is gate.test.ts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { errors, PermissionType } from "@quorate/api";
import {
  AuthDisableRequest,
  AuthDisableResponse,
  AuthenticateRequest,
  AuthRoleGetRequest,
  AuthRoleGetResponse,
  AuthStatusRequest,
  AuthStatusResponse,
  AuthUserAddRequest,
  AuthUserAddResponse,
  AuthUserChangePasswordRequest,
  AuthUserChangePasswordResponse,
  AuthUserDeleteRequest,
  AuthUserDeleteResponse,
  AuthUserGetRequest,
  AuthUserGetResponse,
  AuthUserListRequest,
  AuthUserListResponse,
  DeleteRangeRequest,
  LeaseGrantRequest,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseRevokeRequest,
  LeaseTimeToLiveRequest,
  type MessageType,
  PutRequest,
  RangeRequest,
  RangeResponse,
  StatusRequest,
  TxnRequest,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import { type Identity, type Resolved, SimpleTokens } from "@quorate/auth";
import { SeededRandom } from "@quorate/wal/testing";
import { type LogFields, silentLog } from "@quorate/world";
import type { PasswordFailure, Passwords } from "../auth/passwords.ts";
import type { MemberOptions } from "../member/member-options.ts";
import { FakeCall } from "../testing/fake-call.ts";
import { plainPasswords } from "../testing/plain-passwords.ts";
import { SimulatedMember } from "../testing/simulated-member.ts";
import { callWith, Users } from "../testing/users.ts";

const RANGE = "/etcdserverpb.KV/Range";
const PUT = "/etcdserverpb.KV/Put";
const AUTHENTICATE = "/etcdserverpb.Auth/Authenticate";
const a = Buffer.from("a");

/** With user u, who may read and write `a`. */
async function withUser(options: Partial<MemberOptions> = {}): Promise<{ simulated: SimulatedMember; users: Users }> {
  const simulated = new SimulatedMember();
  await simulated.boot(options);
  const users = new Users(simulated);
  users.addRole("r", [{ key: "a", permType: PermissionType.READWRITE }]);
  users.add("u");
  users.grant("u", "r");
  users.enable();
  return { simulated, users };
}

/** "" if the call ended well. */
function outcomeOf<Request extends object>(
  simulated: SimulatedMember,
  path: string,
  type: MessageType<Request>,
  request: Parameters<MessageType<Request>["encode"]>[0],
  call: FakeCall,
): string {
  simulated.send(path, type, request, call);
  simulated.settle();
  return call.status === null ? "waits" : call.status.message;
}

const read = (simulated: SimulatedMember, token: string | null): string =>
  outcomeOf(simulated, RANGE, RangeRequest, { key: a }, callWith(RANGE, token));

test("who may log in: not while auth is off, not with a wrong password, not without one", async () => {
  const { simulated, users } = await withUser();
  const options = { noPassword: true };
  users.call("UserAdd", AuthUserAddRequest, { name: "cn", options, password: "secret" }, AuthUserAddResponse);
  assert.throws(() => users.logIn("u", "wrong"), { message: errors.AuthFailed.message });
  assert.throws(() => users.logIn("nobody"), { message: errors.AuthFailed.message });
  // covers: AU-08
  assert.throws(() => users.logIn("cn", "secret"), { message: errors.NoPasswordUser.message });
  // covers: SA-08
  users.call("UserAdd", AuthUserAddRequest, { name: "empty" }, AuthUserAddResponse);
  assert.throws(() => users.logIn("empty", ""), { message: errors.AuthFailed.message });
  assert.match(users.logIn("u"), /^[a-zA-Z]{16}\.\d+$/);
  users.call("AuthDisable", AuthDisableRequest, {}, AuthDisableResponse);
  assert.throws(() => users.logIn("u"), { message: errors.AuthNotEnabled.message });
  assert.equal(read(simulated, null), "");
});

// covers: AU-08, SA-12
test("no password is ever in the log, on disk or in a log line", async () => {
  const lines: string[] = [];
  const write = (level: string, message: string, fields?: object): void => {
    lines.push(
      `${level} ${message} ${JSON.stringify(fields, (_, value) => (typeof value === "bigint" ? `${value}` : value))}`,
    );
  };
  const log = {
    isEnabled: () => true,
    debug: (message: string, fields?: object) => write("debug", message, fields),
    info: (message: string, fields?: object) => write("info", message, fields),
    warn: (message: string, fields?: object) => write("warn", message, fields),
    error: (message: string, fields?: object) => write("error", message, fields),
  };
  // A "hash" that does not show the password.
  const passwords: MemberOptions["passwords"] = {
    ...plainPasswords,
    hash: (password, call, done) => plainPasswords.hash([...password].reverse().join(""), call, done),
    verify: (check, done) =>
      plainPasswords.verify({ ...check, password: [...check.password].reverse().join("") }, done),
  };
  const { simulated, users } = await withUser({ passwords, log: log as never });
  const secrets = ["hunter2-add", "hunter2-none", "hunter2-change", "hunter2-wrong"];
  const [added, none, changed, wrong] = secrets as [string, string, string, string];
  users.call("UserAdd", AuthUserAddRequest, { name: "v", password: added }, AuthUserAddResponse);
  const options = { noPassword: true };
  users.call("UserAdd", AuthUserAddRequest, { name: "w", password: none, options }, AuthUserAddResponse);
  users.logIn("v", added);
  const change = { name: "v", password: changed };
  users.call("UserChangePassword", AuthUserChangePasswordRequest, change, AuthUserChangePasswordResponse);
  users.logIn("v", changed);
  assert.throws(() => users.logIn("v", wrong));
  assert.equal(simulated.stop(), null);
  const hashed = Buffer.from(`plain:${[...added].reverse().join("")}`).toString("base64");
  assert.ok(
    filesOf(simulated).some((bytes) => bytes.includes(hashed)),
    "what takes a password's place is there",
  );
  for (const secret of secrets) {
    assert.ok(!filesOf(simulated).some((bytes) => bytes.includes(secret)), `${secret} on disk`);
    assert.ok(!lines.some((line) => line.includes(secret)), `${secret} in a log line`);
  }
});

/** All that a member that has ended has left: its log, and the tables that tell of users. */
function filesOf(simulated: SimulatedMember): Buffer[] {
  const directory = simulated.config.walDirectory;
  const files = simulated.disk.readDirectory(directory).map((name) => {
    const file = simulated.disk.open(`${directory}/${name}`, "read");
    const bytes = Buffer.alloc(file.sizeBytes());
    file.read(bytes, bytes.length, 0);
    file.close();
    return bytes;
  });
  return [...files, ...[...simulated.image.table("authUsers").values()].map((value) => Buffer.from(value))];
}

// covers: SA-08
test("an empty password opens nothing: neither as it is, nor as NULs, of which bcrypt's hash is the same", async () => {
  const hashed: string[] = [];
  const passwords: MemberOptions["passwords"] = {
    ...plainPasswords,
    hash: (password, call, done) => {
      hashed.push(password);
      plainPasswords.hash(password, call, done);
    },
    // As bcrypt would have it.
    verify: (_check, done) => done("right"),
  };
  const { users } = await withUser({ passwords });
  users.call("UserAdd", AuthUserAddRequest, { name: "v", password: "" }, AuthUserAddResponse);
  assert.deepEqual(hashed, ["u", "root"], "and of it there is no hash");
  for (const password of ["", "\0", "\0".repeat(72), `${"\0".repeat(72)}x`]) {
    assert.throws(() => users.logIn("u", password), { message: errors.AuthFailed.message });
  }
  users.logIn("u", "\0x");
});

test("of a huge name or password no more is kept, checked and logged than counts", async () => {
  const logged: unknown[] = [];
  const checked: number[] = [];
  const log = { ...silentLog, warn: (_message: string, fields?: LogFields) => logged.push(Object(fields).user) };
  const passwords: MemberOptions["passwords"] = {
    ...plainPasswords,
    verify: (check, done) => {
      checked.push(check.password.length);
      plainPasswords.verify(check, done);
    },
  };
  const { users } = await withUser({ log, passwords });
  logged.length = 0;
  checked.length = 0;
  const refused = { message: errors.AuthFailed.message };
  assert.throws(() => users.logIn("u", "x".repeat(1_000_000)), refused);
  assert.throws(() => users.logIn("n".repeat(1_000_000)), refused);
  assert.deepEqual(checked, [73]);
  assert.deepEqual(logged, ["u", "n".repeat(128)]);
  users.add("u".repeat(1024));
  assert.throws(() => users.logIn("u".repeat(1025), "u".repeat(1024)), refused);
});

test("a client's own hash is taken if it sends no password; without either nobody can log in", async () => {
  const { users } = await withUser();
  const change = (request: object): unknown =>
    users.call("UserChangePassword", AuthUserChangePasswordRequest, request as never, AuthUserChangePasswordResponse);
  change({ name: "u", hashedPassword: Buffer.from("plain:other").toString("base64") });
  users.logIn("u", "other");
  change({ name: "u" });
  assert.throws(() => users.logIn("u", ""), { message: errors.AuthFailed.message });
  assert.throws(() => change({ name: "u", hashedPassword: "not base64" }), { message: errors.NoPasswordUser.message });
});

test("tokens end with the user, with its password, and with auth; other changes leave them", async () => {
  const { simulated, users } = await withUser();
  let token = users.logIn("u");
  users.add("other");
  assert.equal(read(simulated, token), "");
  const change = { name: "u", password: "new" };
  users.call("UserChangePassword", AuthUserChangePasswordRequest, change, AuthUserChangePasswordResponse);
  assert.equal(read(simulated, token), errors.InvalidAuthToken.message);
  token = users.logIn("u", "new");
  assert.equal(read(simulated, token), "");
  users.call("UserDelete", AuthUserDeleteRequest, { name: "u" }, AuthUserDeleteResponse);
  assert.equal(read(simulated, token), errors.InvalidAuthToken.message);
  const roots = users.token;
  users.call("AuthDisable", AuthDisableRequest, {}, AuthDisableResponse);
  assert.equal(read(simulated, roots), "");
});

test("a token may be called token or authorization, Bearer or not; the first counts", async () => {
  const { simulated, users } = await withUser();
  const token = users.logIn("u");
  for (const [metadata, expected] of [
    [{ token }, ""],
    [{ token: `Bearer ${token}` }, ""],
    [{ authorization: token }, ""],
    [{ authorization: `Bearer ${token}` }, ""],
    [{ token: "bad", authorization: token }, errors.InvalidAuthToken.message],
    [{ token: "" }, errors.InvalidAuthToken.message],
    [{ authorization: `bearer ${token}` }, errors.InvalidAuthToken.message],
    [{}, errors.UserEmpty.message],
  ] as const) {
    assert.equal(outcomeOf(simulated, RANGE, RangeRequest, { key: a }, new FakeCall(RANGE, metadata)), expected);
  }
});

// covers: AU-09
test("a certificate's name is the user if so configured, unless a token is there or a gateway passes the call on", async () => {
  const { simulated, users } = await withUser({ trustsCertificateNames: true });
  const token = users.logIn("u");
  const call = (metadata: Record<string, string>, commonName: string | null): FakeCall => {
    const made = new FakeCall(RANGE, metadata);
    made.connection.peerCommonName = commonName;
    return made;
  };
  for (const [made, expected] of [
    [call({}, "u"), ""],
    [call({}, "root"), ""],
    [call({}, "nobody"), errors.PermissionDenied.message],
    [call({}, ""), errors.PermissionDenied.message],
    [call({}, null), errors.UserEmpty.message],
    [call({ token: "bad" }, "root"), errors.InvalidAuthToken.message],
    [call({ "grpcgateway-accept": "*/*" }, "root"), errors.UserEmpty.message],
    [call({ "grpcgateway-accept": "*/*", token }, "root"), ""],
  ] as const) {
    assert.equal(outcomeOf(simulated, RANGE, RangeRequest, { key: a }, made), expected);
  }
  const { simulated: other } = await withUser();
  assert.equal(outcomeOf(other, RANGE, RangeRequest, { key: a }, call({}, "root")), errors.UserEmpty.message);
});

/** Passwords that are right, but not before the test says so. */
class SlowPasswords {
  readonly #waiting: (() => void)[] = [];
  asked = 0;
  readonly options: MemberOptions["passwords"] = {
    ...plainPasswords,
    verify: (check, done) => {
      this.asked++;
      this.#waiting.push(() => plainPasswords.verify(check, done));
    },
  };

  answer(): void {
    for (const each of this.#waiting.splice(0)) each();
  }
}

// covers: AU-01, AU-07
test("a password that was checked at another auth revision is checked again", async () => {
  const slow = new SlowPasswords();
  const { simulated, users } = await withUserNow(slow);
  const call = simulated.send(AUTHENTICATE, AuthenticateRequest, { name: "u", password: "u" });
  simulated.settle();
  assert.equal(slow.asked, 1);
  users.add("other");
  slow.answer();
  simulated.settle();
  assert.equal(call.status, null);
  assert.equal(slow.asked, 2, "the log-in came after the change, so its password is checked again");
  slow.answer();
  simulated.settle();
  assert.equal(call.status!.code, 0);

  const late = simulated.send(AUTHENTICATE, AuthenticateRequest, { name: "u", password: "u" });
  simulated.settle();
  const change = { name: "u", password: "new" };
  users.call("UserChangePassword", AuthUserChangePasswordRequest, change, AuthUserChangePasswordResponse);
  slow.answer();
  simulated.settle();
  slow.answer();
  simulated.settle();
  assert.equal(late.status!.message, errors.AuthFailed.message);
});

/** Root logs in before the passwords get slow. */
async function withUserNow(slow: SlowPasswords): Promise<{ simulated: SimulatedMember; users: Users }> {
  let isSlow = false;
  const passwords: MemberOptions["passwords"] = {
    ...plainPasswords,
    verify: (check, done) => (isSlow ? slow.options : plainPasswords).verify(check, done),
  };
  const made = await withUser({ passwords });
  isSlow = true;
  return made;
}

test("what hashing is refused for, its caller is told; nobody waits for a caller that has gone", async () => {
  let failure: PasswordFailure = "TooManyRequests";
  let begun: (() => void) | null = null;
  const passwords: Pick<Passwords, "hash" | "verify" | "dropUser"> = {
    ...plainPasswords,
    hash: (password, call, done) => {
      if (password === "slow") begun = () => plainPasswords.hash(password, call, done);
      else if (password.startsWith("bad")) done(failure);
      else plainPasswords.hash(password, call, done);
    },
  };
  const { simulated, users } = await withUser({ passwords });
  const add = (password: string): unknown =>
    users.call("UserAdd", AuthUserAddRequest, { name: "v", password }, AuthUserAddResponse);
  assert.throws(() => add("bad"), { message: errors.TooManyRequests.message });
  failure = "PasswordTooLong";
  assert.throws(() => add("bad"), { message: errors.PasswordTooLong.message });
  const path = "/etcdserverpb.Auth/UserAdd";
  const call = simulated.send(path, AuthUserAddRequest, { name: "v", password: "slow" }, callWith(path, users.token));
  call.cancel();
  begun!();
  simulated.settle();
  assert.deepEqual(users.call("UserList", AuthUserListRequest, {}, AuthUserListResponse).users, ["root", "u"]);
});

test("questions are answered with what there is", async () => {
  const { users, simulated } = await withUser();
  const status = users.call("AuthStatus", AuthStatusRequest, {}, AuthStatusResponse);
  assert.equal(status.enabled, true);
  assert.equal(status.authRevision, simulated.member.auth.revision);
  assert.equal(status.header!.memberId, simulated.member.id);
  assert.deepEqual(users.call("UserGet", AuthUserGetRequest, { name: "u" }, AuthUserGetResponse).roles, ["r"]);
  const { perm } = users.call("RoleGet", AuthRoleGetRequest, { role: "r" }, AuthRoleGetResponse);
  assert.deepEqual(
    perm.map((each) => `${each.key} ${each.rangeEnd} ${each.permType}`),
    ["a  2"],
  );
});

test("names that fit no table are refused before they are in the log", async () => {
  const { simulated, users } = await withUser();
  const { commitIndex } = simulated.member;
  const name = "é".repeat(513);
  assert.throws(() => users.add(name), { message: errors.RequestTooLarge.message });
  assert.throws(() => users.addRole(name, []), { message: errors.RequestTooLarge.message });
  assert.equal(simulated.member.commitIndex, commitIndex);
  users.add("é".repeat(512));
});

/** Tokens that take their time while they are slow. */
class SlowTokens extends SimpleTokens {
  readonly #waiting: (() => void)[] = [];
  isSlow = false;

  get waitingCount(): number {
    return this.#waiting.length;
  }

  override known(token: string): Identity | undefined {
    return this.isSlow ? undefined : super.known(token);
  }

  override resolve(token: string, done: (identity: Resolved) => void): void {
    this.#waiting.push(() => super.resolve(token, done));
  }

  /** Everybody is told, and it stays slow. */
  answer(): void {
    this.isSlow = false;
    for (const each of this.#waiting.splice(0)) each();
    this.isSlow = true;
  }
}

async function withSlowTokens(): Promise<{ simulated: SimulatedMember; users: Users; slow: SlowTokens }> {
  const clock = { monotonicMs: () => 0 };
  const slow = new SlowTokens({ clock, random: new SeededRandom(1), ttlMs: 1000 });
  return { ...(await withUser({ tokens: slow })), slow };
}

test("a request whose token cannot be told at once waits for it, with its bytes", async () => {
  const { simulated, users, slow } = await withSlowTokens();
  const token = users.logIn("u");
  slow.isSlow = true;
  const put = simulated.send(PUT, PutRequest, { key: a, value: Buffer.from("kept") }, callWith(PUT, token));
  const gone = simulated.send(PUT, PutRequest, { key: a, value: Buffer.from("gone") }, callWith(PUT, token));
  const bad = simulated.send(PUT, PutRequest, { key: a }, callWith(PUT, "bad"));
  simulated.settle();
  assert.deepEqual([put.status, bad.status, slow.waitingCount], [null, null, 3]);
  gone.cancel();
  slow.answer();
  simulated.settle();
  assert.equal(put.status!.code, 0);
  assert.equal(bad.status!.message, errors.InvalidAuthToken.message);
  slow.isSlow = false;
  const call = callWith(RANGE, token);
  assert.equal(outcomeOf(simulated, RANGE, RangeRequest, { key: a }, call), "");
  assert.equal(RangeResponse.decode(call.messages[0]!).kvs[0]!.value.toString(), "kept");
});

test("messages of a stream wait behind one whose token cannot be told at once, in order", async () => {
  const { simulated, users, slow } = await withSlowTokens();
  const token = users.logIn("u");
  const path = "/etcdserverpb.Watch/Watch";
  const stream = simulated.openStream(path, callWith(path, token));
  slow.isSlow = true;
  for (const watchId of [5n, 6n, 7n]) stream.send(WatchRequest, { createRequest: { key: a, watchId } });
  simulated.settle();
  assert.deepEqual([stream.received(WatchResponse).length, slow.waitingCount], [0, 1]);
  slow.answer();
  assert.deepEqual(
    stream.received(WatchResponse).map((each) => each.watchId),
    [5n, 6n, 7n],
  );

  const renewals = "/etcdserverpb.Lease/LeaseKeepAlive";
  slow.isSlow = false;
  const grant = "/etcdserverpb.Lease/LeaseGrant";
  assert.equal(outcomeOf(simulated, grant, LeaseGrantRequest, { ID: 7n, TTL: 60 }, callWith(grant, token)), "");
  slow.isSlow = true;
  const keepAlive = simulated.openStream(renewals, callWith(renewals, token));
  keepAlive.send(LeaseKeepAliveRequest, { ID: 7n });
  keepAlive.halfClose();
  assert.equal(keepAlive.call.isOpen, true);
  slow.answer();
  simulated.settle();
  assert.deepEqual(
    keepAlive.received(LeaseKeepAliveResponse).map((each) => each.TTL),
    [60],
  );
  assert.equal(keepAlive.call.status!.code, 0, "the half that was closed meanwhile ends the stream");

  const flood = simulated.openStream(path, callWith(path, token));
  for (let i = 0; i < 2000; i++) flood.send(WatchRequest, { createRequest: { key: a } });
  assert.equal(flood.call.status!.message, errors.TooManyRequests.message);
});

// covers: AU-03
test("a token that ends while a stream goes on refuses what is asked from then on, not what was begun", async () => {
  const { simulated, users } = await withUser();
  const token = users.logIn("u");
  const path = "/etcdserverpb.Watch/Watch";
  const stream = simulated.openStream(path, callWith(path, token));
  stream.send(WatchRequest, { createRequest: { key: a } });
  const change = { name: "u", password: "new" };
  users.call("UserChangePassword", AuthUserChangePasswordRequest, change, AuthUserChangePasswordResponse);
  stream.send(WatchRequest, { createRequest: { key: a } });
  simulated.settle();
  const [first, second] = stream.received(WatchResponse);
  assert.deepEqual([first!.created, first!.canceled], [true, false]);
  assert.deepEqual([second!.created, second!.canceled, second!.watchId], [true, true, -1n]);
  assert.equal(second!.cancelReason, "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token");
  assert.equal(outcomeOf(simulated, PUT, PutRequest, { key: a }, callWith(PUT, users.token)), "");
  assert.equal(stream.received(WatchResponse)[0]!.events.length, 1);
});

/** Tokens of the revision at which they were first used, as signed ones are of the one at which they were issued. */
class DatedTokens extends SimpleTokens {
  readonly #identities = new Map<string, Identity>();
  revision = 0;

  override known(token: string): Identity | undefined {
    const identity = super.known(token);
    if (identity === undefined) return undefined;
    const dated = this.#identities.get(token) ?? { user: identity.user, revision: this.revision };
    this.#identities.set(token, dated);
    return dated;
  }
}

// covers: AU-01, AU-03
test("a token of an older auth revision is good for what needs no key, and for administrators' work", async () => {
  const tokens = new DatedTokens({ clock: { monotonicMs: () => 0 }, random: new SeededRandom(1), ttlMs: 1000 });
  tokens.revision = 1000;
  const { simulated, users } = await withUser({ tokens });
  const { auth } = simulated.member;
  const old = errors.AuthOldRevision.message;
  const ask = <Request extends object>(
    method: string,
    type: MessageType<Request>,
    request: Parameters<MessageType<Request>["encode"]>[0],
    token: string,
  ): string => outcomeOf(simulated, `/etcdserverpb.${method}`, type, request, callWith(method, token));
  tokens.revision = auth.revision;
  const token = users.logIn("u");
  const keys = { key: a, rangeEnd: Buffer.from("a\0") };
  const txn = { compare: [{ key: a }] };
  const asked = (): string[] => [
    read(simulated, token),
    ask("KV/RangeStream", RangeRequest, keys, token),
    ask("KV/Txn", TxnRequest, txn, token),
    ask("KV/Put", PutRequest, { key: a }, token),
    ask("KV/DeleteRange", DeleteRangeRequest, { key: a }, token),
    ask("KV/Txn", TxnRequest, { success: [{ requestPut: { key: a } }] } as never, token),
  ];
  assert.deepEqual(new Set(asked()), new Set([""]));
  assert.equal(ask("Lease/LeaseGrant", LeaseGrantRequest, { ID: 7n, TTL: 60 }, token), "");
  assert.equal(ask("KV/Put", PutRequest, { key: a, lease: 7n }, token), "");
  users.add("other");
  assert.deepEqual(new Set(asked().slice(0, 5)), new Set([old]));
  assert.equal(ask("Lease/LeaseRevoke", LeaseRevokeRequest, { ID: 7n }, token), old);
  assert.equal(ask("Lease/LeaseTimeToLive", LeaseTimeToLiveRequest, { ID: 7n, keys: true }, token), old);
  assert.equal(ask("Lease/LeaseTimeToLive", LeaseTimeToLiveRequest, { ID: 7n }, token), "");
  assert.equal(ask("Maintenance/Status", StatusRequest, {}, token), "");
  const path = "/etcdserverpb.Watch/Watch";
  const stream = simulated.openStream(path, callWith(path, token));
  stream.send(WatchRequest, { createRequest: { key: a } });
  assert.equal(stream.received(WatchResponse)[0]!.cancelReason, `rpc error: code = InvalidArgument desc = ${old}`);
  const renewals = "/etcdserverpb.Lease/LeaseKeepAlive";
  const keepAlive = simulated.openStream(renewals, callWith(renewals, token));
  keepAlive.send(LeaseKeepAliveRequest, { ID: 7n });
  simulated.settle();
  assert.equal(keepAlive.call.status!.message, old);
  // Administrators change users whatever the revision of their token, or they could not make two changes in a row.
  assert.equal(users.call("UserGet", AuthUserGetRequest, { name: "u" }, AuthUserGetResponse).roles.length, 1);
});

test("a range that is being streamed ends when permissions change before its client has taken it all", async () => {
  const { simulated, users } = await withUser();
  for (let i = 0; i < 200; i++) {
    const put = { key: Buffer.from(`a${i}`), value: Buffer.alloc(8192) };
    assert.equal(outcomeOf(simulated, PUT, PutRequest, put, callWith(PUT, users.token)), "");
  }
  const path = "/etcdserverpb.KV/RangeStream";
  for (const isChanged of [false, true]) {
    const call = callWith(path, users.token);
    call.isReading = false;
    simulated.send(path, RangeRequest, { key: a, rangeEnd: Buffer.from("b") }, call);
    simulated.settle();
    assert.equal(call.status, null, "it waits for its client");
    if (isChanged) users.add("other");
    for (let i = 0; i < 100 && call.status === null; i++) call.take();
    assert.equal(call.status!.message, isChanged ? errors.AuthOldRevision.message : "");
  }
});

test("the keys of a lease are shown as permissions are when it is known which, and not if these changed meanwhile", async () => {
  const { simulated, users } = await withUser();
  const path = "/etcdserverpb.Lease/LeaseTimeToLive";
  const grant = "/etcdserverpb.Lease/LeaseGrant";
  assert.equal(outcomeOf(simulated, grant, LeaseGrantRequest, { ID: 7n, TTL: 60 }, callWith(grant, users.token)), "");
  const waiting: (() => void)[] = [];
  simulated.member.confirmLeadership = (done) => waiting.push(() => done(true));
  const put = (key: string): string =>
    outcomeOf(simulated, PUT, PutRequest, { key: Buffer.from(key), lease: 7n }, callWith(PUT, users.token));
  for (const [meanwhile, expected] of [
    [() => put("a"), ""],
    [() => users.add("other"), errors.AuthOldRevision.message],
    [() => put("x"), errors.PermissionDenied.message],
  ] as const) {
    const call = callWith(path, users.logIn("u"));
    simulated.send(path, LeaseTimeToLiveRequest, { ID: 7n, keys: true }, call);
    meanwhile();
    for (const tell of waiting.splice(0)) tell();
    simulated.settle();
    assert.equal(call.status!.message, expected);
  }
});

// covers: LE-08
test("with auth on an expired lease goes all the same, with keys that only root may write", async () => {
  const { simulated, users } = await withUser();
  const grant = "/etcdserverpb.Lease/LeaseGrant";
  assert.equal(outcomeOf(simulated, grant, LeaseGrantRequest, { ID: 7n, TTL: 2 }, callWith(grant, users.token)), "");
  const put = { key: Buffer.from("x"), lease: 7n };
  assert.equal(outcomeOf(simulated, PUT, PutRequest, put, callWith(PUT, users.token)), "");
  simulated.advance(10_000);
  assert.equal(simulated.member.lessor.exists(7n), false);
});

// covers: AU-02, AP-11
test("users outlive a crash; tokens do not have to", async () => {
  const { simulated, users } = await withUser();
  const { revision } = simulated.member.auth;
  simulated.crash();
  await simulated.boot();
  assert.equal(simulated.member.auth.revision, revision);
  assert.equal(read(simulated, null), errors.UserEmpty.message);
  users.token = null;
  assert.equal(read(simulated, users.logIn("u")), "");
});
