import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { after, before, test } from "node:test";
import {
  AuthenticateRequest,
  AuthenticateResponse,
  type Init,
  type MessageType,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import { type Method, RpcServer, type ServerCall } from "@quorate/rpc";
import type { Clock, Timers } from "@quorate/world";
import { configOf } from "../config/config.ts";
import { BootstrapError } from "./bootstrap.ts";
import type { Registry } from "./discovery-world.ts";
import { openRegistry } from "./etcd-registry.ts";

const clock: Clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };
const timers: Timers = {
  after(delayMs, fire) {
    const timer = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  nextTurn: (run) => void setImmediate(run),
};

/** What the server was asked: method, key, token. */
const asked: string[] = [];
let watcher: ServerCall | null = null;
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const row = (key: string, createRevision: number) => ({
  key: Buffer.from(key),
  value: Buffer.from(`value of ${key}`),
  createRevision,
});

function respond<T extends object>(call: ServerCall, type: MessageType<T>, message: Init<T>): void {
  const bytes = type.encode(message);
  call.respond(bytes, 0, bytes.length);
}

function send(call: ServerCall, message: Init<WatchResponse>): void {
  const bytes = WatchResponse.encode(message);
  call.send(bytes, 0, bytes.length);
}

const methods = new Map<string, Method>([
  [
    "/etcdserverpb.KV/Range",
    {
      kind: "unary",
      handle(call, buffer, start, end) {
        const { key, rangeEnd } = RangeRequest.decode(buffer, start, end);
        asked.push(`range ${text(key)} ${text(rangeEnd)} ${call.metadata("token")}`);
        if (text(key) === "silent") return;
        if (text(key) === "broken") return call.fail(5, "no such thing");
        respond(call, RangeResponse, { header: { revision: 9 }, kvs: [row("a", 3), row("b", 4)] });
      },
    },
  ],
  [
    "/etcdserverpb.KV/Put",
    {
      kind: "unary",
      handle(call, buffer, start, end) {
        const { key, value } = PutRequest.decode(buffer, start, end);
        asked.push(`put ${text(key)} ${text(value)} ${call.metadata("token")}`);
        respond(call, PutResponse, {});
      },
    },
  ],
  [
    "/etcdserverpb.Auth/Authenticate",
    {
      kind: "unary",
      handle(call, buffer, start, end) {
        const { name, password } = AuthenticateRequest.decode(buffer, start, end);
        asked.push(`authenticate ${name} ${password}`);
        respond(call, AuthenticateResponse, { token: "token.1" });
      },
    },
  ],
  [
    "/etcdserverpb.Watch/Watch",
    {
      kind: "stream",
      open: () => ({
        message(call, buffer, start, end) {
          const { createRequest } = WatchRequest.decode(buffer, start, end);
          asked.push(
            `watch ${text(createRequest!.key)} ${text(createRequest!.rangeEnd)} ${createRequest!.startRevision}`,
          );
          send(call, { created: true });
          watcher = call;
        },
        halfClosed() {},
      }),
    },
  ],
]);

const rpc = new RpcServer({ methods, clock, timers });
let listener: Server;
let port = 0;

before(async () => {
  listener = createServer((socket) => rpc.accept(socket));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  port = (listener.address() as { port: number }).port;
});

after(() => {
  rpc.close();
  listener.close();
});

async function withRegistry(
  settings: Record<string, string>,
  use: (registry: Registry) => Promise<void>,
): Promise<void> {
  asked.length = 0;
  const given = { "discovery-token": "t", "discovery-endpoints": `127.0.0.1:${port}`, ...settings };
  const registry = openRegistry(configOf(new Map(Object.entries(given)), true).discovery!, { clock, timers });
  try {
    await use(registry);
  } finally {
    registry.close();
  }
}

test("rows are read and written as a client does", () =>
  withRegistry({}, async (registry) => {
    assert.deepEqual(await registry.range("k", "l"), {
      revision: 9,
      rows: [
        { key: "a", value: "value of a", createRevision: 3 },
        { key: "b", value: "value of b", createRevision: 4 },
      ],
    });
    await registry.put("k", "v");
    assert.deepEqual(asked, ["range k l undefined", "put k v undefined"]);
  }));

test("a watch hands on rows in the order they come, and breaks when the server ends it", () =>
  withRegistry({}, async (registry) => {
    const watch = registry.watch("k", "l", 10);
    const first = watch.next();
    while (watcher === null) await new Promise(setImmediate);
    assert.deepEqual(asked, ["watch k l 10"]);
    send(watcher, { events: [{ kv: row("c", 11) }, { kv: row("d", 12) }] });
    assert.deepEqual(
      (await first).map((each) => each.key),
      ["c", "d"],
    );
    const second = watch.next();
    send(watcher, { canceled: true, cancelReason: "compacted" });
    await assert.rejects(second, /the watch was cancelled: compacted/);
    watch.cancel();
  }));

test("an endpoint that is down is passed over, and the one that answered is kept", () =>
  withRegistry({ "discovery-endpoints": `http://127.0.0.1:1,http://127.0.0.1:${port}` }, async (registry) => {
    await registry.put("k", "1");
    await registry.put("k", "2");
    assert.deepEqual(asked, ["put k 1 undefined", "put k 2 undefined"]);
  }));

test("a call fails when nobody answers, in time or at all", async () => {
  await withRegistry({ "discovery-endpoints": "http://127.0.0.1:1,unix:///nowhere" }, async (registry) => {
    await assert.rejects(registry.range("k"));
  });
  await withRegistry({ "discovery-request-timeout": "50ms" }, async (registry) => {
    await assert.rejects(registry.range("silent"), { message: "context deadline exceeded" });
    await assert.rejects(registry.range("broken"), { message: "no such thing" });
  });
});

test("a user is authenticated once, and again after a failure", () =>
  withRegistry({ "discovery-user": "u", "discovery-password": "p" }, async (registry) => {
    await registry.put("k", "1");
    await registry.put("k", "2");
    await assert.rejects(registry.range("broken"));
    await registry.put("k", "3");
    assert.deepEqual(asked, [
      "authenticate u p",
      "put k 1 token.1",
      "put k 2 token.1",
      "range broken  token.1",
      "authenticate u p",
      "put k 3 token.1",
    ]);
  }));

test("what is no endpoint, or no file, is refused before anything is asked", async () => {
  await assert.rejects(
    withRegistry({ "discovery-endpoints": "ftp://a:1" }, async () => {}),
    new BootstrapError('--discovery-endpoints has "ftp://a:1", which is no endpoint'),
  );
  await assert.rejects(
    withRegistry({ "discovery-cacert": "/nowhere/ca.pem" }, async () => {}),
    { kind: "Bootstrap", message: /cannot read a file of v3 discovery: ENOENT.*\/nowhere\/ca.pem/ },
  );
});
