/**
 * What one client may ask for, in bytes, operations, streams and pings, with the flags that say so: by one script against a
 * Quorate process and, where one is installed (ETCD names it), a real etcd under the same identity, whose answers have to be
 * the same.
 *
 * covers: H2-10, H2-22, MV-01
 */
import assert from "node:assert/strict";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";
import { after, before, describe, it } from "node:test";
import {
  type Init,
  PutRequest,
  PutResponse,
  type RequestOp,
  TxnRequest,
  TxnResponse,
  WatchRequest,
} from "@quorate/api/messages";
import type { RpcError } from "@quorate/rpc";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { etcdVersion, ServerProcess, sleep } from "./harness/processes.ts";
import { Calls } from "./harness/rpc.ts";

const MAX_REQUEST_BYTES = 4096;
const MAX_TXN_OPS = 3;
const MAX_STREAMS = 4;
/** etcd's: what a message may have beyond a request. */
const MESSAGE_OVERHEAD_BYTES = 512 * 1024;
const FLAGS = [
  `--max-request-bytes=${MAX_REQUEST_BYTES}`,
  `--max-txn-ops=${MAX_TXN_OPS}`,
  `--max-concurrent-streams=${MAX_STREAMS}`,
  "--grpc-keepalive-min-time=200ms",
];

const ETCD_VERSION = etcdVersion();
const hasEtcd = ETCD_VERSION !== "";
/** The size of a request depends on the member's id, and that on its URLs. */
const ports = { client: await freePort(), peer: await freePort() };
/** The longest value that each subject took: they must agree to the byte. */
const longestValues = new Map<string, number>();

function subject(name: string, start: () => Promise<ServerProcess>, skip: boolean): void {
  describe(`the limits of ${name}`, { skip, timeout: 60_000 }, () => {
    let server: ServerProcess;
    let calls: Calls;
    const sessions: ClientHttp2Session[] = [];

    before(async () => {
      server = await start();
      calls = new Calls(server.ports.client);
    });
    after(async () => {
      calls.close();
      for (const session of sessions) session.destroy();
      await server.dispose();
    });

    async function outcome(answer: Promise<unknown>): Promise<string> {
      return answer.then(
        () => "done",
        ({ code, message }: RpcError) => `${code} ${message}`,
      );
    }

    function put(valueBytes: number): Promise<string> {
      const request = { key: Buffer.from("k"), value: Buffer.alloc(valueBytes, "v") };
      return outcome(calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, request));
    }

    function txn(request: Init<TxnRequest>): Promise<string> {
      return outcome(calls.unary("etcdserverpb.KV/Txn", TxnRequest, TxnResponse, request));
    }

    /** A connection of its own, and why the server ended it. */
    function session(): { client: ClientHttp2Session; ended: Promise<string> } {
      const client = connect(`http://${server.endpoint}`);
      sessions.push(client);
      client.on("error", () => {});
      const ended = new Promise<string>((resolve) => {
        client.on("goaway", (code, _last, data) => resolve(`${code} ${data === undefined ? "" : Buffer.from(data)}`));
        client.on("close", () => resolve("closed"));
      });
      return { client, ended };
    }

    function openWatch(client: ClientHttp2Session): Promise<IncomingHttpHeaders> {
      const stream = client.request({
        ":method": "POST",
        ":path": "/etcdserverpb.Watch/Watch",
        "content-type": "application/grpc",
        te: "trailers",
      });
      stream.on("error", () => {});
      stream.resume();
      const bytes = WatchRequest.encode({ createRequest: { key: Buffer.from("k") } });
      const frame = Buffer.alloc(5 + bytes.length);
      frame.writeUInt32BE(bytes.length, 1);
      frame.set(bytes, 5);
      stream.write(frame);
      return new Promise((resolve) => stream.once("response", resolve));
    }

    /** Its answer may never come: a session that is sent away forgets who waits. */
    async function ping(client: ClientHttp2Session): Promise<void> {
      if (client.connecting) await new Promise((resolve) => client.once("connect", resolve));
      if (!client.destroyed) client.ping(() => {});
      await sleep(5);
    }

    it("a request is too large from exactly one byte on", async () => {
      let fits = 0;
      let tooLarge = MAX_REQUEST_BYTES;
      while (tooLarge - fits > 1) {
        const middle = (fits + tooLarge) >> 1;
        const answer = await put(middle);
        if (answer === "done") fits = middle;
        else {
          assert.equal(answer, "3 etcdserver: request is too large");
          tooLarge = middle;
        }
      }
      longestValues.set(name, fits);
      assert.ok(fits > MAX_REQUEST_BYTES - 100 && fits < MAX_REQUEST_BYTES, `${fits}`);
    });

    it("a message beyond that is refused before it is read", async () => {
      const limit = MAX_REQUEST_BYTES + MESSAGE_OVERHEAD_BYTES;
      // Key and value with their tags and lengths.
      const head = 3 + 4;
      assert.equal(await put(limit - head), "3 etcdserver: request is too large");
      const message = `grpc: received message larger than max (${limit + 1} vs. ${limit})`;
      assert.equal(await put(limit - head + 1), `8 ${message}`);
    });

    it("a txn has so many operations in each of its parts, and what is nested counts", async () => {
      const op = (i: number): Init<RequestOp> => ({ requestRange: { key: Buffer.from(`k${i}`) } });
      const ops = (count: number): Init<RequestOp>[] => Array.from({ length: count }, (_, i) => op(i));
      const tooMany = "3 etcdserver: too many operations in txn request";
      assert.equal(await txn({ success: ops(MAX_TXN_OPS), failure: ops(MAX_TXN_OPS) }), "done");
      assert.equal(await txn({ success: ops(MAX_TXN_OPS + 1) }), tooMany);
      assert.equal(await txn({ failure: ops(MAX_TXN_OPS + 1) }), tooMany);
      const compare = Array.from({ length: MAX_TXN_OPS + 1 }, () => ({ key: Buffer.from("k"), createRevision: 0 }));
      assert.equal(await txn({ compare }), tooMany);
      const nested = (count: number): Init<RequestOp> => ({ requestTxn: { success: ops(count) } });
      assert.equal(await txn({ success: [nested(MAX_TXN_OPS - 1)] }), "done");
      assert.equal(await txn({ success: [nested(MAX_TXN_OPS)] }), tooMany);
    });

    it("a connection has so many streams, and another one as many again", async () => {
      for (let i = 0; i < 2; i++) {
        const { client } = session();
        await new Promise((resolve) => client.once("remoteSettings", resolve));
        assert.equal(client.remoteSettings.maxConcurrentStreams, MAX_STREAMS);
        const opened = await Promise.all(Array.from({ length: MAX_STREAMS }, () => openWatch(client)));
        assert.ok(opened.every((headers) => Number(headers[":status"]) === 200));
        client.destroy();
      }
    });

    it("a client that pings without a stream, or too often, is told to calm down and sent away", async () => {
      const idle = session();
      for (let i = 0; i < 10; i++) await ping(idle.client);
      assert.equal(await idle.ended, "11 too_many_pings");
      const busy = session();
      await openWatch(busy.client);
      for (let i = 0; i < 10; i++) await ping(busy.client);
      assert.equal(await busy.ended, "11 too_many_pings");
    });

    it("a client that pings no more often than it may stays", async () => {
      const { client } = session();
      await openWatch(client);
      for (let i = 0; i < 6; i++) {
        await ping(client);
        await sleep(230);
      }
      assert.equal(client.destroyed, false);
    });

    const isOld = name === "etcd" && ETCD_VERSION < "3.5" && "only from etcd 3.5 on";
    it("a version of the client's API that is no text is refused", { skip: isOld }, async () => {
      const { client } = session();
      const stream = client.request({
        ":method": "POST",
        ":path": "/etcdserverpb.KV/Range",
        "content-type": "application/grpc",
        te: "trailers",
        "client-api-version": "\u00ff\u00fe",
      });
      stream.end(Buffer.from([0, 0, 0, 0, 3, 0x0a, 1, 0x6b]));
      const headers = await new Promise<IncomingHttpHeaders>((resolve, reject) => {
        stream.on("error", reject);
        stream.once("response", resolve);
        stream.resume();
      });
      assert.deepEqual(
        [headers["grpc-status"], headers["grpc-message"]],
        ["3", "etcdserver: invalid client api version"],
      );
    });
  });
}

subject("Quorate", () => ServerProcess.quorate({ flags: FLAGS, ports }), false);
subject("etcd", () => ServerProcess.etcd({ flags: FLAGS, ports }), !hasEtcd);

it("both take requests of the same size", { skip: !hasEtcd }, () => {
  assert.equal(longestValues.get("Quorate"), longestValues.get("etcd"));
});
