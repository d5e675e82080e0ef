/**
 * Against @grpc/grpc-js, an implementation that shares no code with ours: its client with our server, our client with
 * its server. Messages are raw bytes, so no protobuf is involved.
 */
import assert from "node:assert/strict";
import { connect, createServer, type Socket, type Server as TcpServer } from "node:net";
import test, { after, before, describe } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { RpcClient, RpcError, RpcServer } from "../index.ts";
import type { Method } from "../server/method.ts";
import { realClock, realTimers } from "../testing/real-world.ts";
import { Holding, testMethods } from "../testing/services.ts";

const raw = (bytes: Buffer): Buffer => bytes;

function definition(
  name: string,
  requestStream: boolean,
  responseStream: boolean,
): grpc.MethodDefinition<Buffer, Buffer> {
  return {
    path: `/t.Test/${name}`,
    requestStream,
    responseStream,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  };
}
const service = {
  Echo: definition("Echo", false, false),
  Fail: definition("Fail", false, false),
  Hold: definition("Hold", false, false),
  Meta: definition("Meta", false, false),
  Missing: definition("Missing", false, false),
  Count: definition("Count", false, true),
  Sum: definition("Sum", true, false),
  Chat: definition("Chat", true, true),
};

function until(condition: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const startMs = performance.now();
    const look = () => {
      if (condition()) resolve();
      else if (performance.now() - startMs > 5000) reject(new Error("never happened"));
      else setTimeout(look, 2);
    };
    look();
  });
}

describe("grpc-js's client with our server", () => {
  const holding = new Holding();
  /** Answers with what it understood of the metadata. */
  const meta: Method = {
    kind: "unary",
    handle(call) {
      const bytes = Buffer.from(call.metadataBytes("x-bin") ?? []).toString("hex");
      const said = Buffer.from(`${call.metadata("x-text")} ${bytes} ${call.metadata(":authority")}`);
      call.respond(said, 0, said.length);
    },
  };
  const server = new RpcServer({
    methods: new Map([...testMethods(holding), ["/t.Test/Meta", meta]]),
    clock: realClock,
    timers: realTimers,
    limits: { maxMessageBytes: 2_000_000 },
  });
  let listener: TcpServer;
  let client: grpc.Client;
  const unary = (
    name: keyof typeof service,
    body: Buffer,
    options: grpc.CallOptions = {},
    metadata = new grpc.Metadata(),
  ) =>
    new Promise<Buffer>((resolve, reject) => {
      client.makeUnaryRequest(service[name].path, raw, raw, body, metadata, options, (error, value) =>
        error ? reject(error) : resolve(value!),
      );
    });

  before(async () => {
    listener = createServer((socket) => server.accept(socket));
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    const { port } = listener.address() as { port: number };
    client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
      "grpc.max_receive_message_length": -1,
      "grpc.max_send_message_length": -1,
    });
  });
  after(() => {
    client.close();
    server.close();
    listener.close();
    assert.equal(server.streamCount, 0);
  });

  test("unary calls, many at once, small, empty and large", async () => {
    const bodies = [0, 1, 100, 16_379, 16_380, 70_000, 1_900_000].map((size) => Buffer.alloc(size, size & 0xff));
    const jobs = Array.from({ length: 200 }, (_, i) => bodies[i % bodies.length]!);
    const answers = await Promise.all(jobs.map((body) => unary("Echo", body)));
    answers.forEach((answer, i) => {
      assert.ok(answer.equals(jobs[i]!), `call ${i}`);
    });
  });

  test("errors keep their code and text", async () => {
    await assert.rejects(unary("Fail", Buffer.from("5 etcdserver: ☃ not found 100%\n")), {
      code: grpc.status.NOT_FOUND,
      details: "etcdserver: ☃ not found 100%\n",
    });
    await assert.rejects(unary("Missing", Buffer.alloc(3)), {
      code: grpc.status.UNIMPLEMENTED,
      details: "unknown method Missing for service t.Test",
    });
    await assert.rejects(unary("Echo", Buffer.alloc(2_000_001)), {
      code: grpc.status.RESOURCE_EXHAUSTED,
      details: "grpc: received message larger than max (2000001 vs. 2000000)",
    });
    assert.equal((await unary("Echo", Buffer.from("still alive"))).toString(), "still alive");
  });

  test("metadata arrives, text and bytes", async () => {
    const metadata = new grpc.Metadata();
    metadata.set("x-text", "some text");
    metadata.set("x-bin", Buffer.from([0, 255, 7]));
    assert.match((await unary("Meta", Buffer.alloc(0), {}, metadata)).toString(), /^some text 00ff07 127\.0\.0\.1:/);
  });

  test("a deadline passes, and a cancelled call is heard of", async () => {
    await assert.rejects(unary("Hold", Buffer.alloc(1), { deadline: Date.now() + 60 }), {
      code: grpc.status.DEADLINE_EXCEEDED,
    });
    await until(() => holding.reasons.length === 1);
    const call = client.makeUnaryRequest(service.Hold.path, raw, raw, Buffer.alloc(1), () => {});
    await until(() => holding.calls.length === 2);
    assert.equal(holding.calls[1]!.isOpen, true);
    call.cancel();
    await until(() => holding.reasons.length === 2);
    assert.equal(holding.reasons[1], "cancelled");
    assert.equal(holding.calls[1]!.isOpen, false);
  });

  test("gzip requests are understood", async () => {
    const { port } = listener.address() as { port: number };
    const zipping = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
      "grpc.default_compression_algorithm": 2,
    });
    const body = Buffer.alloc(200_000, "abc");
    const answer = await new Promise<Buffer>((resolve, reject) => {
      zipping.makeUnaryRequest(service.Echo.path, raw, raw, body, (error, value) =>
        error ? reject(error) : resolve(value!),
      );
    });
    zipping.close();
    assert.ok(answer.equals(body));
  });

  test("server streams arrive in order and whole", async () => {
    const request = Buffer.alloc(4);
    request.writeUInt32BE(20_000);
    const stream = client.makeServerStreamRequest(service.Count.path, raw, raw, request);
    let next = 0;
    for await (const bytes of stream) assert.equal((bytes as Buffer).readUInt32BE(), next++);
    assert.equal(next, 20_000);
  });

  test("client streams are summed up", async () => {
    const total = await new Promise<Buffer>((resolve, reject) => {
      const stream = client.makeClientStreamRequest(service.Sum.path, raw, raw, (error, value) =>
        error ? reject(error) : resolve(value!),
      );
      for (let i = 0; i < 500; i++) stream.write(Buffer.alloc(i * 7));
      stream.end();
    });
    assert.equal(total.readUInt32BE(), (7 * 499 * 500) / 2);
  });

  test("bidirectional streams talk", async () => {
    const stream = client.makeBidiStreamRequest(service.Chat.path, raw, raw);
    const heard: string[] = [];
    const ended = new Promise<grpc.StatusObject>((resolve) => stream.on("status", resolve));
    stream.on("data", (bytes: Buffer) => {
      heard.push(bytes.toString());
      if (heard.length < 20) stream.write(Buffer.from(`say ${heard.length}`));
      else stream.end();
    });
    stream.write(Buffer.from("say 0"));
    assert.equal((await ended).code, grpc.status.OK);
    assert.deepEqual(
      heard,
      Array.from({ length: 20 }, (_, i) => `say ${i}`),
    );
  });
});

describe("our client with grpc-js's server", () => {
  const theirs = new grpc.Server({ "grpc.max_receive_message_length": -1, "grpc.max_concurrent_streams": 40 });
  let client: RpcClient;
  const sockets: Socket[] = [];

  before(async () => {
    const { Missing: _, ...offered } = service;
    theirs.addService(offered, {
      Echo: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => done(null, call.request),
      Meta: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
        const bytes = call.metadata.get("x-bin")[0] as Buffer;
        const trailer = new grpc.Metadata();
        trailer.set("after", "wards");
        done({ code: 9, details: `${call.metadata.get("x-text")[0]} ${bytes.toString("hex")}`, metadata: trailer });
      },
      Fail: (_call: unknown, done: grpc.sendUnaryData<Buffer>) => done({ code: 5, details: "no ☃ here" }),
      Hold: () => {},
      Count: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
        for (let i = 0; i < call.request.readUInt32BE(); i++) call.write(Buffer.alloc(100, i));
        call.end();
      },
      Sum: (call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
        let total = 0;
        call.on("data", (bytes: Buffer) => {
          total += bytes.length;
        });
        call.on("end", () => done(null, Buffer.from(String(total))));
      },
      Chat: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
        call.on("data", (bytes: Buffer) => call.write(bytes));
        call.on("end", () => call.end());
      },
    });
    const port = await new Promise<number>((resolve, reject) => {
      theirs.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    client = new RpcClient({
      connect() {
        const socket = connect(port, "127.0.0.1");
        sockets.push(socket);
        return socket;
      },
      authority: `127.0.0.1:${port}`,
      clock: realClock,
      timers: realTimers,
    });
  });
  after(() => {
    assert.equal(client.callCount, 0);
    client.close();
    theirs.forceShutdown();
  });

  const unary = (name: string, body: Buffer, options: Parameters<RpcClient["unary"]>[2] = {}) =>
    new Promise<Buffer>((resolve, reject) => {
      client.unary(`/t.Test/${name}`, body, options, (error, response) =>
        error ? reject(error) : resolve(Buffer.from(response!)),
      );
    });

  test("unary calls, more at once than the server takes, small, empty and large", async () => {
    const bodies = [0, 1, 100, 16_379, 16_380, 70_000, 1_900_000].map((size) => Buffer.alloc(size, size & 0xff));
    const jobs = Array.from({ length: 150 }, (_, i) => bodies[i % bodies.length]!);
    const answers = await Promise.all(jobs.map((body) => unary("Echo", body)));
    answers.forEach((answer, i) => {
      assert.ok(answer.equals(jobs[i]!), `call ${i}`);
    });
    assert.equal(sockets.length, 1);
  });

  test("errors, metadata and trailers arrive", async () => {
    await assert.rejects(unary("Fail", Buffer.alloc(0)), { code: 5, message: "no ☃ here" });
    await assert.rejects(unary("Missing", Buffer.alloc(0)), { code: 12 });
    const metadata = [
      ["x-text", "some text"],
      ["x-bin", Buffer.from([0, 255, 7])],
    ] as const;
    await assert.rejects(unary("Meta", Buffer.alloc(0), { metadata }), (error) => {
      assert.ok(error instanceof RpcError);
      assert.equal(error.message, "some text 00ff07");
      assert.equal(error.trailers.get("after"), "wards");
      return error.code === 9;
    });
  });

  test("a deadline passes, and a call can be cancelled", async () => {
    const deadlineMs = realClock.monotonicMs() + 50;
    await assert.rejects(unary("Hold", Buffer.alloc(1), { deadlineMs }), { code: 4 });
    await assert.rejects(
      new Promise((_, reject) => {
        const call = client.unary("/t.Test/Hold", Buffer.alloc(1), {}, reject);
        setTimeout(() => call.cancel(), 20);
      }),
      { code: 1 },
    );
  });

  test("streams in all directions", async () => {
    const talk = (name: string, messages: Buffer[]) =>
      new Promise<Buffer[]>((resolve, reject) => {
        const heard: Buffer[] = [];
        const call = client.stream(
          `/t.Test/${name}`,
          {},
          {
            message: (_call, buffer, start, end) => void heard.push(Buffer.from(buffer.subarray(start, end))),
            ended: (_call, error) => (error ? reject(error) : resolve(heard)),
          },
        );
        for (const body of messages) call.send(body, 0, body.length);
        call.halfClose();
      });
    const request = Buffer.alloc(4);
    request.writeUInt32BE(3000);
    const [counted, summed, chatted] = await Promise.all([
      talk("Count", [request]),
      talk(
        "Sum",
        Array.from({ length: 300 }, () => Buffer.alloc(1000)),
      ),
      talk(
        "Chat",
        Array.from({ length: 300 }, (_, i) => Buffer.from(`line ${i}`)),
      ),
    ]);
    assert.equal(counted.length, 3000);
    assert.equal(summed[0]!.toString(), "300000");
    assert.equal(chatted.at(-1)!.toString(), "line 299");
  });

  test("a lost connection is an error, and the next call connects anew", async () => {
    const held = unary("Hold", Buffer.alloc(1));
    await unary("Echo", Buffer.alloc(1));
    for (const socket of sockets) socket.destroy();
    await assert.rejects(held, { code: 14 });
    assert.equal((await unary("Echo", Buffer.from("again"))).toString(), "again");
    assert.equal(sockets.length, 2);
  });
});

test("a server that cannot be reached is UNAVAILABLE, with the reason", async () => {
  const client = new RpcClient({
    connect: () => connect(1, "127.0.0.1"),
    authority: "nobody",
    clock: realClock,
    timers: realTimers,
  });
  await assert.rejects(
    new Promise((_, reject) => void client.unary("/t.Test/Echo", Buffer.alloc(0), {}, reject)),
    (error) => error instanceof RpcError && error.code === 14 && /ECONNREFUSED/.test(error.message),
  );
  assert.equal(client.callCount, 0);
  client.close();
});
