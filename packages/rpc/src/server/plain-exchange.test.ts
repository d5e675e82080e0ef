import assert from "node:assert/strict";
import { connect as connectH2 } from "node:http2";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import { realClock, realTimers } from "../testing/real-world.ts";
import type { PlainRequest } from "./plain-exchange.ts";
import { RpcServer } from "./server.ts";

const BODY = "x".repeat(200_000);

/** A server whose plain requests are answered by what `answers` says, on a port. */
async function withServer(
  run: (port: number, seen: PlainRequest[], server: RpcServer) => Promise<void>,
): Promise<void> {
  const seen: PlainRequest[] = [];
  const server = new RpcServer({
    methods: new Map([
      ["/t.T/Echo", { kind: "unary", handle: (call, buffer, start, end) => call.respond(buffer, start, end) }],
    ]),
    clock: realClock,
    timers: realTimers,
    plainHandler: (request, answer) => {
      seen.push(request);
      answer({ status: 503, headers: { "content-type": "text/plain" }, body: BODY });
    },
  });
  const listener = createServer((socket) => server.accept(socket, undefined, { isTcp: true }));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  try {
    await run((listener.address() as AddressInfo).port, seen, server);
  } finally {
    server.close();
    listener.close();
  }
}

test("a GET over HTTP/2 is answered with status, headers and a body larger than the window", async () => {
  await withServer(async (port, seen, server) => {
    const session = connectH2(`http://127.0.0.1:${port}`);
    const { status, body } = await new Promise<{ status: number; body: string }>((resolve, reject) => {
      const request = session.request({ ":path": "/health?x=1", origin: "http://o" });
      let status = 0;
      let body = "";
      request.setEncoding("utf8");
      request.on("response", (headers) => {
        status = Number(headers[":status"]);
      });
      request.on("data", (chunk: string) => {
        body += chunk;
      });
      request.on("end", () => resolve({ status, body }));
      request.on("error", reject);
    });
    assert.equal(status, 503);
    assert.ok(body === BODY, "the body came whole");
    const { authority, ...rest } = seen[0]!;
    assert.deepEqual(rest, { method: "GET", path: "/health?x=1", origin: "http://o", scheme: "http" });
    assert.equal(authority, `127.0.0.1:${port}`);
    session.close();
    await new Promise((resolve) => session.once("close", resolve));
    assert.equal(server.streamCount, 0);
  });
});

test("a HEAD has no body, and a POST that is not gRPC is still refused as one", async () => {
  await withServer(async (port, seen) => {
    const session = connectH2(`http://127.0.0.1:${port}`);
    const statusOf = (method: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const request = session.request({ ":method": method, ":path": "/t.T/Echo", "content-type": "text/html" });
        let answer = "";
        request.on("response", (headers) => {
          answer = `${headers[":status"]} ${headers["content-length"] ?? ""}`;
        });
        request.on("data", (chunk: Buffer) => {
          answer += ` ${chunk.length} bytes`;
        });
        request.on("end", () => resolve(answer));
        request.on("error", reject);
        request.end();
      });
    assert.equal(await statusOf("HEAD"), `503 ${BODY.length}`);
    assert.match(await statusOf("POST"), /^415/);
    assert.equal(seen.length, 1);
    session.close();
  });
});

test("answers on a TCP socket are right whether or not the peer keeps up", async () => {
  // The slab is filled again after a write the kernel took whole, and given away after one it did not.
  await withServer(async (port) => {
    const socket = connect(port, "127.0.0.1");
    const session = connectH2("http://127.0.0.1", {
      createConnection: () => socket,
      settings: { initialWindowSize: 2 ** 24 },
    });
    await new Promise((resolve) => session.once("connect", resolve));
    session.setLocalWindowSize(2 ** 26);
    const calls = Array.from({ length: 300 }, (_, i) => {
      const message = Buffer.alloc(5 + 3000, i & 0xff);
      message.writeUInt8(0, 0);
      message.writeUInt32BE(3000, 1);
      return new Promise<void>((resolve, reject) => {
        const request = session.request({
          ":method": "POST",
          ":path": "/t.T/Echo",
          "content-type": "application/grpc",
          te: "trailers",
        });
        const parts: Buffer[] = [];
        request.on("data", (chunk: Buffer) => parts.push(chunk));
        request.on("end", () => {
          if (Buffer.concat(parts).equals(message)) resolve();
          else reject(new Error(`answer ${i} differs`));
        });
        request.on("error", reject);
        request.end(message);
      });
    });
    // Not reading for a while fills the kernel's buffers.
    socket.pause();
    setTimeout(() => socket.resume(), 100);
    await Promise.all(calls);
    session.close();
  });
});
