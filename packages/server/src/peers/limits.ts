/** The bounds of everything peers may make us keep or wait for, each with its reason. Where etcd has one, it is etcd's. */

/**
 * What a connection between members may keep us waiting for before it counts as dead. Chosen by --raft-read-timeout and
 * --raft-write-timeout, and meant to be the same for all members: heartbeats fill a third of what the reader waits.
 */
export interface LinkTimeouts {
  /** Silence. A heartbeat comes three times in it. */
  readonly readMs: number;
  /** A write that gets nowhere. */
  readonly writeMs: number;
}

export function linkHeartbeatMs({ readMs }: LinkTimeouts): number {
  return readMs / 3;
}

/** A stream reader dials at most this often. */
export const DIAL_INTERVAL_MS = 100;
/** Added to the election timeout: how long a connection may take to come about. */
export const DIAL_EXTRA_MS = 1_000;
/** On top of the dial, as etcd's. */
export const TLS_HANDSHAKE_MS = 10_000;

/** Messages waiting for one stream. */
export const STREAM_QUEUE_MESSAGES = 4096;
/** Bytes of them; most are shared with the log, so that this bounds what a slow follower adds, not what it holds. */
export const STREAM_QUEUE_BYTES: number = 64 * 1024 * 1024;
/** Encoded bytes of one write: what a turn of a busy leader gathers, and the most a stream holds twice. */
export const STREAM_WRITE_BYTES: number = 1024 * 1024;
/** No more is encoded while the socket still has this much. */
export const STREAM_BACKLOG_BYTES: number = 2 * STREAM_WRITE_BYTES;

/** Messages waiting to be posted to one peer, and how many are posted at once. */
export const PIPELINE_QUEUE_MESSAGES = 64;
export const PIPELINE_CONNECTIONS = 4;
/** A post that got no answer. etcd waits for ever; a lost answer would occupy a connection as long. */
export const PIPELINE_ANSWER_MS = 10_000;
/** etcd closes connections that were idle for 5 s; a request that crosses with that close is lost. */
export const IDLE_CONNECTION_MS = 3_500;

/** One framed message; etcd's limit. Memory grows with what has arrived, not with what a length claims. */
export const MESSAGE_BYTES: number = 512 * 1024 * 1024;
/** A message posted alone is held whole while it arrives, by anyone who knows the cluster id. */
export const POSTED_MESSAGE_BYTES: number = 64 * 1024 * 1024;
/** All of them that are being read at one time; beyond that, 503. */
export const POSTED_BYTES: number = 4 * POSTED_MESSAGE_BYTES;
/** The message before the file in a snapshot's body; etcd's limit (SN-08). */
export const SNAPSHOT_ENVELOPE_BYTES: number = 64 * 1024 * 1024;
/** Bodies of lease requests, hash requests; etcd's limit. */
export const SMALL_BODY_BYTES: number = 64 * 1024;

export const OUTGOING_SNAPSHOTS = 16;
/** Only a leader sends them, so more than one or two are an accident. */
export const INCOMING_SNAPSHOTS = 4;
/** From the last byte sent to the answer: the other side syncs the file and restores from it. */
export const SNAPSHOT_ANSWER_MS = 300_000;
/** Bytes read from the file at once. */
export const SNAPSHOT_CHUNK_BYTES: number = 256 * 1024;
/** Bytes written to the file at once. */
export const SNAPSHOT_PIECE_BYTES: number = 1024 * 1024;
/** Parts of them, as they came. */
export const SNAPSHOT_PIECE_CHUNKS = 1024;

/** Senders we do not know that may register themselves. */
export const REMOTES = 128;

export const PROBE_INTERVAL_MS = 4_000;
/** How often an unhealthy peer is logged. */
export const PROBE_WARN_MS = 5_000;
export const CLOCK_DRIFT_MS = 1_000;
