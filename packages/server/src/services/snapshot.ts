/**
 * Maintenance.Snapshot: the database as the file that etcd keeps it in, then the SHA-256 of it (semantics §10). What the
 * client saves is one behind the other, and its size says that the digest is there.
 *
 *   SnapshotResponse {remaining_bytes, blob of 32 KiB, version} ... {remaining_bytes 0, blob} {remaining_bytes 0, digest}
 *
 * The file is made first (client-snapshots.ts), so its size is known with the first message. Then one piece is read, hashed
 * and sent per turn of the loop, and none while the client has not taken the ones before: a put waits for a fraction of a
 * millisecond, and memory for one piece beside what the connection holds back.
 */
import { createHash } from "node:crypto";
import { SnapshotRequest, SnapshotResponse } from "@quorate/api/messages";
import { type CallOwner, type Method, type ServerCall, StatusCode } from "@quorate/rpc";
import { answerWriter, failThrown, failWith, sendWith } from "../answer.ts";
import type { ClientSnapshot, ClientSnapshotTask } from "../member/client-snapshots.ts";
import type { Member } from "../member/member.ts";

/** etcd's. */
export const SNAPSHOT_BLOB_BYTES: number = 32 * 1024;

export function snapshotMethod(member: Member): [string, Method] {
  return [
    "/etcdserverpb.Maintenance/Snapshot",
    {
      kind: "serverStream",
      handle(call, buffer, start, end) {
        try {
          SnapshotRequest.decode(buffer, start, end);
          call.owner = new SnapshotStream(member, call);
        } catch (error) {
          failThrown(call, error);
        }
      },
    },
  ];
}

class SnapshotStream implements CallOwner {
  readonly #member: Member;
  readonly #call: ServerCall;
  readonly #task: ClientSnapshotTask;
  readonly #digest = createHash("sha256");
  readonly #startedMs: number;
  #snapshot: ClientSnapshot | null = null;
  #blob = Buffer.alloc(0);
  #sentBytes = 0;

  /** @throws TooManySnapshots */
  constructor(member: Member, call: ServerCall) {
    this.#member = member;
    this.#call = call;
    this.#startedMs = member.options.clock.monotonicMs();
    this.#task = member.openSnapshot((error, snapshot) => {
      if (snapshot === null) this.#fail(error!);
      else this.#begin(snapshot);
    });
  }

  drained(): void {
    this.#next();
  }

  cancelled(): void {
    const { log } = this.#member.options;
    log.warn("client gave up a database snapshot", { "sent-bytes": this.#sentBytes });
    this.#task.release();
  }

  #begin(snapshot: ClientSnapshot): void {
    this.#snapshot = snapshot;
    const { sizeBytes, storageVersion } = snapshot.cut;
    this.#member.options.log.info("sending database snapshot to client", {
      "total-bytes": sizeBytes,
      "storage-version": storageVersion,
    });
    this.#next();
  }

  /** Reads the next piece, or sends what follows the last one. */
  #next(): void {
    const { cut, file } = this.#snapshot!;
    const leftBytes = cut.sizeBytes - this.#sentBytes;
    if (leftBytes === 0) return this.#end();
    const sizeBytes = Math.min(leftBytes, SNAPSHOT_BLOB_BYTES);
    if (this.#blob.length !== sizeBytes) this.#blob = Buffer.allocUnsafeSlow(sizeBytes);
    file.read(this.#blob, this.#sentBytes, (error, readBytes) => {
      if (error !== null) return this.#fail(error);
      if (readBytes !== sizeBytes) return this.#fail(new Error(`the snapshot's file ends ${leftBytes} bytes early`));
      this.#digest.update(this.#blob);
      this.#sentBytes += sizeBytes;
      const mayGoOn = this.#send(this.#blob);
      this.#member.flush();
      if (mayGoOn) this.#next();
    });
  }

  #end(): void {
    this.#send(this.#digest.digest());
    this.#call.end();
    this.#task.release();
    const { log, clock } = this.#member.options;
    const tookMs = clock.monotonicMs() - this.#startedMs;
    log.info("successfully sent database snapshot to client", { "total-bytes": this.#sentBytes, "took-ms": tookMs });
    this.#member.flush();
  }

  #send(blob: Uint8Array): boolean {
    const { sizeBytes, storageVersion } = this.#snapshot!.cut;
    answerWriter.reset();
    SnapshotResponse.write(answerWriter, {
      remainingBytes: sizeBytes - this.#sentBytes,
      blob,
      version: storageVersion,
    });
    return sendWith(this.#call, answerWriter);
  }

  #fail(error: Error): void {
    this.#task.release();
    const { code } = error as { code?: string };
    this.#member.options.log.warn("failed to send a database snapshot to a client", { error });
    // Given up in storage: the member stops, or the leader's snapshot takes the place of what was being written.
    if (code === "ECANCELED") failWith(this.#call, this.#member.isStopping ? "Stopped" : "LeaderChanged");
    else if (code === "ENOSPC") this.#call.fail(StatusCode.ResourceExhausted, `etcdserver: ${error.message}`);
    else this.#call.fail(StatusCode.Unknown, `etcdserver: ${error.message}`);
    this.#member.flush();
  }
}
