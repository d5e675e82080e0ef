/**
 * The rules of RFC 9113, one row each, in the spirit of h2spec: what a client sends after the greeting, and what the
 * server must say. Every row is also played byte by byte.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { literalBlock } from "../hpack/encoder.ts";
import { clientPreface, FrameFlag, FrameType } from "../http2/frame.ts";
import { FakeSocket } from "../testing/fake-socket.ts";
import { ManualWorld } from "../testing/manual-world.ts";
import { CountingObserver, Holding, testMethods } from "../testing/services.ts";
import { frame, message, requestFields, settings, uint32, WirePeer } from "../testing/wire-peer.ts";
import type { Method, ServerCall } from "./method.ts";
import { RpcServer } from "./server.ts";

const { EndStream, EndHeaders, Padded, Priority, Ack } = FrameFlag;
const holdPath = "/t.Test/Hold";
const chatPath = "/t.Test/Chat";

function head(streamId: number, path = chatPath, flags: number = EndHeaders): Buffer {
  return frame(FrameType.Headers, flags, streamId, literalBlock(requestFields(path)));
}
function fields(streamId: number, list: [string, string][], flags: number = EndHeaders | EndStream): Buffer {
  return frame(FrameType.Headers, flags, streamId, literalBlock(list));
}
function data(streamId: number, bytes: Uint8Array, flags = 0): Buffer {
  return frame(FrameType.Data, flags, streamId, bytes);
}
const hello = message("hello");
const base = requestFields(chatPath);
const without = (name: string) => base.filter(([other]) => other !== name);

/** [what, frames, verdict]. A verdict of GOAWAY or reset names the error code. */
const rows: [claim: string, sent: Buffer[], verdict: string][] = [
  // §4
  [
    "unknown frame types are ignored",
    [frame(0x16, 0xff, 0, Buffer.alloc(8)), frame(FrameType.Ping, 0, 0, Buffer.alloc(8))],
    "pong",
  ],
  ["reserved bits are ignored", [frame(FrameType.Ping, 0xfe, 0, Buffer.alloc(8))], "pong"],
  ["an unknown frame inside a header block is an error", [head(1, chatPath, 0), frame(0x16, 0, 1)], "goaway 1"],
  ["another stream's HEADERS inside a header block is an error", [head(1, chatPath, 0), head(3)], "goaway 1"],
  [
    "CONTINUATION of another stream is an error",
    [head(1, chatPath, 0), frame(FrameType.Continuation, 4, 3)],
    "goaway 1",
  ],
  [
    "a broken header block is a compression error",
    [frame(FrameType.Headers, 5, 1, Buffer.from([0xff, 0xff]))],
    "goaway 9",
  ],
  [
    "a header block may come in pieces",
    [
      frame(FrameType.Headers, EndStream, 1, literalBlock(base).subarray(0, 7)),
      frame(FrameType.Continuation, 0, 1, literalBlock(base).subarray(7, 8)),
      frame(FrameType.Continuation, EndHeaders, 1, literalBlock(base).subarray(8)),
    ],
    "status 1 0",
  ],
  // §5.1
  ["DATA on an idle stream", [data(1, hello)], "goaway 1"],
  ["RST_STREAM on an idle stream", [frame(FrameType.RstStream, 0, 1, uint32(8))], "goaway 1"],
  ["WINDOW_UPDATE on an idle stream", [frame(FrameType.WindowUpdate, 0, 1, uint32(1))], "goaway 1"],
  ["CONTINUATION on an idle stream", [frame(FrameType.Continuation, 4, 1)], "goaway 1"],
  ["DATA after END_STREAM", [head(1, holdPath), data(1, hello, EndStream), data(1, hello)], "goaway 5"],
  ["HEADERS after END_STREAM", [head(1, holdPath), data(1, hello, EndStream), head(1)], "goaway 5"],
  [
    "WINDOW_UPDATE and PRIORITY after END_STREAM are fine",
    [
      head(1, holdPath),
      data(1, hello, EndStream),
      frame(FrameType.WindowUpdate, 0, 1, uint32(9)),
      frame(FrameType.Priority, 0, 1, uint32(0, 0).subarray(0, 5)),
    ],
    "",
  ],
  [
    "DATA after the client's own reset",
    [head(1), frame(FrameType.RstStream, 0, 1, uint32(8)), data(1, hello)],
    "goaway 5",
  ],
  ["HEADERS after the client's own reset", [head(1), frame(FrameType.RstStream, 0, 1, uint32(8)), head(1)], "goaway 5"],
  [
    "DATA on a stream closed by both",
    [head(1, "/t.Test/Echo"), data(1, hello, EndStream), data(1, hello)],
    "status 1 0, goaway 5",
  ],
  [
    "HEADERS on a stream closed by both",
    [head(1, "/t.Test/Echo"), data(1, hello, EndStream), head(1)],
    "status 1 0, goaway 5",
  ],
  [
    "WINDOW_UPDATE and RST_STREAM on a closed stream are fine",
    [
      head(1, "/t.Test/Echo"),
      data(1, hello, EndStream),
      frame(FrameType.WindowUpdate, 0, 1, uint32(9)),
      frame(FrameType.RstStream, 0, 1, uint32(8)),
    ],
    "status 1 0",
  ],
  // §5.1.1
  ["an even stream id", [head(2)], "goaway 1"],
  ["a stream id that goes back", [head(5), head(3)], "goaway 1"],
  // §5.3: deprecated, but a stream may still not depend on itself.
  [
    "PRIORITY of a stream on itself",
    [frame(FrameType.Priority, 0, 3, Buffer.concat([uint32(3), Buffer.from([9])]))],
    "goaway 1",
  ],
  [
    "HEADERS of a stream that depends on itself",
    [
      frame(
        FrameType.Headers,
        EndHeaders | Priority,
        1,
        Buffer.concat([uint32(1), Buffer.from([9]), literalBlock(base)]),
      ),
    ],
    "goaway 1",
  ],
  [
    "priority in HEADERS is skipped",
    [
      frame(
        FrameType.Headers,
        EndHeaders | Priority | EndStream,
        1,
        Buffer.concat([uint32(0), Buffer.from([9]), literalBlock(base)]),
      ),
    ],
    "status 1 0",
  ],
  // §6.1, §6.2
  [
    "padding is not part of the message",
    [head(1, "/t.Test/Echo"), data(1, Buffer.concat([Buffer.from([7]), hello, Buffer.alloc(7)]), EndStream | Padded)],
    "status 1 0",
  ],
  ["padding as long as DATA", [head(1), data(1, Buffer.from([4, 0, 0, 0]), Padded)], "goaway 1"],
  ["padding longer than DATA", [head(1), data(1, Buffer.from([200, 0, 0]), Padded)], "goaway 1"],
  ["padded DATA without even a length", [head(1), data(1, Buffer.alloc(0), Padded)], "goaway 1"],
  [
    "padding of HEADERS is skipped",
    [
      frame(
        FrameType.Headers,
        EndHeaders | EndStream | Padded,
        1,
        Buffer.concat([Buffer.from([3]), literalBlock(base), Buffer.alloc(3)]),
      ),
    ],
    "status 1 0",
  ],
  [
    "padding longer than HEADERS",
    [frame(FrameType.Headers, EndHeaders | Padded, 1, Buffer.from([5, 0x82]))],
    "goaway 1",
  ],
  [
    "padding and priority longer than HEADERS",
    [frame(FrameType.Headers, EndHeaders | Padded | Priority, 1, Buffer.from([1, 0, 0, 0]))],
    "goaway 1",
  ],
  // §6.5
  ["SETTINGS are acknowledged, unknown ones ignored", [settings([0xabcd, 7], [1, 0], [6, 1])], "settings ack"],
  ["SETTINGS_ENABLE_PUSH of 2", [settings([2, 2])], "goaway 1"],
  ["SETTINGS_INITIAL_WINDOW_SIZE of 2^31", [settings([4, 0x8000_0000])], "goaway 3"],
  ["SETTINGS_MAX_FRAME_SIZE of 16383", [settings([5, 16_383])], "goaway 1"],
  ["SETTINGS_MAX_FRAME_SIZE of 0", [settings([5, 0])], "goaway 1"],
  ["SETTINGS_MAX_FRAME_SIZE of 2^24", [settings([5, 1 << 24])], "goaway 1"],
  ["an acknowledgement nobody asked for is ignored", [frame(FrameType.Settings, Ack, 0)], ""],
  // §6.7
  [
    "PING is answered, its answer is not",
    [frame(FrameType.Ping, 0, 0, Buffer.alloc(8, 5)), frame(FrameType.Ping, Ack, 0, Buffer.alloc(8, 5))],
    "pong",
  ],
  // §6.8
  ["GOAWAY of an idle client ends the connection", [frame(FrameType.GoAway, 0, 0, uint32(0, 0))], ""],
  // §6.9
  ["WINDOW_UPDATE of 0 on the connection", [frame(FrameType.WindowUpdate, 0, 0, uint32(0))], "goaway 1"],
  ["WINDOW_UPDATE of 0 on a stream", [head(1), frame(FrameType.WindowUpdate, 0, 1, uint32(0))], "reset 1 1"],
  ["the connection's window above 2^31-1", [frame(FrameType.WindowUpdate, 0, 0, uint32(0x7fff_ffff))], "goaway 3"],
  ["a stream's window above 2^31-1", [head(1), frame(FrameType.WindowUpdate, 0, 1, uint32(0x7fff_ffff))], "reset 1 3"],
  [
    "SETTINGS that push a stream's window above 2^31-1",
    [head(1), frame(FrameType.WindowUpdate, 0, 1, uint32(0x7fff_0000)), settings([4, 0x7fff_ffff])],
    "goaway 3",
  ],
  // §8.1
  ["trailers end a request", [head(1), data(1, hello), fields(1, [["x-sum", "1"]])], "status 1 0"],
  ["a second header block without END_STREAM", [head(1), fields(1, [["x", "y"]], EndHeaders)], "reset 1 1"],
  ["a pseudo-header in trailers", [head(1), fields(1, [[":path", "/"]])], "reset 1 1"],
  ["connection-specific trailers", [head(1), fields(1, [["connection", "close"]])], "reset 1 1"],
  // §8.2, §8.3
  ["an upper-case name", [fields(1, [...base, ["X-Up", "v"]])], "reset 1 1"],
  ["an empty name", [fields(1, [...base, ["", "v"]])], "reset 1 1"],
  ["a line break in a value", [fields(1, [...base, ["x", "a\r\nb: c"]])], "reset 1 1"],
  ["a NUL in a value", [fields(1, [...base, ["x", "a\0b"]])], "reset 1 1"],
  ["a pseudo-header after a header", [fields(1, [...without(":path"), [":path", chatPath]])], "reset 1 1"],
  ["an unknown pseudo-header", [fields(1, [[":weird", "1"], ...base])], "reset 1 1"],
  ["a response's pseudo-header", [fields(1, [[":status", "200"], ...base])], "reset 1 1"],
  ["a pseudo-header twice", [fields(1, [[":method", "POST"], ...base])], "reset 1 1"],
  ["no method", [fields(1, without(":method"))], "reset 1 1"],
  ["no scheme", [fields(1, without(":scheme"))], "reset 1 1"],
  ["no path", [fields(1, without(":path"))], "reset 1 1"],
  ["an empty path", [fields(1, [[":path", ""], ...without(":path")])], "reset 1 1"],
  [
    "CONNECT",
    [
      fields(1, [
        [":method", "CONNECT"],
        [":authority", "x"],
      ]),
    ],
    "reset 1 1",
  ],
  ["connection", [fields(1, [...base, ["connection", "keep-alive"]])], "reset 1 1"],
  ["transfer-encoding", [fields(1, [...base, ["transfer-encoding", "chunked"]])], "reset 1 1"],
  ["upgrade", [fields(1, [...base, ["upgrade", "h2c"]])], "reset 1 1"],
  ["te other than trailers", [fields(1, [...without("te"), ["te", "gzip"]])], "reset 1 1"],
  ["content-length that is no number", [fields(1, [...base, ["content-length", "1x"]])], "reset 1 1"],
  [
    "two content-lengths that differ",
    [fields(1, [...base, ["content-length", "1"], ["content-length", "2"]])],
    "reset 1 1",
  ],
  ["content-length without any DATA", [fields(1, [...base, ["content-length", "10"]])], "reset 1 1"],
  [
    "more DATA than content-length",
    [fields(1, [...base, ["content-length", "9"]], EndHeaders), data(1, hello, EndStream)],
    "reset 1 1",
  ],
  [
    "less DATA than content-length",
    [fields(1, [...base, ["content-length", "11"]], EndHeaders), data(1, hello, EndStream)],
    "reset 1 1",
  ],
  [
    "content-length in several DATA frames",
    [
      fields(1, [...base, ["content-length", "10"]], EndHeaders),
      data(1, hello.subarray(0, 3)),
      data(1, hello.subarray(3), EndStream),
    ],
    "status 1 0",
  ],
  // gRPC
  ["not gRPC", [fields(1, [...without("content-type"), ["content-type", "application/json"]])], "status 1 3"],
  ["no POST", [fields(1, [[":method", "GET"], ...without(":method")])], "status 1 13"],
  ["a bad timeout", [fields(1, [...base, ["grpc-timeout", "1x"]])], "status 1 13"],
  ["no time left", [fields(1, [...base, ["grpc-timeout", "0m"]])], "status 1 4"],
  ["bad binary metadata", [fields(1, [...base, ["x-bin", "a"]])], "status 1 13"],
  ["a path without a slash", [head(1, "t.Test/Echo", EndHeaders | EndStream)], "status 1 12"],
  ["a path with two slashes", [head(1, "//t.Test/Echo", EndHeaders | EndStream)], "status 1 12"],
  ["a path with an escape", [head(1, "/t.Test/%45cho", EndHeaders | EndStream)], "status 1 12"],
  ["a request without a message", [head(1, "/t.Test/Echo", EndHeaders | EndStream)], "status 1 13"],
  [
    "a request of two messages",
    [head(1, "/t.Test/Echo"), data(1, Buffer.concat([hello, hello]), EndStream)],
    "status 1 13",
  ],
  ["half a message", [head(1, "/t.Test/Echo"), data(1, hello.subarray(0, 8), EndStream)], "status 1 13"],
  ["half a prefix", [head(1), data(1, hello.subarray(0, 3), EndStream)], "status 1 13"],
  ["a message flag of 2", [head(1), data(1, message("x", 2), EndStream)], "status 1 13"],
  ["compression nobody announced", [head(1), data(1, message("x", 1), EndStream)], "status 1 13"],
];

function play(sent: Buffer[], split: boolean): { verdict: string; observer: CountingObserver; server: RpcServer } {
  const world = new ManualWorld();
  const observer = new CountingObserver();
  const server = new RpcServer({ methods: testMethods(new Holding()), clock: world, timers: world, observer });
  const peer = new WirePeer(server, world);
  const bytes = Buffer.concat(sent);
  if (split) for (const byte of bytes) peer.send(Buffer.from([byte]));
  else peer.send(bytes);
  const verdict = peer.verdict();
  world.pass(2000);
  // Whatever happened: when the socket goes, nothing is left.
  peer.socket.destroy();
  assert.equal(server.connectionCount, 0);
  assert.equal(server.streamCount, 0);
  assert.equal(peer.connection.heldBytes, 0);
  assert.equal(peer.connection.admittedBytes, 0);
  assert.equal(observer.started, observer.ended.length, "every call that began has ended");
  assert.equal(world.timerCount, 0);
  return { verdict, observer, server };
}

// covers: H2-07 H2-09 H2-14 H2-16 H2-17 H2-18 H2-19 H2-20 H2-21 H2-25 GR-01 GR-02 GR-03
for (const [claim, sent, expected] of rows) {
  test(`${claim}: ${expected === "" ? "nothing to say" : expected}`, () => {
    assert.equal(play(sent, false).verdict, expected);
    assert.equal(play(sent, true).verdict, expected, "byte by byte");
  });
}

test("the greeting comes first and is checked byte by byte", () => {
  // covers: H2-23
  for (const [greeting, expected] of [
    [Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "goaway 1"],
    [Buffer.from([0x16, 3, 1, 0, 200, 1, 0, 0]), "goaway 1"],
    [Buffer.concat([clientPreface, frame(FrameType.Ping, 0, 0, Buffer.alloc(8))]), "goaway 1"],
    [Buffer.concat([clientPreface, frame(FrameType.Settings, Ack, 0)]), "goaway 1"],
    [Buffer.concat([clientPreface, head(1)]), "goaway 1"],
    [Buffer.concat([clientPreface, settings()]), "settings ack"],
  ] as const) {
    const world = new ManualWorld();
    const server = new RpcServer({ methods: testMethods(), clock: world, timers: world });
    const peer = new WirePeer(server, world, false);
    for (const byte of greeting) peer.send(Buffer.from([byte]));
    assert.equal(peer.verdict(), expected);
  }
});

test("bytes read before the server took over count", () => {
  const world = new ManualWorld();
  const server = new RpcServer({ methods: testMethods(), clock: world, timers: world });
  const peer = new WirePeer(server, world, false);
  const early = Buffer.concat([clientPreface, settings()]);
  const other = new WirePeer(server, world, false);
  server.accept(other.socket.asDuplex(), early.subarray(0, 30));
  peer.send(early);
  assert.equal(peer.verdict(), "settings ack");
});

test("calls know whom the client's certificate names, found out once and only if somebody asks", () => {
  const world = new ManualWorld();
  const names: (string | null)[] = [];
  const methods: ReadonlyMap<string, Method> = new Map([
    [
      holdPath,
      {
        kind: "unary",
        handle(call: ServerCall) {
          names.push(call.peerCommonName, call.connection.peerCommonName);
        },
      },
    ],
  ]);
  const server = new RpcServer({ methods, clock: world, timers: world });
  const greeting = Buffer.concat([clientPreface, settings()]);
  const call = (streamId: number): Buffer =>
    Buffer.concat([head(streamId, holdPath), data(streamId, hello, EndStream)]);
  let asked = 0;
  const named = new FakeSocket();
  server.accept(named.asDuplex(), greeting, { commonName: () => `client ${++asked}` });
  assert.equal(asked, 0);
  named.emit("data", call(1));
  named.emit("data", call(3));
  assert.deepEqual(names.splice(0), ["client 1", "client 1", "client 1", "client 1"]);
  const nameless = new FakeSocket();
  server.accept(nameless.asDuplex(), greeting);
  nameless.emit("data", call(1));
  assert.deepEqual(names, [null, null]);
});

test("the refusal of something that is not gRPC is HTTP's as well as gRPC's", () => {
  const world = new ManualWorld();
  const server = new RpcServer({ methods: testMethods(), clock: world, timers: world });
  const peer = new WirePeer(server, world);
  peer.send(
    fields(1, [...without("content-type"), ["content-type", "text/html"]]),
    fields(3, [[":method", "GET"], ...without(":method")]),
    fields(5, [...base, ["grpc-timeout", "1x"]]),
    head(7, "/t.Test/Nope", EndHeaders | EndStream),
    head(9, "/t.Nope/Echo", EndHeaders | EndStream),
    head(11, "nope", EndHeaders | EndStream),
    head(13, "/t.Test/Nope"),
  );
  const answers = peer
    .frames()
    .map(({ type, streamId, fields: said }) =>
      type === FrameType.Headers
        ? `${streamId}: ${said.get(":status")} ${said.get("grpc-status")} ${said.get("grpc-message")}`
        : `${streamId}: frame ${type}`,
    );
  assert.deepEqual(answers, [
    '1: 415 3 invalid gRPC request content-type "text/html"',
    '3: 405 13 Received a HEADERS frame with :method "GET" which should be POST',
    '5: 400 13 malformed grpc-timeout: transport: timeout unit is not recognized: "1x"',
    "7: 200 12 unknown method Nope for service t.Test",
    "9: 200 12 unknown service t.Nope",
    '11: 200 12 malformed method name: "nope"',
    "13: 200 12 unknown method Nope for service t.Test",
    // The request was not finished, and nobody needs its rest.
    "13: frame 3",
  ]);
});

test("equal bytes are the same request only while the dynamic table is the same", () => {
  const world = new ManualWorld();
  const server = new RpcServer({ methods: testMethods(), clock: world, timers: world });
  const peer = new WirePeer(server, world);
  // Index 62 is the newest entry: first one path, then the other.
  const insert = (path: string) => Buffer.concat([Buffer.from([0x44, path.length]), Buffer.from(path)]);
  const rest = literalBlock([
    [":method", "POST"],
    [":scheme", "http"],
    ["content-type", "application/grpc"],
  ]);
  const send = (streamId: number, path: Buffer) => {
    peer.send(
      frame(FrameType.Headers, EndHeaders, streamId, Buffer.concat([path, rest])),
      data(streamId, hello, EndStream),
    );
    return peer.verdict();
  };
  const newest = Buffer.from([0xbe]);
  assert.equal(send(1, insert("/t.Test/Echo")), "status 1 0");
  assert.equal(send(3, newest), "status 3 0");
  assert.equal(send(5, newest), "status 5 0");
  assert.equal(send(7, insert("/t.Test/Nope")).split(",")[0], "status 7 12");
  assert.equal(send(9, newest).split(",")[0], "status 9 12");
  assert.equal(send(11, insert("/t.Test/Echo")), "status 11 0");
  assert.equal(send(13, newest), "status 13 0");
});

test("a stream that its handler ended in the middle of a message gets no more window", () => {
  const world = new ManualWorld();
  const server = new RpcServer({
    methods: new Map([
      [chatPath, { kind: "stream", open: () => ({ message: (call) => call.fail(9, "enough"), halfClosed() {} }) }],
    ]),
    clock: world,
    timers: world,
  });
  const peer = new WirePeer(server, world);
  const bytes = message(Buffer.alloc(40_000));
  const pieces = [0, 1, 2].map((i) => data(1, bytes.subarray(i * 15_000, (i + 1) * 15_000)));
  peer.send(head(1), ...pieces);
  assert.deepEqual(
    peer.frames().map(({ type }) => type),
    [FrameType.Headers, FrameType.RstStream],
  );
});
