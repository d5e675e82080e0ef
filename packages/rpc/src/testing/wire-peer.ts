/**
 * The other end of a connection, frame by frame: builds any frame, legal or not, and reads what we answer. For protocol
 * and attack tests; it obeys no rule by itself.
 */
import { HpackDecoder } from "../hpack/decoder.ts";
import { literalBlock } from "../hpack/encoder.ts";
import { clientPreface, FrameFlag, FrameType, maxFrameBytes, readUint32, writeFrameHeader } from "../http2/frame.ts";
import type { RpcServer } from "../server/server.ts";
import type { ServerConnection } from "../server/server-connection.ts";
import { FakeSocket } from "./fake-socket.ts";
import type { ManualWorld } from "./manual-world.ts";

export interface WireFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
  /** Of HEADERS: the decoded fields. */
  readonly fields: ReadonlyMap<string, string>;
}

export function frame(type: number, flags: number, streamId: number, payload: Uint8Array = none): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  writeFrameHeader(bytes, 0, payload.length, type, flags, streamId);
  bytes.set(payload, 9);
  return bytes;
}

export function uint32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => {
    bytes.writeUInt32BE(value >>> 0, i * 4);
  });
  return bytes;
}

export function settings(...entries: [id: number, value: number][]): Buffer {
  const payload = Buffer.alloc(entries.length * 6);
  entries.forEach(([id, value], i) => {
    payload.writeUInt16BE(id, i * 6);
    payload.writeUInt32BE(value >>> 0, i * 6 + 2);
  });
  return frame(FrameType.Settings, 0, 0, payload);
}

/** A gRPC message with its prefix. */
export function message(bytes: Uint8Array | string, compressed = 0): Buffer {
  const body = Buffer.from(bytes as Uint8Array);
  const framed = Buffer.alloc(5 + body.length);
  framed[0] = compressed;
  framed.writeUInt32BE(body.length, 1);
  body.copy(framed, 5);
  return framed;
}

export function requestFields(path: string, more: readonly (readonly [string, string])[] = []): [string, string][] {
  return [
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", "test"],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
    ...more.map(([name, value]): [string, string] => [name, value]),
  ];
}

export class WirePeer {
  readonly socket: FakeSocket = new FakeSocket();
  readonly connection: ServerConnection;
  readonly #world: ManualWorld;
  readonly #decoder: HpackDecoder = new HpackDecoder();
  #rest: Buffer = none;

  constructor(server: RpcServer, world: ManualWorld, greet = true) {
    this.#world = world;
    this.connection = server.accept(this.socket.asDuplex()) as ServerConnection;
    if (!greet) return;
    this.send(clientPreface, settings());
    this.frames();
  }

  /** Sends bytes as one chunk, and lets the server's turn end. */
  send(...parts: Uint8Array[]): void {
    this.socket.emit("data", Buffer.concat(parts));
    this.#world.turn();
  }

  headers(
    streamId: number,
    fields: readonly (readonly [string, string])[],
    flags: number = FrameFlag.EndHeaders,
  ): Buffer {
    return frame(FrameType.Headers, flags, streamId, literalBlock(fields));
  }

  /** A whole unary request. */
  request(streamId: number, path: string, body: Uint8Array | string, more: [string, string][] = []): Buffer {
    const parts = [this.headers(streamId, requestFields(path, more))];
    const bytes = message(body);
    for (let at = 0; at < bytes.length; at += maxFrameBytes) {
      const piece = bytes.subarray(at, at + maxFrameBytes);
      const flags = at + piece.length === bytes.length ? FrameFlag.EndStream : 0;
      parts.push(frame(FrameType.Data, flags, streamId, piece));
    }
    return Buffer.concat(parts);
  }

  /** The frames that came since the last call. */
  frames(): WireFrame[] {
    this.#world.turn();
    this.#rest = Buffer.concat([this.#rest, this.socket.take()]);
    const frames: WireFrame[] = [];
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) break;
      const type = this.#rest[3]!;
      const payload = this.#rest.subarray(9, 9 + length);
      const fields = new Map<string, string>();
      if (type === FrameType.Headers) {
        this.#decoder.decode(payload, 0, payload.length, {
          field(field) {
            fields.set(field.name, field.value);
          },
        });
      }
      frames.push({ type, flags: this.#rest[4]!, streamId: this.#rest.readUInt32BE(5), payload, fields });
      this.#rest = this.#rest.subarray(9 + length);
    }
    return frames;
  }

  /** What the server says of the connection or of a stream, in a word: for tables of expectations. */
  verdict(): string {
    const words: string[] = [];
    for (const { type, flags, streamId, payload, fields } of this.frames()) {
      if (type === FrameType.GoAway) words.push(`goaway ${payload.readUInt32BE(4)}`);
      else if (type === FrameType.RstStream) words.push(`reset ${streamId} ${readUint32(payload, 0)}`);
      else if (type === FrameType.Headers && fields.has("grpc-status")) {
        words.push(`status ${streamId} ${fields.get("grpc-status")}`);
      } else if (type === FrameType.Headers && fields.get(":status") !== "200") {
        words.push(`http ${streamId} ${fields.get(":status")}`);
      } else if (type === FrameType.Ping && (flags & FrameFlag.Ack) !== 0) words.push("pong");
      else if (type === FrameType.Settings && (flags & FrameFlag.Ack) !== 0) words.push("settings ack");
    }
    return words.join(", ");
  }
}

const none: Buffer = Buffer.alloc(0);
