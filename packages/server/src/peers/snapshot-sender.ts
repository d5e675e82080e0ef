/**
 * Snapshots to members, POST /raft/snapshot. The body is the message and then the file, read from the disk as fast as the
 * connection takes it, one chunk in memory (SN-08):
 *
 *   u64be length | MsgSnap | bbolt file … end        trailer X-Quorate-Crc32: of all of the body, if anybody looks
 *
 * One transfer per member, OUTGOING_SNAPSHOTS in all (SN-06). Whatever becomes of it is reported, and the file released,
 * once. A member that gets one already gets no second: raft hears of the end of the first.
 */
import { createReadStream } from "node:fs";
import type { ClientRequest } from "node:http";
import { crc32 } from "node:zlib";
import { idText } from "@quorate/membership";
import type { Message, NodeId } from "@quorate/raft";
import type { Timer } from "@quorate/world";
import type { ServiceUrl } from "../config/urls.ts";
import type { PeerSeries } from "../metrics/peer-metrics.ts";
import { headerOf, requestHeaders } from "./compatibility.ts";
import { OUTGOING_SNAPSHOTS, SNAPSHOT_ANSWER_MS, SNAPSHOT_CHUNK_BYTES } from "./limits.ts";
import { encodeFrame } from "./message-frames.ts";
import type { Peer } from "./peer.ts";
import type { OutgoingSnapshot } from "./peer-network.ts";
import type { PeerSurroundings } from "./peer-surroundings.ts";
import { readSmallBody } from "./small-body.ts";

/** Go ignores trailers it was not asked for. CRC-32, which is fast in Node, as eight hex digits (SN-07). */
export const CHECKSUM_TRAILER = "X-Quorate-Crc32";

export class SnapshotSender {
  readonly #around: PeerSurroundings;
  readonly #slots = new Map<NodeId, Slot>();

  constructor(around: PeerSurroundings) {
    this.#around = around;
  }

  send(message: Message, peer: Peer): void {
    const { news, log, metrics } = this.#around;
    const { to } = message;
    const { failures } = metrics.of(to).snapshots;
    if (this.#slots.has(to)) {
      log.debug("snapshot is being sent already", { "remote-peer-id": idText(to) });
      return;
    }
    if (this.#slots.size >= OUTGOING_SNAPSHOTS) {
      log.warn("too many snapshots are being sent", { "remote-peer-id": idText(to) });
      failures.add();
      news.snapshotEnded(to, "failed");
      return;
    }
    const slot: Slot = { transfer: null };
    this.#slots.set(to, slot);
    const free = (): void => {
      if (this.#slots.get(to) === slot) this.#slots.delete(to);
    };
    news.openSnapshot(message, (error, snapshot) => {
      if (snapshot === null) {
        failures.add();
        log.warn("failed to open a database snapshot to send", { "remote-peer-id": idText(to), error });
        if (this.#slots.get(to) === slot) news.snapshotEnded(to, "failed");
        free();
      } else if (this.#slots.get(to) === slot) {
        slot.transfer = new Transfer(snapshot, peer, this.#around, free);
      } else {
        snapshot.release();
      }
    });
  }

  /** The member is gone, or, null, everything stops. */
  cancel(id: NodeId | null): void {
    for (const [each, slot] of [...this.#slots]) {
      if (id !== null && each !== id) continue;
      this.#slots.delete(each);
      slot.transfer?.finish("stopped");
    }
  }
}

/** What a member's snapshot occupies, from the asking to the end. */
interface Slot {
  /** null while the file is being made. */
  transfer: Transfer | null;
}

class Transfer {
  readonly #snapshot: OutgoingSnapshot;
  readonly #peer: Peer;
  readonly #around: PeerSurroundings;
  readonly #ended: () => void;
  readonly #series: PeerSeries;
  readonly #envelope: Buffer;
  readonly #startedMs: number;
  readonly #url: ServiceUrl;
  readonly #request: ClientRequest;
  readonly #file: ReturnType<typeof createReadStream>;
  #isFinished = false;
  /** When the connection last took something. */
  #movedMs: number;
  #isSent = false;
  #stalls: Timer | null = null;

  constructor(snapshot: OutgoingSnapshot, peer: Peer, around: PeerSurroundings, ended: () => void) {
    this.#snapshot = snapshot;
    this.#peer = peer;
    this.#around = around;
    this.#ended = ended;
    this.#series = around.metrics.of(snapshot.message.to);
    this.#series.snapshots.inFlight.value++;
    this.#envelope = encodeFrame(snapshot.message);
    this.#startedMs = around.clock.monotonicMs();
    this.#movedMs = this.#startedMs;
    around.log.info("sending database snapshot", this.#fields());
    this.#url = peer.picker.pick();
    this.#request = around.dialer.request(this.#url, {
      method: "POST",
      path: "/raft/snapshot",
      headers: {
        ...requestHeaders(around.local),
        "Content-Type": "application/octet-stream",
        "Transfer-Encoding": "chunked",
        Trailer: CHECKSUM_TRAILER,
      },
    });
    this.#request.on("error", (error) => this.finish(error.message));
    this.#request.on("close", () => this.finish("connection closed"));
    this.#request.on("response", (response) => {
      readSmallBody(response, { silenceMs: around.timeouts.readMs }, (body) => {
        const clusterId = headerOf(response.headers, "x-etcd-cluster-id");
        const text = body?.toString("utf8").trimEnd() ?? "";
        this.finish(this.#peer.pipeline.problemOf(response.statusCode ?? 0, text, clusterId));
      });
    });
    this.#file = createReadStream(snapshot.path, { highWaterMark: SNAPSHOT_CHUNK_BYTES });
    this.#file.on("error", (error) => this.finish(error.message));
    this.#upload();
    this.#watch();
  }

  #upload(): void {
    const request = this.#request;
    const envelope = this.#envelope;
    let checksum = crc32(envelope);
    let sentBytes = 0;
    request.write(envelope);
    request.on("drain", () => {
      this.#movedMs = this.#around.clock.monotonicMs();
      this.#file.resume();
    });
    this.#file.on("data", (chunk) => {
      checksum = crc32(chunk as Buffer, checksum);
      sentBytes += chunk.length;
      if (!request.write(chunk)) this.#file.pause();
    });
    this.#file.on("end", () => {
      if (sentBytes !== this.#snapshot.sizeBytes) {
        this.finish(`snapshot file has ${sentBytes} bytes, not ${this.#snapshot.sizeBytes}`);
        return;
      }
      this.#isSent = true;
      this.#movedMs = this.#around.clock.monotonicMs();
      request.addTrailers({ [CHECKSUM_TRAILER]: checksum.toString(16).padStart(8, "0") });
      request.end();
    });
  }

  /** The other side may take long to sync what it got, but not to take what we send. */
  #watch(): void {
    const { writeMs } = this.#around.timeouts;
    this.#stalls = this.#around.timers.after(writeMs, () => {
      const limitMs = this.#isSent ? SNAPSHOT_ANSWER_MS : 6 * writeMs;
      if (this.#around.clock.monotonicMs() - this.#movedMs > limitMs) this.finish("i/o timeout");
      else this.#watch();
    });
  }

  /** null: it has arrived and been taken. Later calls do nothing. */
  finish(problem: string | null): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.#ended();
    this.#count(problem === null);
    const { log, news } = this.#around;
    const { to } = this.#snapshot.message;
    this.#stalls?.cancel();
    this.#file.destroy();
    this.#request.destroy();
    this.#snapshot.release();
    if (problem === null) {
      this.#peer.status.activate();
      log.info("sent database snapshot", this.#fields());
      news.snapshotEnded(to, "finished");
    } else {
      log.warn("failed to send database snapshot", { ...this.#fields(), error: problem });
      this.#peer.picker.unreachable(this.#url);
      this.#peer.status.deactivate("post sendMsgSnap", problem);
      news.unreachable(to);
      news.snapshotEnded(to, "failed");
    }
  }

  #count(isSent: boolean): void {
    const { snapshots, sentBytes, sendFailures } = this.#series;
    snapshots.inFlight.value--;
    if (isSent) {
      snapshots.successes.add();
      snapshots.seconds.observe((this.#around.clock.monotonicMs() - this.#startedMs) / 1000);
      sentBytes.add(this.#envelope.length + this.#snapshot.sizeBytes);
    } else {
      snapshots.failures.add();
      sendFailures.add();
    }
  }

  #fields(): Record<string, unknown> {
    const { message, sizeBytes } = this.#snapshot;
    return {
      "snapshot-index": message.snapshot?.metadata.index ?? 0,
      "remote-peer-id": idText(message.to),
      bytes: sizeBytes,
    };
  }
}
