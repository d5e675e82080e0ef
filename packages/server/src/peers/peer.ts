/**
 * Another member, and the ways messages take to it (raft-and-peers.md §4.3):
 *
 *   MsgSnap ............................. a transfer of its own (snapshot-sender.ts)
 *   MsgApp .............................. its msgapp stream, if it has dialled one
 *   everything else, and then MsgApp .... its message stream, if it has dialled one
 *   otherwise ........................... single requests
 *
 * What comes from it comes over the two streams that we dial.
 */
import { idText } from "@quorate/membership";
import { type Message, MessageType, messageTypeName, type NodeId } from "@quorate/raft";
import type { ServiceUrl } from "../config/urls.ts";
import { AppendEncoder, type EncodedEntries } from "./append-frames.ts";
import { MessageEncoder } from "./message-frames.ts";
import { PeerStatus } from "./peer-status.ts";
import type { PeerSurroundings } from "./peer-surroundings.ts";
import { Pipeline } from "./pipeline.ts";
import { Prober } from "./prober.ts";
import { StreamReader } from "./stream-reader.ts";
import { StreamWriter } from "./stream-writer.ts";
import { UrlPicker } from "./url-picker.ts";

export class Peer {
  readonly id: NodeId;
  readonly status: PeerStatus;
  readonly picker: UrlPicker;
  readonly pipeline: Pipeline;
  readonly appendWriter: StreamWriter;
  readonly messageWriter: StreamWriter;
  readonly #around: PeerSurroundings;
  readonly #appendReader: StreamReader;
  readonly #messageReader: StreamReader;
  readonly #prober: Prober;

  constructor(id: NodeId, urls: readonly ServiceUrl[], around: PeerSurroundings, encoded: EncodedEntries) {
    this.id = id;
    this.#around = around;
    this.status = new PeerStatus(id, around);
    this.picker = new UrlPicker(urls);
    this.pipeline = new Pipeline(id, around, this.status, this.picker);
    this.appendWriter = new StreamWriter("stream MsgApp v2", id, around, this.status, () => new AppendEncoder(encoded));
    this.messageWriter = new StreamWriter("stream Message", id, around, this.status, () => new MessageEncoder());
    this.#appendReader = new StreamReader("stream MsgApp v2", id, around, this.status, this.picker);
    this.#messageReader = new StreamReader("stream Message", id, around, this.status, this.picker);
    this.#prober = new Prober(id, around, this.picker);
  }

  /** Never a MsgSnap. What cannot be taken is dropped and reported. */
  send(message: Message): void {
    const isTaken =
      message.type === MessageType.App && this.appendWriter.isAttached
        ? this.appendWriter.offer(message)
        : this.messageWriter.isAttached
          ? this.messageWriter.offer(message)
          : this.pipeline.offer(message);
    if (!isTaken) dropped(message, this.status, this.#around);
  }

  flush(): void {
    this.appendWriter.flush();
    this.messageWriter.flush();
  }

  heartbeat(): void {
    this.appendWriter.heartbeat();
    this.messageWriter.heartbeat();
  }

  cutStalled(): void {
    this.appendWriter.cutIfStalled();
    this.messageWriter.cutIfStalled();
  }

  move(urls: readonly ServiceUrl[]): void {
    this.picker.update(urls);
    this.#appendReader.redial();
    this.#messageReader.redial();
  }

  stop(): void {
    this.#prober.stop();
    this.#appendReader.stop();
    this.#messageReader.stop();
    this.appendWriter.close();
    this.messageWriter.close();
    this.pipeline.stop();
    this.status.end();
  }
}

/** Somebody who is no member of our configuration (yet), and is answered by single requests. */
export class Remote {
  readonly #around: PeerSurroundings;
  readonly #status: PeerStatus;
  readonly #pipeline: Pipeline;

  constructor(id: NodeId, urls: readonly ServiceUrl[], around: PeerSurroundings) {
    this.#around = around;
    this.#status = new PeerStatus(id, around);
    this.#pipeline = new Pipeline(id, around, this.#status, new UrlPicker(urls));
  }

  send(message: Message): void {
    if (!this.#pipeline.offer(message)) dropped(message, this.#status, this.#around);
  }

  stop(): void {
    this.#pipeline.stop();
    this.#status.end();
  }
}

function dropped(message: Message, status: PeerStatus, { local, log, metrics, news }: PeerSurroundings): void {
  log.warn("dropped internal Raft message since sending buffer is full", {
    "message-type": messageTypeName(message.type),
    "local-member-id": idText(local.memberId),
    from: idText(message.from),
    "remote-peer-id": idText(message.to),
    "remote-peer-active": status.activeSinceMs !== null,
  });
  metrics.of(message.to).sendFailures.add();
  news.unreachable(message.to);
}
