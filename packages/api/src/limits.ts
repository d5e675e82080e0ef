/**
 * Limits of the wire: what etcd's protocol fixes or its defaults promise, each with its reason. A server's own limits
 * (queues, buffers, lag) stand with the code that keeps them. Values marked "default" are configurable and this is what
 * they are when nobody says otherwise.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

/** Default of max-request-bytes: a whole log entry, header included. Bounds what one write can cost every member. */
export const MAX_REQUEST_BYTES: number = 1.5 * MIB;

/** What a gRPC message may exceed max-request-bytes by: room for fields that do not go into the log. */
export const GRPC_OVERHEAD_BYTES: number = 512 * KIB;

/** Default of the largest message received; also the size at which a fragmented watch response is cut. */
export const MAX_RECEIVE_BYTES: number = MAX_REQUEST_BYTES + GRPC_OVERHEAD_BYTES;

/** Default of max-txn-ops, per level and shared with the levels below: bounds the work of one log entry. */
export const MAX_TXN_OPS = 128;

/** Longest lease, about 285 years: an expiry in nanoseconds must fit int64 in etcd. */
export const MAX_LEASE_TTL_SECONDS = 9_000_000_000;

/** Bytes of the database in one SnapshotResponse; etcdctl and etcdutl are used to it. */
export const SNAPSHOT_CHUNK_BYTES: number = 32 * KIB;

/** Keys in the first chunk of RangeStream: a first answer fast, before sizes are known. Later chunks adapt. */
export const RANGE_STREAM_FIRST_LIMIT = 10;

/** Body of a keepalive one member forwards to another: one id, with room for whatever a newer member adds. */
export const PEER_LEASE_REQUEST_BYTES: number = 64 * KIB;

/** Body of a forwarded TimeToLive's answer: it lists every key of a lease. */
export const PEER_LEASE_RESPONSE_BYTES: number = 100 * MIB;

/** bcrypt reads no more of a password; what lies beyond would be ignored silently, so it is refused. */
export const MAX_PASSWORD_BYTES = 72;
