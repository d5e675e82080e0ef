/** What the log says of requests, by the same hooks that tracing gets: who asked for what, how much, and how long it took. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { PutRequest, PutResponse } from "@quorate/api/messages";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { ServerProcess, sleep } from "./harness/processes.ts";
import { Calls } from "./harness/rpc.ts";

type Line = Readonly<Record<string, unknown>>;

/** The first line with this message that `isMeant`. */
async function logged(server: ServerProcess, message: string, isMeant: (line: Line) => boolean): Promise<Line> {
  const deadline = Date.now() + 10_000;
  while (Date.now() < deadline) {
    for (const text of server.log.split("\n")) {
      if (!text.includes(message) || !text.endsWith("}")) continue;
      const line = JSON.parse(text) as Line;
      if (line.msg === message && isMeant(line)) return line;
    }
    await sleep(20);
  }
  throw new Error(`no line "${message}" came; the log:\n${server.log}`);
}

test("a slow call is logged with its client, sizes and time, and without what was in it", async () => {
  const server = await ServerProcess.quorate({ flags: ["--warning-unary-request-duration=1ns"] });
  const calls = new Calls(server.ports.client);
  try {
    const request = { key: Buffer.from("secret-key"), value: Buffer.from("secret-value") };
    await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, request);
    const line = await logged(server, "request stats", (each) => each["response type"] === "/etcdserverpb.KV/Put");
    assert.equal(line.level, "warn");
    assert.match(String(line.remote), /^127\.0\.0\.1:\d+$/);
    assert.match(String(line["time spent"]), /^[\d.]+(µs|ms|s)$/);
    assert.equal(line["request size"], PutRequest.encode(request).length);
    assert.ok(Number(line["response size"]) > 0);
    assert.doesNotMatch(server.log, /secret/);
  } finally {
    calls.close();
    await server.dispose();
  }
});

test("at level debug every request between members is logged, those that come and those that go", async () => {
  const other = createServer((_request, response) => response.writeHead(404).end());
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  const ports = { client: await freePort(), peer: await freePort() };
  const own = `http://127.0.0.1:${ports.peer}`;
  const flags = ["--log-level=debug", `--initial-cluster=default=${own},other=${url}`];
  const server = await ServerProcess.quorate({ ports, flags, waitUntilReady: false });
  try {
    const outgoing = await logged(server, "peer request", (each) => String(each.path).startsWith("/raft/stream/"));
    assert.deepEqual([outgoing.direction, outgoing.remote, outgoing.status], ["outgoing", url, 404]);
    assert.equal((await fetch(`${own}/version`)).status, 200);
    const incoming = await logged(server, "peer request", (each) => each.direction === "incoming");
    assert.deepEqual([incoming.method, incoming.path, incoming.status], ["GET", "/version", 200]);
    assert.match(String(incoming.remote), /^127\.0\.0\.1:\d+$/);
  } finally {
    await server.dispose();
    other.close();
  }
});
