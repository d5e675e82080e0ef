/** Requests between members as their observer sees them, over a real connection. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as requestOver } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { type Log, silentLog } from "@quorate/world";
import { ManualWorld } from "../testing/manual-world.ts";
import { FollowedRequests, type PeerObserver, type PeerRequest } from "./peer-observer.ts";

/** What was heard, in words. Each request's slot carries its number from its beginning to its end. */
class Notes implements PeerObserver {
  readonly ended: string[] = [];
  readonly sizes: { readonly receivedBytes: number; readonly sentBytes: number }[] = [];
  #count = 0;
  #wake: () => void = () => {};

  requestStarted(request: PeerRequest): void {
    request.trace = ++this.#count;
    assert.equal(request.status, 0);
  }

  requestEnded(request: PeerRequest, endedMs: number): void {
    const { direction, method, path, remote, status, startedMs, receivedBytes, sentBytes, trace } = request;
    this.ended.push(`${trace} ${direction} ${method} ${path} ${remote} ${status} ${endedMs - startedMs}`);
    this.sizes.push({ receivedBytes, sentBytes });
    this.#wake();
  }

  async untilEnded(count: number): Promise<void> {
    while (this.ended.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

test("both ends of a request are told once, with path, peer, status, sizes and duration", async (t) => {
  const world = new ManualWorld();
  const [here, there] = [new Notes(), new Notes()];
  const incoming = new FollowedRequests(world, silentLog, there);
  const server = createServer((request, response) => {
    incoming.incoming(request, response);
    request.resume();
    if (request.url === "/raft/probing?x") {
      world.nowMs += 7;
      response.end("an answer of some bytes");
    } else request.socket.destroy();
  });
  t.after(() => server.close());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const outgoing = new FollowedRequests(world, silentLog, here);
  const ask = (path: string, body: string): void => {
    const headers = { "Content-Length": body.length };
    const request = requestOver({ port, host: "127.0.0.1", method: "POST", path, headers });
    outgoing.outgoing(request, url);
    request.on("response", (response) => response.resume());
    request.on("error", () => {});
    request.end(body);
  };
  ask("/raft/probing?x", "q".repeat(1000));
  await here.untilEnded(1);
  await there.untilEnded(1);
  ask("/raft", "");
  await here.untilEnded(2);
  await there.untilEnded(2);
  assert.deepEqual(here.ended, [`1 outgoing POST /raft/probing ${url} 200 7`, `2 outgoing POST /raft ${url} 0 0`]);
  assert.match(there.ended[0]!, /^1 incoming POST \/raft\/probing 127\.0\.0\.1:\d+ 200 7$/);
  assert.match(there.ended[1]!, /^2 incoming POST \/raft 127\.0\.0\.1:\d+ 0 0$/);
  const [asked] = here.sizes;
  assert.ok(asked!.sentBytes > 1000 && asked!.sentBytes < 1500, `${asked!.sentBytes}`);
  assert.ok(asked!.receivedBytes > 23 && asked!.receivedBytes < 500, `${asked!.receivedBytes}`);
});

test("without an observer requests are followed for the debug log alone", () => {
  const world = new ManualWorld();
  assert.equal(new FollowedRequests(world, silentLog, null).isFollowing, false);
  const debug: Log = { ...silentLog, isEnabled: (level) => level === "debug" };
  assert.equal(new FollowedRequests(world, debug, null).isFollowing, true);
});
