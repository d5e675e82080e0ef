/** Real TCP sockets, where "drain" and partial writes are the kernel's: a large lazy body beside small calls. */
import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import test from "node:test";
import { type Method, RpcClient, RpcServer } from "../index.ts";
import { realClock, realTimers } from "../testing/real-world.ts";
import { testMethods } from "../testing/services.ts";

const totalBytes = 40_000_000;
const pattern = Buffer.alloc(70_000, (() => Buffer.from(Array.from({ length: 997 }, (_, i) => i & 0xff)))());

let produced = 0;
const big: Method = {
  kind: "unary",
  handle(call) {
    let at = 0;
    call.respondFrom(totalBytes, {
      read(maxBytes) {
        const from = at % 997;
        const length = Math.min(maxBytes, totalBytes - at, pattern.length - from);
        at += length;
        produced = at;
        return pattern.subarray(from, from + length);
      },
    });
  },
};

async function withPair(
  run: (client: RpcClient, server: RpcServer, sockets: Socket[]) => Promise<void>,
): Promise<void> {
  const server = new RpcServer({
    methods: new Map([...testMethods(), ["/t.Test/Big", big]]),
    clock: realClock,
    timers: realTimers,
  });
  const listener = createServer((socket) => server.accept(socket));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as { port: number };
  const sockets: Socket[] = [];
  const client = new RpcClient({
    connect() {
      const socket = connect(port, "127.0.0.1");
      sockets.push(socket);
      return socket;
    },
    authority: "test",
    clock: realClock,
    timers: realTimers,
  });
  try {
    await run(client, server, sockets);
    assert.equal(client.callCount, 0);
    assert.equal(server.streamCount, 0);
  } finally {
    client.close();
    server.close();
    listener.close();
  }
}

function unary(client: RpcClient, path: string, body: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    client.unary(path, body, {}, (error, response) => (error ? reject(error) : resolve(response as Buffer)));
  });
}

test("a large body arrives whole, and small calls do not wait for it", () =>
  withPair(async (client) => {
    let isBigDone = false;
    const large = unary(client, "/t.Test/Big", Buffer.alloc(0)).then((body) => {
      isBigDone = true;
      return body;
    });
    let answered = 0;
    while (!isBigDone && answered < 10_000) {
      await unary(client, "/t.Test/Echo", Buffer.from("x"));
      answered++;
    }
    const body = await large;
    assert.equal(body.length, totalBytes);
    for (let at = 0; at < totalBytes; at += 9_970) assert.equal(body[at], 0);
    for (let at = 996; at < totalBytes; at += 9_970) assert.equal(body[at], 996 & 0xff);
    assert.ok(answered >= 20, `${answered} small calls meanwhile`);
  }));

test("a body is not produced for a client that stops reading, and goes on when it reads again", () =>
  withPair(async (client, server, sockets) => {
    await unary(client, "/t.Test/Echo", Buffer.from("x"));
    const large = unary(client, "/t.Test/Big", Buffer.alloc(0));
    client.flush();
    sockets[0]!.pause();
    produced = 0;
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.equal(server.streamCount, 1);
    // No more than the client's windows (4 MiB) and the little it took in before it stopped.
    assert.ok(produced > 0 && produced < 10_000_000, `${produced} bytes produced`);
    sockets[0]!.resume();
    assert.equal((await large).length, totalBytes);
  }));
