/**
 * A client connection that makes as much gRPC load as one JavaScript thread can: what it sends is prepared bytes, what
 * it reads of an answer is where it ends and, if asked, its messages. Used alike against every server measured, and
 * deliberately not our own client, so that a mistake in that cannot flatter us.
 *
 * Headers are sent as grpc-go sends them: literal with indexing the first time, seven index bytes afterwards. An answer
 * without a message counts as an error, because an error is what gRPC sends without one.
 */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

export interface StreamSink {
  /** One DATA frame's payload, borrowed until return: [1-byte flag, 4-byte length, message] pieced as it came. */
  data(streamId: number, buffer: Buffer, start: number, end: number): void;
  /** The server ended the stream; `hadData` is false for a call that failed. */
  ended(streamId: number, hadData: boolean): void;
  /** The connection has broken or was closed by the server. Without it a break ends the run. Called at most once. */
  lost?(error: Error | null): void;
}

const FRAME_DATA = 0;
const FRAME_HEADERS = 1;
const FRAME_RST_STREAM = 3;
const FRAME_SETTINGS = 4;
const FRAME_PING = 6;
const FRAME_GOAWAY = 7;
const FRAME_WINDOW_UPDATE = 8;
const WINDOW_BYTES = 2 ** 30;
const TOP_UP_BYTES = 2 ** 24;
const INITIAL_PEER_WINDOW_BYTES = 65535;

export class LoadConnection {
  readonly #socket: Socket;
  readonly #sink: StreamSink;
  /** `:scheme` as an index of the static table. */
  readonly #scheme: number;
  readonly #dynamicTable: string[] = [];
  #nextStreamId = 1;
  #out: Buffer = Buffer.allocUnsafe(256 * 1024);
  #outEnd = 0;
  #torn: Buffer | null = null;
  #isLost = false;
  #consumed = 0;
  readonly #hadData = new Set<number>();
  readonly #token: string | null;
  readonly #blocks = new Map<string, Buffer>();
  #blocksTableSize = -1;
  /** What the server still lets us send on the whole connection. */
  #peerWindow = INITIAL_PEER_WINDOW_BYTES;
  #blocked: { at: number; frame: Buffer }[] = [];

  private constructor(socket: Socket, sink: StreamSink, isTls: boolean, token: string | null) {
    this.#socket = socket;
    this.#token = token;
    this.#sink = sink;
    this.#scheme = isTls ? 0x87 : 0x86;
    socket.setNoDelay(true);
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.on("error", (error) => this.#lost(error));
    socket.on("close", () => this.#lost(null));
    this.#write(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    const settings = Buffer.alloc(12);
    settings.writeUInt16BE(4, 0); // INITIAL_WINDOW_SIZE
    settings.writeUInt32BE(WINDOW_BYTES, 2);
    settings.writeUInt16BE(5, 6); // MAX_FRAME_SIZE
    settings.writeUInt32BE(2 ** 20, 8);
    this.#writeFrame(FRAME_SETTINGS, 0, 0, settings);
    this.#topUp(WINDOW_BYTES - INITIAL_PEER_WINDOW_BYTES);
    this.flush();
  }

  /**
   * With TLS the server's certificate is not checked: it was made for this run. `token`: what every call presents as who
   * it is from, sent as etcd's client does.
   */
  static open(port: number, sink: StreamSink, isTls = false, token: string | null = null): Promise<LoadConnection> {
    const to = { port, host: "127.0.0.1" };
    return new Promise((resolve, reject) => {
      const socket = isTls ? connectTls({ ...to, ALPNProtocols: ["h2"], rejectUnauthorized: false }) : connect(to);
      socket.once("error", reject);
      socket.once(isTls ? "secureConnect" : "connect", () => {
        socket.off("error", reject);
        resolve(new LoadConnection(socket, sink, isTls, token));
      });
    });
  }

  /** Starts a call; its only message if `endStream`. Returns the stream id. Nothing is sent before {@link flush}. */
  call(path: string, message: Buffer, endStream: boolean): number {
    const id = this.#nextStreamId;
    this.#nextStreamId += 2;
    const block = this.#headerBlock(path);
    this.#writeFrame(FRAME_HEADERS, 0x4, id, block);
    this.send(id, message, endStream);
    return id;
  }

  send(streamId: number, message: Buffer, endStream: boolean): void {
    const size = 5 + message.length;
    this.#ensure(9 + size);
    const out = this.#out;
    let at = this.#outEnd;
    out.writeUIntBE(size, at, 3);
    out[at + 3] = FRAME_DATA;
    out[at + 4] = endStream ? 1 : 0;
    out.writeUInt32BE(streamId, at + 5);
    at += 9;
    out[at] = 0;
    out.writeUInt32BE(message.length, at + 1);
    message.copy(out, at + 5);
    if (this.#peerWindow < size) {
      this.#blocked.push({ at: size, frame: Buffer.from(out.subarray(this.#outEnd, at + size)) });
      return;
    }
    this.#peerWindow -= size;
    this.#outEnd = at + size;
  }

  flush(): void {
    if (this.#outEnd === 0) return;
    this.#socket.write(Buffer.from(this.#out.subarray(0, this.#outEnd)));
    this.#outEnd = 0;
  }

  close(): void {
    // What breaks from now on is nobody's business.
    this.#isLost = true;
    this.#socket.destroy();
  }

  #lost(error: Error | null): void {
    if (this.#isLost) return;
    this.#isLost = true;
    if (this.#sink.lost !== undefined) this.#sink.lost(error);
    else if (error !== null) throw error;
  }

  #receive(chunk: Buffer): void {
    let buffer = chunk;
    if (this.#torn !== null) {
      buffer = Buffer.concat([this.#torn, chunk]);
      this.#torn = null;
    }
    let at = 0;
    while (buffer.length - at >= 9) {
      const length = (buffer[at]! << 16) | (buffer[at + 1]! << 8) | buffer[at + 2]!;
      if (buffer.length - at < 9 + length) break;
      this.#frame(buffer, at, length);
      at += 9 + length;
    }
    if (at < buffer.length) this.#torn = at === 0 ? buffer : Buffer.from(buffer.subarray(at));
    if (this.#consumed > TOP_UP_BYTES) {
      this.#topUp(this.#consumed);
      this.#consumed = 0;
    }
    this.flush();
  }

  #frame(buffer: Buffer, at: number, length: number): void {
    const type = buffer[at + 3]!;
    const flags = buffer[at + 4]!;
    const streamId = buffer.readUInt32BE(at + 5) & 0x7fffffff;
    const start = at + 9;
    switch (type) {
      case FRAME_DATA:
        this.#consumed += length;
        if (length > 0) {
          this.#hadData.add(streamId);
          this.#sink.data(streamId, buffer, start, start + length);
        }
        if (flags & 1) this.#end(streamId);
        break;
      case FRAME_HEADERS:
        if (flags & 1) this.#end(streamId);
        break;
      case FRAME_RST_STREAM:
        this.#hadData.delete(streamId);
        this.#sink.ended(streamId, false);
        break;
      case FRAME_SETTINGS:
        if (!(flags & 1)) this.#writeFrame(FRAME_SETTINGS, 1, 0, Buffer.alloc(0));
        break;
      case FRAME_PING:
        if (!(flags & 1)) this.#writeFrame(FRAME_PING, 1, 0, Buffer.from(buffer.subarray(start, start + 8)));
        break;
      case FRAME_WINDOW_UPDATE:
        if (streamId === 0) {
          this.#peerWindow += buffer.readUInt32BE(start);
          this.#unblock();
        }
        break;
      case FRAME_GOAWAY:
        // Code 0 is a server that stops in peace.
        if (buffer.readUInt32BE(start + 4) === 0) break;
        throw new Error(
          `the server sent GOAWAY ${buffer.readUInt32BE(start + 4)}: ${buffer.toString("utf8", start + 8, start + length)}`,
        );
      default:
    }
  }

  #end(streamId: number): void {
    this.#sink.ended(streamId, this.#hadData.delete(streamId));
  }

  #unblock(): void {
    while (this.#blocked.length > 0 && this.#blocked[0]!.at <= this.#peerWindow) {
      const { at, frame } = this.#blocked.shift()!;
      this.#peerWindow -= at;
      this.#write(frame);
    }
  }

  #topUp(bytes: number): void {
    const increment = Buffer.alloc(4);
    increment.writeUInt32BE(bytes);
    this.#writeFrame(FRAME_WINDOW_UPDATE, 0, 0, increment);
  }

  #headerBlock(path: string): Buffer {
    const cached = this.#blocksTableSize === this.#dynamicTable.length ? this.#blocks.get(path) : undefined;
    if (cached !== undefined) return cached;
    const tableSize = this.#dynamicTable.length;
    const parts: Buffer[] = [Buffer.from([0x83, this.#scheme])]; // :method POST
    for (const [name, value] of headersOf(path, this.#token)) {
      const known = this.#dynamicTable.indexOf(`${name}:${value}`);
      if (known >= 0) {
        const index = 62 + known;
        parts.push(index < 127 ? Buffer.from([0x80 | index]) : Buffer.from([0xff, index - 127]));
      } else {
        parts.push(
          Buffer.from([0x40, name.length]),
          Buffer.from(name),
          Buffer.from([value.length]),
          Buffer.from(value),
        );
        this.#dynamicTable.unshift(`${name}:${value}`);
      }
    }
    const block = Buffer.concat(parts);
    if (this.#dynamicTable.length === tableSize) {
      // Every header is an index now, and stays the same one until another path is inserted.
      if (this.#blocksTableSize !== tableSize) this.#blocks.clear();
      this.#blocksTableSize = tableSize;
      this.#blocks.set(path, block);
    }
    return block;
  }

  #writeFrame(type: number, flags: number, streamId: number, payload: Buffer): void {
    this.#ensure(9 + payload.length);
    const out = this.#out;
    const at = this.#outEnd;
    out.writeUIntBE(payload.length, at, 3);
    out[at + 3] = type;
    out[at + 4] = flags;
    out.writeUInt32BE(streamId, at + 5);
    payload.copy(out, at + 9);
    this.#outEnd = at + 9 + payload.length;
  }

  #write(bytes: Buffer): void {
    this.#ensure(bytes.length);
    bytes.copy(this.#out, this.#outEnd);
    this.#outEnd += bytes.length;
  }

  #ensure(bytes: number): void {
    if (this.#outEnd + bytes <= this.#out.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#out.length * 2, this.#outEnd + bytes));
    this.#out.copy(grown, 0, 0, this.#outEnd);
    this.#out = grown;
  }
}

function headersOf(path: string, token: string | null): [string, string][] {
  return [
    [":path", path],
    [":authority", "127.0.0.1:2379"],
    ["content-type", "application/grpc"],
    ["user-agent", "load/1"],
    ["te", "trailers"],
    ...(token === null ? [] : [["token", token] satisfies [string, string]]),
  ];
}
