import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { silentLog } from "@quorate/world";
import type { ServiceUrl } from "../config/urls.ts";
import { tlsConfigFrom } from "../testing/certificates.ts";
import { TlsAcceptor } from "../tls/acceptor.ts";
import { Credentials } from "../tls/credentials.ts";
import { makeSelfSigned, NEVER_MS } from "../tls/self-signed.ts";
import { MachineClock } from "../world/clock.ts";
import { text } from "./endpoints.ts";
import { Listener } from "./listener.ts";

const directory = mkdtempSync(join(tmpdir(), "listener-"));
after(() => rmSync(directory, { recursive: true }));
let count = 0;

/** A listener whose gRPC connections are kept for the test to look at. */
async function listening(
  decideMs: number,
): Promise<{ listener: Listener; path: string; grpc: Buffer[]; open: () => void }> {
  const path = join(directory, `${count++}`);
  const grpc: Buffer[] = [];
  const url: ServiceUrl = { scheme: "unix", host: "", port: 0, path, text: `unix://${path}` };
  const handlers = {
    grpc: (_socket: Socket, received: Buffer) => {
      grpc.push(received);
    },
    http: (_request: unknown, respond: (response: ReturnType<typeof text>) => void) => respond(text(200, "here")),
  };
  const listener = new Listener([url], null, silentLog, { decideMs });
  await listener.listen();
  return { listener, path, grpc, open: () => listener.open(handlers) };
}

interface Client {
  readonly socket: Socket;
  readonly received: () => string;
  readonly closed: Promise<void>;
}

function client(path: string, says: string): Client {
  const socket = connect(path);
  let received = "";
  socket.on("data", (chunk) => {
    received += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  if (says !== "") socket.write(says);
  return { socket, received: () => received, closed };
}

// covers: H2-23, H2-24, SA-24
for (const [what, says, answer] of [
  ["says nothing", "", /^$/],
  ["says half of what HTTP/2 begins with", "PRI * HT", /^$/],
  ["sends half a head", "GET /health HTTP/1.1\r\nHost:", /^HTTP\/1.1 408/],
  ["sends half a body", "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", /^HTTP\/1.1 200/],
] as const) {
  test(`a connection that ${what} and then nothing is cut`, async () => {
    const { listener, path, open } = await listening(60);
    open();
    const { closed, received, socket } = client(path, says);
    const tooLate = setTimeout(() => socket.destroy(new Error("too late")), 5000);
    await closed;
    assert.equal(socket.errored, null);
    clearTimeout(tooLate);
    assert.match(received(), answer);
    listener.stop();
  });
}

test("connections wait until the member is ready, and then each gets what it speaks", async () => {
  const { listener, path, grpc, open } = await listening(5000);
  const plain = client(path, "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const preface = client(path, "PRI * HTTP/2.0\r\n\r\nSM");
  const tls = client(path, "\x16\x03\x01");
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(plain.received(), "");
  open();
  await plain.closed;
  assert.match(plain.received(), /^HTTP\/1.1 200.*here$/s);
  await tls.closed;
  assert.deepEqual(
    grpc.map((each) => each.toString("latin1")),
    ["PRI * HTTP/2.0\r\n\r\nSM"],
  );
  listener.stop();
  listener.destroyAll();
  await preface.closed;
});

test("a socket file another process serves is left to it, one that nobody serves is replaced", async () => {
  const { listener, path, open } = await listening(5000);
  open();
  const url: ServiceUrl = { scheme: "unix", host: "", port: 0, path, text: `unix://${path}` };
  await assert.rejects(new Listener([url], null, silentLog).listen(), {
    message: `listen unix ${path}: bind: address already in use`,
  });
  const { closed, received } = client(path, "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  await closed;
  assert.match(received(), /here$/);
  listener.stop();

  // A killed process leaves its socket file.
  const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  spawnSync(process.execPath, ["-e", script]);
  assert.ok(existsSync(path));
  const next = new Listener([url], null, silentLog);
  await next.listen();
  next.stop();
});

test("a peer's request may take its time, but not to say what it is", async () => {
  const path = join(directory, `${count++}`);
  const url: ServiceUrl = { scheme: "unix", host: "", port: 0, path, text: `unix://${path}` };
  const listener = new Listener([url], null, silentLog, { endpoint: "peer", decideMs: 60 });
  await listener.listen();
  listener.open({
    raw: (request, response) => {
      let bytes = 0;
      request.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      request.on("end", () => response.end(`${bytes} bytes`));
    },
  });
  const slow = client(path, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n");
  const mute = client(path, "");
  const http2 = client(path, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  await mute.closed;
  await http2.closed;
  // Longer than a client's whole request may take.
  await new Promise((resolve) => setTimeout(resolve, 300));
  slow.socket.write(Buffer.alloc(200_000));
  await slow.closed;
  assert.match(slow.received(), /200000 bytes/);
  listener.stop();
});

// covers: H2-23
test("what a TLS handshake settled on is what has to follow", async () => {
  const { certificatePem, keyPem } = makeSelfSigned({
    hosts: [],
    notBeforeMs: Date.now() - 1000,
    notAfterMs: NEVER_MS,
  });
  const [cert, key] = [join(directory, "cert.pem"), join(directory, "key.pem")];
  writeFileSync(cert, certificatePem);
  writeFileSync(key, keyPem);
  const clock = new MachineClock();
  const config = tlsConfigFrom("client", `--cert-file=${cert}`, `--key-file=${key}`);
  const acceptor = new TlsAcceptor(new Credentials(config, clock, silentLog), {
    endpoint: "client",
    protocols: ["h2", "http/1.1"],
    handshakeMs: 5000,
    clock,
    log: silentLog,
  });
  const path = join(directory, `${count++}`);
  const url: ServiceUrl = { scheme: "unixs", host: "", port: 0, path, text: `unixs://${path}` };
  const listener = new Listener([url], acceptor, silentLog);
  await listener.listen();
  listener.open({
    grpc: (socket) => {
      socket.end("grpc");
    },
    http: (_request, respond) => respond(text(200, "here")),
  });
  const http1 = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  const http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  for (const [protocols, says, answer] of [
    [["h2"], http2, /^grpc$/],
    [["h2"], http1, /^$/],
    [["http/1.1"], http1, /here$/],
    [["http/1.1"], http2, /^$/],
    [undefined, http2, /^grpc$/],
    [undefined, http1, /here$/],
  ] as const) {
    const offered = protocols === undefined ? {} : { ALPNProtocols: [...protocols] };
    const socket = connectTls({ path, rejectUnauthorized: false, ...offered });
    let received = "";
    socket.on("data", (chunk: Buffer) => {
      received += chunk.toString("latin1");
    });
    socket.on("error", () => {});
    const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
    socket.write(says);
    await closed;
    assert.match(received, answer, `${protocols ?? "nothing"} was negotiated`);
  }
  listener.stop();
});
