/**
 * The one table of errors a client can see: gRPC code and text for every kind.
 *
 * Who calls: the server's services throw {@link ApiError}, or map another room's error by its `kind`; the client library
 * finds the kind by text. Clients of etcd match errors by their exact text, so texts are API: errors.test.ts holds them
 * against the reference. Some codes look wrong and are kept on purpose, because that is what etcd sends; their lines say so.
 */

/** gRPC status codes. */
export const StatusCode = {
  Ok: 0,
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
export type StatusCode = (typeof StatusCode)[keyof typeof StatusCode];

export interface ErrorRow {
  readonly code: StatusCode;
  readonly message: string;
}

const C = StatusCode;

/** Code and text of every kind: a kind without a row, or a row without a kind, does not compile. */
export const errors: Readonly<Record<ErrorKind, ErrorRow>> = {
  // Keys, values and transactions.
  EmptyKey: { code: C.InvalidArgument, message: "etcdserver: key is not provided" },
  KeyNotFound: { code: C.InvalidArgument, message: "etcdserver: key not found" },
  ValueProvided: { code: C.InvalidArgument, message: "etcdserver: value is provided" },
  LeaseProvided: { code: C.InvalidArgument, message: "etcdserver: lease is provided" },
  TooManyOperations: { code: C.InvalidArgument, message: "etcdserver: too many operations in txn request" },
  DuplicateKey: { code: C.InvalidArgument, message: "etcdserver: duplicate key given in txn request" },
  InvalidClientApiVersion: { code: C.InvalidArgument, message: "etcdserver: invalid client api version" },
  InvalidSortOption: { code: C.InvalidArgument, message: "etcdserver: invalid sort option" },
  Compacted: { code: C.OutOfRange, message: "etcdserver: mvcc: required revision has been compacted" },
  FutureRevision: { code: C.OutOfRange, message: "etcdserver: mvcc: required revision is a future revision" },
  NoSpace: { code: C.ResourceExhausted, message: "etcdserver: mvcc: database space exceeded" },
  RangeStreamSortUnsupported: {
    code: C.Unimplemented,
    message: "RangeStream does not support custom sort orders",
  },
  RangeStreamFilterUnsupported: {
    code: C.Unimplemented,
    message: "RangeStream does not support revision filters",
  },
  RequestTooLarge: { code: C.InvalidArgument, message: "etcdserver: request is too large" },
  WatchCanceled: { code: C.Canceled, message: "etcdserver: watch canceled" },

  // Leases.
  LeaseNotFound: { code: C.NotFound, message: "etcdserver: requested lease not found" },
  LeaseExists: { code: C.FailedPrecondition, message: "etcdserver: lease already exists" },
  LeaseTtlTooLarge: { code: C.OutOfRange, message: "etcdserver: too large lease TTL" },
  NotPrimaryLessor: { code: C.Unknown, message: "not a primary lessor" },

  // Members.
  MemberExists: { code: C.FailedPrecondition, message: "etcdserver: member ID already exist" },
  PeerUrlExists: { code: C.FailedPrecondition, message: "etcdserver: Peer URLs already exists" },
  MemberBadUrls: { code: C.InvalidArgument, message: "etcdserver: given member URLs are invalid" },
  MemberNotFound: { code: C.NotFound, message: "etcdserver: member not found" },
  MemberNotLearner: { code: C.FailedPrecondition, message: "etcdserver: can only promote a learner member" },
  LearnerNotReady: {
    code: C.FailedPrecondition,
    message: "etcdserver: can only promote a learner member which is in sync with leader",
  },
  TooManyLearners: {
    code: C.FailedPrecondition,
    message: "etcdserver: too many learner members in cluster",
  },
  ClusterIdMismatch: { code: C.FailedPrecondition, message: "etcdserver: cluster ID mismatch" },
  // etcd declares FailedPrecondition, but its handler returns an error without a status: Unknown reaches the wire.
  NotEnoughStartedMembers: {
    code: C.Unknown,
    message: "etcdserver: re-configuration failed due to not enough started members",
  },
  UnhealthyCluster: { code: C.Unavailable, message: "etcdserver: unhealthy cluster" },

  // Users, roles and tokens.
  RootUserNotExist: { code: C.FailedPrecondition, message: "etcdserver: root user does not exist" },
  RootRoleNotExist: { code: C.FailedPrecondition, message: "etcdserver: root user does not have root role" },
  UserAlreadyExists: { code: C.FailedPrecondition, message: "etcdserver: user name already exists" },
  UserEmpty: { code: C.InvalidArgument, message: "etcdserver: user name is empty" },
  UserNotFound: { code: C.FailedPrecondition, message: "etcdserver: user name not found" },
  RoleAlreadyExists: { code: C.FailedPrecondition, message: "etcdserver: role name already exists" },
  RoleNotFound: { code: C.FailedPrecondition, message: "etcdserver: role name not found" },
  RoleEmpty: { code: C.InvalidArgument, message: "etcdserver: role name is empty" },
  AuthFailed: {
    code: C.InvalidArgument,
    message: "etcdserver: authentication failed, invalid user ID or password",
  },
  PermissionNotGiven: { code: C.InvalidArgument, message: "etcdserver: permission not given" },
  PermissionDenied: { code: C.PermissionDenied, message: "etcdserver: permission denied" },
  RoleNotGranted: { code: C.FailedPrecondition, message: "etcdserver: role is not granted to the user" },
  PermissionNotGranted: {
    code: C.FailedPrecondition,
    message: "etcdserver: permission is not granted to the role",
  },
  AuthNotEnabled: { code: C.FailedPrecondition, message: "etcdserver: authentication is not enabled" },
  InvalidAuthToken: { code: C.Unauthenticated, message: "etcdserver: invalid auth token" },
  InvalidAuthManagement: { code: C.InvalidArgument, message: "etcdserver: invalid auth management" },
  AuthOldRevision: { code: C.InvalidArgument, message: "etcdserver: revision of auth store is old" },
  NoPasswordUser: {
    code: C.Unknown,
    message: "auth: authentication failed, password was given for no password user",
  },
  VerifyOnly: { code: C.Unknown, message: "auth: token signing attempted with verify-only key" },
  PasswordTooLong: { code: C.Unknown, message: "bcrypt: password length exceeds 72 bytes" },

  // Leadership, time and load.
  NoLeader: { code: C.Unavailable, message: "etcdserver: no leader" },
  NotLeader: { code: C.FailedPrecondition, message: "etcdserver: not leader" },
  LeaderChanged: { code: C.Unavailable, message: "etcdserver: leader changed" },
  NotCapable: { code: C.FailedPrecondition, message: "etcdserver: not capable" },
  Stopped: { code: C.Unavailable, message: "etcdserver: server stopped" },
  Timeout: { code: C.Unavailable, message: "etcdserver: request timed out" },
  TimeoutLeaderFailure: {
    code: C.Unavailable,
    message: "etcdserver: request timed out, possibly due to previous leader failure",
  },
  TimeoutConnectionLost: {
    code: C.Unavailable,
    message: "etcdserver: request timed out, possibly due to connection lost",
  },
  TimeoutWaitAppliedIndex: {
    code: C.Unavailable,
    message: "etcdserver: request timed out, waiting for the applied index took too long",
  },
  TimeoutLeaderTransfer: {
    code: C.Unknown,
    message: "etcdserver: request timed out, leader transfer took too long",
  },
  // etcd declares ResourceExhausted, but its handler returns an error without a status: Unknown reaches the wire.
  TooManyRequests: { code: C.Unknown, message: "etcdserver: too many requests" },
  Corrupt: { code: C.DataLoss, message: "etcdserver: corrupt cluster" },
  NotSupportedForLearner: {
    code: C.FailedPrecondition,
    message: "etcdserver: rpc not supported for learner",
  },
  BadLeaderTransferee: { code: C.FailedPrecondition, message: "etcdserver: bad leader transferee" },
  ProposalDropped: { code: C.Unknown, message: "raft proposal dropped" },
  RaftStopped: { code: C.Unknown, message: "raft: stopped" },
  RequestCanceled: { code: C.Canceled, message: "etcdserver: request canceled" },
  ContextCanceled: { code: C.Canceled, message: "context canceled" },
  ContextDeadlineExceeded: { code: C.DeadlineExceeded, message: "context deadline exceeded" },

  // Versions.
  WrongDowngradeVersionFormat: {
    code: C.InvalidArgument,
    message: "etcdserver: wrong downgrade target version format",
  },
  InvalidDowngradeTargetVersion: {
    code: C.InvalidArgument,
    message: "etcdserver: invalid downgrade target version",
  },
  ClusterVersionUnavailable: {
    code: C.FailedPrecondition,
    message: "etcdserver: cluster version not found during downgrade",
  },
  DowngradeInProgress: {
    code: C.FailedPrecondition,
    message: "etcdserver: cluster has a downgrade job in progress",
  },
  NoInflightDowngrade: { code: C.FailedPrecondition, message: "etcdserver: no inflight downgrade job" },
  UnknownMethod: { code: C.Unknown, message: "etcdserver: unknown method" },

  // Locks and elections. Every other error that leaves these two services keeps its text and loses its code to Unknown.
  LeaderFieldMissing: { code: C.Unknown, message: '"leader" field must be provided' },
  ElectionNoLeader: { code: C.Unknown, message: "election: no leader" },
  ElectionNotLeader: { code: C.Unknown, message: "election: not leader" },
  SessionExpired: { code: C.Unknown, message: "mutex: session is expired" },

  // The transport's own.
  UnknownService: { code: C.NotFound, message: "unknown service" },
  MalformedRequest: {
    code: C.Internal,
    message: "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
  },
};

/** Every error a client can be told of; rooms throw error classes whose literal `kind` is one of these. */
export type ErrorKind =
  | "EmptyKey"
  | "KeyNotFound"
  | "ValueProvided"
  | "LeaseProvided"
  | "TooManyOperations"
  | "DuplicateKey"
  | "InvalidClientApiVersion"
  | "InvalidSortOption"
  | "Compacted"
  | "FutureRevision"
  | "NoSpace"
  | "RangeStreamSortUnsupported"
  | "RangeStreamFilterUnsupported"
  | "RequestTooLarge"
  | "WatchCanceled"
  | "LeaseNotFound"
  | "LeaseExists"
  | "LeaseTtlTooLarge"
  | "NotPrimaryLessor"
  | "MemberExists"
  | "PeerUrlExists"
  | "MemberBadUrls"
  | "MemberNotFound"
  | "MemberNotLearner"
  | "LearnerNotReady"
  | "TooManyLearners"
  | "ClusterIdMismatch"
  | "NotEnoughStartedMembers"
  | "UnhealthyCluster"
  | "RootUserNotExist"
  | "RootRoleNotExist"
  | "UserAlreadyExists"
  | "UserEmpty"
  | "UserNotFound"
  | "RoleAlreadyExists"
  | "RoleNotFound"
  | "RoleEmpty"
  | "AuthFailed"
  | "PermissionNotGiven"
  | "PermissionDenied"
  | "RoleNotGranted"
  | "PermissionNotGranted"
  | "AuthNotEnabled"
  | "InvalidAuthToken"
  | "InvalidAuthManagement"
  | "AuthOldRevision"
  | "NoPasswordUser"
  | "VerifyOnly"
  | "PasswordTooLong"
  | "NoLeader"
  | "NotLeader"
  | "LeaderChanged"
  | "NotCapable"
  | "Stopped"
  | "Timeout"
  | "TimeoutLeaderFailure"
  | "TimeoutConnectionLost"
  | "TimeoutWaitAppliedIndex"
  | "TimeoutLeaderTransfer"
  | "TooManyRequests"
  | "Corrupt"
  | "NotSupportedForLearner"
  | "BadLeaderTransferee"
  | "ProposalDropped"
  | "RaftStopped"
  | "RequestCanceled"
  | "ContextCanceled"
  | "ContextDeadlineExceeded"
  | "WrongDowngradeVersionFormat"
  | "InvalidDowngradeTargetVersion"
  | "ClusterVersionUnavailable"
  | "DowngradeInProgress"
  | "NoInflightDowngrade"
  | "UnknownMethod"
  | "LeaderFieldMissing"
  | "ElectionNoLeader"
  | "ElectionNotLeader"
  | "SessionExpired"
  | "UnknownService"
  | "MalformedRequest";

/** An answer that is an error. The text is the table's: what varies belongs in `cause`, which stays on this side. */
export class ApiError extends Error {
  readonly kind: ErrorKind;
  readonly code: StatusCode;
  constructor(kind: ErrorKind, options?: { cause?: unknown }) {
    super(errors[kind].message, options);
    this.name = "ApiError";
    this.kind = kind;
    this.code = errors[kind].code;
  }
}

const kindsByMessage: ReadonlyMap<string, ErrorKind> = new Map(
  (Object.keys(errors) as ErrorKind[]).map((kind) => [errors[kind].message, kind]),
);

/** The kind with exactly this text, as clients tell errors apart; undefined if no row has it. */
export function errorKindOf(message: string): ErrorKind | undefined {
  return kindsByMessage.get(message);
}

/**
 * WatchResponse.cancel_reason of a watcher that was refused: plain text inside an OK stream, not a status. A watcher
 * cancelled by compaction, or by its client, has none.
 */
export const watchCancelReasons: Readonly<
  Record<
    | "Compacted"
    | "PermissionDenied"
    | "InvalidAuthToken"
    | "AuthOldRevision"
    | "UserEmpty"
    | "EmptyWatcherRange"
    | "DuplicateWatchId",
    string
  >
> = {
  Compacted: errors.Compacted.message,
  PermissionDenied: `rpc error: code = PermissionDenied desc = ${errors.PermissionDenied.message}`,
  InvalidAuthToken: `rpc error: code = Unauthenticated desc = ${errors.InvalidAuthToken.message}`,
  AuthOldRevision: `rpc error: code = InvalidArgument desc = ${errors.AuthOldRevision.message}`,
  UserEmpty: `rpc error: code = InvalidArgument desc = ${errors.UserEmpty.message}`,
  EmptyWatcherRange: "mvcc: watcher range is empty",
  DuplicateWatchId: "mvcc: duplicate watch ID provided on the WatchStream",
};
