/**
 * Every method a member serves, as data: path, kind, messages, gateway paths, who may call it and whether a learner
 * answers it (surface-api §1). The services are looked up by `path`, the gateway by `http`; methods.test.ts holds the table
 * against proto/.
 */

export type MethodKind = "unary" | "serverStream" | "bidi";

/**
 * What a caller needs once auth is on:
 *  - none: nothing, and nobody looks at what is presented;
 *  - validIfAny: nothing, but a token that is presented must be good;
 *  - byParts: nothing of its own: it is made of calls of other methods under the caller's name, and needs what those need;
 *  - identity: any valid token or certificate user;
 *  - root: a user with the role root;
 *  - rootOrSelf: root, or a question about the caller's own user, or a role the caller has;
 *  - rootUnlessGet: identity to look, root to change (Alarm);
 *  - keys: permission on the key ranges that the request names or implies;
 *  - leaseKeysWrite: identity, and write permission on every key attached to the lease;
 *  - leaseKeysRead: identity, and read permission on the attached keys that the answer shows or counts.
 */
export type PermissionClass =
  | "none"
  | "validIfAny"
  | "byParts"
  | "identity"
  | "root"
  | "rootOrSelf"
  | "rootUnlessGet"
  | "keys"
  | "leaseKeysWrite"
  | "leaseKeysRead";

/** Whether a learner answers; "serializable": only a request that says so. */
export type LearnerRule = "refused" | "served" | "serializable";

export interface MethodRow {
  /** As in the :path of an HTTP/2 request. */
  readonly path: string;
  readonly kind: MethodKind;
  /** Full message names, without the leading dot. */
  readonly request: string;
  readonly response: string;
  /** Paths of the JSON gateway, POST; none for methods it does not offer. */
  readonly http: readonly string[];
  readonly permission: PermissionClass;
  readonly learner: LearnerRule;
  /** Whether a full database refuses it before anything else is checked. */
  readonly isQuotaChecked: boolean;
}

interface RowOptions {
  readonly kind?: MethodKind;
  readonly learner?: LearnerRule;
  readonly isQuotaChecked?: boolean;
  /** Where the messages are not called `<method>Request` and `<method>Response`. */
  readonly request?: string;
  readonly response?: string;
}

function row(
  service: string,
  method: string,
  http: readonly string[],
  permission: PermissionClass,
  options: RowOptions = {},
): MethodRow {
  const pkg = service.slice(0, service.lastIndexOf("."));
  return {
    path: `/${service}/${method}`,
    kind: options.kind ?? "unary",
    request: `${pkg}.${options.request ?? `${method}Request`}`,
    response: `${pkg}.${options.response ?? `${method}Response`}`,
    http,
    permission,
    learner: options.learner ?? "refused",
    isQuotaChecked: options.isQuotaChecked ?? false,
  };
}

/** The Auth service calls its messages Auth<Method>Request, unless the method already begins so. */
function authRow(method: string, http: string, permission: PermissionClass): MethodRow {
  const name = method.startsWith("Auth") ? method : `Auth${method}`;
  return row("etcdserverpb.Auth", method, [`/v3/auth/${http}`], permission, {
    request: `${name}Request`,
    response: `${name}Response`,
  });
}

const KV = "etcdserverpb.KV";
const LEASE = "etcdserverpb.Lease";
const CLUSTER = "etcdserverpb.Cluster";
const MAINTENANCE = "etcdserverpb.Maintenance";
const LOCK = "v3lockpb.Lock";
const ELECTION = "v3electionpb.Election";
const HEALTH = "grpc.health.v1.Health";

export const methods: readonly MethodRow[] = [
  row(KV, "Range", ["/v3/kv/range"], "keys", { learner: "serializable" }),
  row(KV, "RangeStream", [], "keys", { kind: "serverStream", request: "RangeRequest" }),
  row(KV, "Put", ["/v3/kv/put"], "keys", { isQuotaChecked: true }),
  row(KV, "DeleteRange", ["/v3/kv/deleterange"], "keys"),
  row(KV, "Txn", ["/v3/kv/txn"], "keys", { isQuotaChecked: true }),
  row(KV, "Compact", ["/v3/kv/compaction"], "root", {
    request: "CompactionRequest",
    response: "CompactionResponse",
  }),

  row("etcdserverpb.Watch", "Watch", ["/v3/watch"], "keys", { kind: "bidi" }),

  row(LEASE, "LeaseGrant", ["/v3/lease/grant"], "identity", { isQuotaChecked: true }),
  row(LEASE, "LeaseRevoke", ["/v3/lease/revoke", "/v3/kv/lease/revoke"], "leaseKeysWrite"),
  row(LEASE, "LeaseKeepAlive", ["/v3/lease/keepalive"], "leaseKeysWrite", { kind: "bidi" }),
  row(LEASE, "LeaseTimeToLive", ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"], "leaseKeysRead"),
  row(LEASE, "LeaseLeases", ["/v3/lease/leases", "/v3/kv/lease/leases"], "leaseKeysRead"),

  row(CLUSTER, "MemberAdd", ["/v3/cluster/member/add"], "root"),
  row(CLUSTER, "MemberRemove", ["/v3/cluster/member/remove"], "root"),
  row(CLUSTER, "MemberUpdate", ["/v3/cluster/member/update"], "root"),
  row(CLUSTER, "MemberList", ["/v3/cluster/member/list"], "identity"),
  row(CLUSTER, "MemberPromote", ["/v3/cluster/member/promote"], "root"),

  row(MAINTENANCE, "Alarm", ["/v3/maintenance/alarm"], "rootUnlessGet"),
  row(MAINTENANCE, "Status", ["/v3/maintenance/status"], "identity", { learner: "served" }),
  row(MAINTENANCE, "Defragment", ["/v3/maintenance/defragment"], "root"),
  row(MAINTENANCE, "Hash", ["/v3/maintenance/hash"], "root"),
  row(MAINTENANCE, "HashKV", ["/v3/maintenance/hashkv"], "root"),
  row(MAINTENANCE, "Snapshot", ["/v3/maintenance/snapshot"], "root", {
    kind: "serverStream",
    learner: "served",
  }),
  row(MAINTENANCE, "MoveLeader", ["/v3/maintenance/transfer-leadership"], "root"),
  row(MAINTENANCE, "Downgrade", ["/v3/maintenance/downgrade"], "root"),

  authRow("AuthEnable", "enable", "root"),
  authRow("AuthDisable", "disable", "root"),
  authRow("AuthStatus", "status", "validIfAny"),
  row("etcdserverpb.Auth", "Authenticate", ["/v3/auth/authenticate"], "none"),
  authRow("UserAdd", "user/add", "root"),
  authRow("UserGet", "user/get", "rootOrSelf"),
  authRow("UserList", "user/list", "root"),
  authRow("UserDelete", "user/delete", "root"),
  authRow("UserChangePassword", "user/changepw", "root"),
  authRow("UserGrantRole", "user/grant", "root"),
  authRow("UserRevokeRole", "user/revoke", "root"),
  authRow("RoleAdd", "role/add", "root"),
  authRow("RoleGet", "role/get", "rootOrSelf"),
  authRow("RoleList", "role/list", "root"),
  authRow("RoleDelete", "role/delete", "root"),
  authRow("RoleGrantPermission", "role/grant", "root"),
  authRow("RoleRevokePermission", "role/revoke", "root"),

  row(LOCK, "Lock", ["/v3/lock/lock"], "byParts"),
  row(LOCK, "Unlock", ["/v3/lock/unlock"], "byParts"),
  row(ELECTION, "Campaign", ["/v3/election/campaign"], "byParts"),
  row(ELECTION, "Proclaim", ["/v3/election/proclaim"], "byParts"),
  row(ELECTION, "Leader", ["/v3/election/leader"], "byParts"),
  row(ELECTION, "Observe", ["/v3/election/observe"], "byParts", {
    kind: "serverStream",
    request: "LeaderRequest",
    response: "LeaderResponse",
  }),
  row(ELECTION, "Resign", ["/v3/election/resign"], "byParts"),

  row(HEALTH, "Check", [], "none", { request: "HealthCheckRequest", response: "HealthCheckResponse" }),
  row(HEALTH, "Watch", [], "none", {
    kind: "serverStream",
    request: "HealthCheckRequest",
    response: "HealthCheckResponse",
  }),
  row(HEALTH, "List", [], "none", { request: "HealthListRequest", response: "HealthListResponse" }),
];

/** The same rows by path. */
export const methodsByPath: ReadonlyMap<string, MethodRow> = new Map(methods.map((method) => [method.path, method]));
