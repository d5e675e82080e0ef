/** The client's end of a connection: opens streams, encodes requests, takes header blocks of answers apart. */
import type { Duplex } from "node:stream";
import { type EncodableField, HpackEncoder } from "../hpack/encoder.ts";
import { Connection, type ConnectionOwner } from "../http2/connection.ts";
import { clientPreface, defaultWindowBytes, ErrorCode, maxStreamId, SettingId } from "../http2/frame.ts";
import type { RpcLimits } from "../limits.ts";
import { type ClientCall, ClientStream } from "./call.ts";
import { ResponseHead } from "./response-head.ts";

/** What a client shares with its connections. */
export interface ClientContext extends ConnectionOwner {
  /** More streams may be opened now, or none any more. */
  capacityChanged(connection: ClientConnection): void;
}

/** Until SETTINGS say otherwise. */
const cautiousStreams = 100;

export class ClientConnection extends Connection {
  /** Why the connection ends, for the errors of its calls. */
  goodbye = "connection closed";
  /** The server has answered: whatever goes wrong now is not a failure to connect. */
  isEstablished = false;
  protected readonly isServer = false;
  readonly #context: ClientContext;
  readonly #encoder: HpackEncoder = new HpackEncoder();
  readonly #head: ResponseHead;
  #nextStreamId = 1;
  #maxStreams = cautiousStreams;

  constructor(socket: Duplex, context: ClientContext, limits: RpcLimits) {
    super(socket, context, limits);
    this.#context = context;
    this.#head = new ResponseHead(limits);
    this.output.append(clientPreface, 0, clientPreface.length);
    const settings: [number, number][] = [
      [SettingId.EnablePush, 0],
      [SettingId.MaxHeaderListSize, limits.maxHeaderListBytes],
    ];
    if (limits.streamWindowBytes !== defaultWindowBytes) {
      settings.push([SettingId.InitialWindowSize, limits.streamWindowBytes]);
    }
    this.writeSettings(settings);
  }

  /** A stream can be opened now. */
  get hasRoom(): boolean {
    return !this.isDraining && this.streams.size < this.#maxStreams;
  }

  open(call: ClientCall, fields: readonly EncodableField[]): void {
    const nowMs = this.owner.clock.monotonicMs();
    const stream = new ClientStream(this, this.#nextStreamId, this.peerInitialWindow, nowMs, call);
    this.#nextStreamId += 2;
    // Stream ids are not reused: the last one ends the connection once its streams have (RFC 9113 §5.1.1).
    if (this.#nextStreamId >= maxStreamId) this.isDraining = true;
    let size = 12;
    for (let i = 0; i < fields.length; i++) size += fields[i]!.name.length + fields[i]!.value.length + 12;
    if (scratch.length < size) scratch = Buffer.allocUnsafeSlow(size * 2);
    const length = this.#encoder.encode(fields, scratch, 0);
    this.addStream(stream);
    this.writeHeaders(stream.id, scratch.subarray(0, length), false);
    call.started(stream);
  }

  override forgetStream(stream: ClientStream): void {
    super.forgetStream(stream);
    if (this.isClosing) return;
    this.#context.capacityChanged(this);
    if (this.isDraining && this.streams.size === 0) this.close("drained");
  }

  protected receivePreface(): number {
    return 0;
  }

  protected isIdle(streamId: number): boolean {
    return streamId % 2 === 0 || streamId >= this.#nextStreamId;
  }

  protected receiveHeaders(streamId: number, endsStream: boolean, block: Buffer, start: number, end: number): void {
    const head = this.#head;
    head.begin();
    this.decoder.decode(block, start, end, head);
    const stream = this.streams.get(streamId);
    if (stream === undefined) {
      if (this.isIdle(streamId)) this.fail(ErrorCode.ProtocolError, "protocol", "HEADERS on an idle stream");
      else if (endsStream) this.stopLingering(streamId);
      return;
    }
    if (stream.isRemoteClosed) this.fail(ErrorCode.StreamClosed, "protocol", "HEADERS after END_STREAM");
    else (stream as ClientStream).head(head, endsStream);
  }

  /** Pings of servers are rare and cost us nothing but their answer. */
  protected pingReceived(): void {}

  protected goAwayReceived(lastStreamId: number, code: number, debugText: string): void {
    this.isDraining = true;
    this.goodbye = `server sent GOAWAY, code ${code}${debugText === "" ? "" : `: ${debugText}`}`;
    for (const stream of this.streams.all()) {
      if (stream.id > lastStreamId) (stream as ClientStream).unseen();
    }
    if (this.streams.size === 0 && !this.isClosing) this.close("peer");
    else this.#context.capacityChanged(this);
  }

  protected peerSettings(id: number, value: number): void {
    if (id === SettingId.MaxConcurrentStreams) this.#maxStreams = value;
    else if (id === SettingId.HeaderTableSize) this.#encoder.setPeerTableSize(value);
  }

  protected override settingsApplied(): void {
    if (!this.isEstablished) {
      this.isEstablished = true;
      // No word about streams means no limit.
      if (this.#maxStreams === cautiousStreams) this.#maxStreams = Number.POSITIVE_INFINITY;
    }
    this.#context.capacityChanged(this);
  }

  protected override abortStreams(): void {
    if (this.socketError !== null) this.goodbye = this.socketError.message;
    super.abortStreams();
  }
}

/** Where header blocks are encoded before they are framed. */
let scratch: Buffer = Buffer.allocUnsafeSlow(4096);
