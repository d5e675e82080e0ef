/** Advisories about who may connect, and what a connection, a page or a configured peer can make a member do. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { createServer as createHttpsServer, type Server } from "node:https";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { after, before, describe } from "node:test";
import { connect as connectTls } from "node:tls";
import {
  AuthEnableRequest,
  AuthEnableResponse,
  AuthRoleAddRequest,
  AuthRoleAddResponse,
  AuthUserAddRequest,
  AuthUserAddResponse,
  AuthUserGrantRoleRequest,
  AuthUserGrantRoleResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
} from "@quorate/api/messages";
import { freePort } from "../../packages/server/src/testing/ports.ts";
import { isInstalled, runQuorate, ServerProcess, sleep } from "../harness/processes.ts";
import { Calls } from "../harness/rpc.ts";
import { Certificates } from "./certificates.ts";
import { advisory } from "./list.ts";

const hasOpenssl = isInstalled("openssl", "version");

/** The status of one HTTP request; `host` is what the page's browser believes to talk to. */
function ask(
  port: number,
  path: string,
  options: { readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string } = {},
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const { method = "POST", headers = {}, body = "" } = options;
    const asked = request({ port, host: "127.0.0.1", path, method, headers: { connection: "close", ...headers } });
    asked.on("error", reject);
    asked.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode!, body: text }));
    });
    asked.end(body);
  });
}

async function storedAt(server: ServerProcess, key: string): Promise<string | null> {
  const calls = new Calls(server.ports.client);
  try {
    const { kvs } = await calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, { key: Buffer.from(key) });
    return kvs.length === 0 ? null : `${kvs[0]!.value}`;
  } finally {
    calls.close();
  }
}

describe("advisories: a page in somebody's browser", () => {
  const servers: ServerProcess[] = [];
  after(async () => {
    for (const server of servers) await server.dispose();
  });

  async function start(flags: readonly string[] = []): Promise<ServerProcess> {
    const server = await ServerProcess.quorate({ flags });
    servers.push(server);
    return server;
  }

  advisory("SA-01", "what a page can send to another site without being asked for leave writes nothing", async () => {
    const server = await start();
    const { ports } = server;
    const body = JSON.stringify({ key: Buffer.from("csrf").toString("base64"), value: "dg==" });
    for (const port of [ports.client, ports.peer]) {
      for (const path of ["/v3/kv/put", "/v3/kv/txn", "/v3beta/kv/put", "/v2/keys/csrf"]) {
        for (const type of ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=b"]) {
          const headers = { "content-type": type, origin: "http://evil.example" };
          const { status } = await ask(port, path, { headers, body });
          assert.ok(status >= 400, `${path} as ${type} is answered with ${status}`);
        }
      }
    }
    assert.equal(await storedAt(server, "csrf"), null);
  });

  advisory("SA-02", "a host that is not on the list is refused, whatever is asked for", async () => {
    // The harness itself asks 127.0.0.1.
    const { ports } = await start(["--host-whitelist=good.example,127.0.0.1"]);
    for (const path of ["/health", "/version", "/metrics", "/livez", "/readyz", "/v3/kv/range", "/nothing"]) {
      for (const host of ["evil.example", "evil.example:2379", "good.example.evil.example"]) {
        const { status, body } = await ask(ports.client, path, { method: "GET", headers: { host } });
        assert.ok(status === 421 || status === 403 || status === 400, `${path} of ${host}: ${status} ${body}`);
      }
    }
    assert.equal(
      (await ask(ports.client, "/health", { method: "GET", headers: { host: "good.example" } })).status,
      200,
    );
  });
});

describe("advisories: what a configuration may say", () => {
  advisory("SA-07", "nothing here forwards connections, to itself or anybody else", async () => {
    for (const command of ["gateway", "grpc-proxy"]) {
      const end = await runQuorate([command, "start", "--endpoints=127.0.0.1:23790"]);
      assert.equal(end.code, 2);
      assert.match(end.stderr, /unknown command/);
    }
  });

  advisory("SA-13", "a size that no cluster can have ends the start that asks the registry for it", async () => {
    const registry = await ServerProcess.quorate();
    const calls = new Calls(registry.ports.client);
    try {
      for (const size of ["-1", "99999999999999999999", "3; DROP"]) {
        const key = Buffer.from(`/_etcd/registry/token${size}/_config/size`);
        await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key, value: Buffer.from(size) });
        const end = await runQuorate([
          "serve",
          `--data-dir=${registry.directory}/other`,
          `--discovery-token=token${size}`,
          `--discovery-endpoints=http://${registry.endpoint}`,
          `--listen-client-urls=http://127.0.0.1:${await freePort()}`,
          `--advertise-client-urls=http://127.0.0.1:1`,
          `--listen-peer-urls=http://127.0.0.1:${await freePort()}`,
          `--initial-advertise-peer-urls=http://127.0.0.1:2`,
        ]);
        assert.equal(end.code, 1, `${size}: ${end.stderr}`);
        assert.match(end.stderr, /size/, size);
      }
    } finally {
      calls.close();
      await registry.dispose();
    }
  });

  advisory("SA-14", "a retention that is negative, or no number, ends the start", async () => {
    for (const [mode, retention] of [
      ["periodic", "-1h"],
      ["periodic", "many"],
      ["revision", "-1"],
    ] as const) {
      const flags = [`--auto-compaction-mode=${mode}`, `--auto-compaction-retention=${retention}`];
      const end = await runQuorate(["serve", ...flags]);
      assert.equal(end.code, 1, `${mode} ${retention}: ${end.stderr}`);
      assert.match(end.stderr, /retention must be|CompactionRetention/);
    }
  });

  advisory("SA-16", "weak cipher suites and protocols cannot be configured", async () => {
    for (const flag of [
      "--cipher-suites=TLS_RSA_WITH_RC4_128_SHA",
      "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_RC4_128_SHA",
      "--tls-min-version=TLS1.1",
      "--tls-max-version=TLS1.1",
    ]) {
      const end = await runQuorate(["serve", flag]);
      assert.equal(end.code, 1, `${flag}: ${end.stderr}`);
      assert.match(end.stderr, /cipher|tls/i, flag);
    }
  });
});

describe("advisories: TLS", { skip: !hasOpenssl }, () => {
  const made = new Certificates();
  const servers: { close(): void }[] = [];

  before(() => {
    made.authority("ca");
    made.authority("other");
    made.issue("member", 0x11, "ca");
    made.issue("revoked", 0x12, "ca");
    made.issue("root", 0x13, "ca");
    made.issue("impostor", 0x14, "other");
    made.revoke("ca", ["12"]);
  });
  after(() => {
    for (const server of servers) server.close();
    made.dispose();
  });

  const pem = (file: string): Buffer => readFileSync(made.path(file));

  /** An HTTPS server at a member's address that counts what it is asked. */
  async function member(name: string): Promise<{ url: string; server: Server; asked(): number }> {
    let count = 0;
    const server = createHttpsServer({ cert: pem(`${name}.crt`), key: pem(`${name}.key`) }, (_request, response) => {
      count++;
      response.writeHead(404, { connection: "close" }).end();
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, server, asked: () => count };
  }

  /** A process whose other members are at these URLs: it dials them again and again. */
  async function dialling(...urls: readonly string[]): Promise<ServerProcess> {
    const own = `https://127.0.0.1:${await freePort()}`;
    const others = urls.map((url, i) => `other${i}=${url}`);
    const dialler = await ServerProcess.quorate({
      flags: [
        `--listen-peer-urls=${own}`,
        `--initial-advertise-peer-urls=${own}`,
        `--initial-cluster=default=${own},${others.join(",")}`,
        `--peer-cert-file=${made.path("member.crt")}`,
        `--peer-key-file=${made.path("member.key")}`,
        `--peer-trusted-ca-file=${made.path("ca.crt")}`,
      ],
      waitUntilReady: false,
    });
    servers.push({ close: () => void dialler.dispose() });
    return dialler;
  }

  async function until(what: string, holds: () => boolean): Promise<void> {
    const deadline = Date.now() + 20_000;
    while (!holds()) {
      if (Date.now() > deadline) assert.fail(`it did not come about that ${what}`);
      await sleep(20);
    }
  }

  advisory("SA-09", "every member is verified by TLS the same way, and tells nothing to who is not", async () => {
    const good = await member("member");
    const bad = await member("impostor");
    const alsoGood = await member("root");
    await dialling(good.url, bad.url, alsoGood.url);
    await until("the good ones are asked", () => good.asked() > 3 && alsoGood.asked() > 3);
    assert.equal(bad.asked(), 0);
  });

  advisory("SA-10", "who takes connections but cannot finish a handshake is not there", async () => {
    let connections = 0;
    const silent = createServer((socket) => {
      connections++;
      socket.on("error", () => {}).resume();
    });
    servers.push(silent);
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const dialler = await dialling(`https://127.0.0.1:${(silent.address() as AddressInfo).port}`);
    await until("it is dialled", () => connections > 0);
    await sleep(500);
    assert.doesNotMatch(dialler.log, /peer became active|established TCP streaming connection|became leader/);
  });

  advisory("SA-11", "each connection is verified anew: who changes afterwards is refused", async () => {
    const { url, server, asked } = await member("member");
    await dialling(url);
    await until("it is asked", () => asked() > 3);
    server.setSecureContext({ cert: pem("impostor.crt"), key: pem("impostor.key") });
    server.closeAllConnections();
    await sleep(50);
    const before = asked();
    await sleep(700);
    assert.equal(asked(), before);
    server.setSecureContext({ cert: pem("member.crt"), key: pem("member.key") });
    await until("it is asked again", () => asked() > before);
  });

  // As long as a connection may take to say what it is.
  advisory(
    "SA-24",
    "connections that never finish a handshake are cut in time, and others are served meanwhile",
    async () => {
      const { server, port } = await tlsServer([]);
      try {
        let closed = 0;
        const sockets: Socket[] = [];
        // Nothing at all, the beginning of a record, and a record whose rest never comes.
        const beginnings = [Buffer.alloc(0), Buffer.from([0x16]), Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])];
        for (let i = 0; i < 600; i++) {
          const socket = connect({ port, host: "127.0.0.1" });
          socket.on("error", () => {});
          socket.on("close", () => closed++);
          socket.write(beginnings[i % beginnings.length]!);
          sockets.push(socket);
        }
        await sleep(100);
        assert.equal((await call(port, "root")).status, "0");
        assert.equal(closed, 0);
        await until("all of them are cut", () => closed === sockets.length);
        assert.equal((await call(port, "root")).status, "0");
      } finally {
        await server.dispose();
      }
    },
  );

  /** A gRPC call over TLS; resolves with its status, or "refused" if there is no connection to make it on. */
  function call(
    port: number,
    certificate: string,
    headers: Record<string, string> = {},
  ): Promise<{ status: string; message: string }> {
    return new Promise((resolve) => {
      const options = { ca: pem("ca.crt"), cert: pem(`${certificate}.crt`), key: pem(`${certificate}.key`) };
      const session: ClientHttp2Session = connectHttp2(`https://127.0.0.1:${port}`, options);
      const end = (status: string, message: string): void => {
        resolve({ status, message });
        session.destroy();
      };
      session.on("error", () => end("refused", ""));
      session.on("close", () => end("refused", ""));
      const asked = session.request({
        ":method": "POST",
        ":path": "/etcdserverpb.KV/Range",
        "content-type": "application/grpc",
        te: "trailers",
        ...headers,
      });
      asked.on("error", () => {});
      const tell = (got: Record<string, unknown>): void => {
        if (got["grpc-status"] !== undefined) end(String(got["grpc-status"]), String(got["grpc-message"] ?? ""));
      };
      asked.on("response", tell);
      asked.on("trailers", tell);
      asked.resume();
      asked.end(Buffer.from([0, 0, 0, 0, 3, 0x0a, 1, 0x6b]));
    });
  }

  /** On the directory of another server, if there is one. */
  function tlsServer(
    flags: readonly string[],
    before?: ServerProcess,
  ): Promise<{ server: ServerProcess; port: number }> {
    return freePort().then(async (port) => {
      const server = await ServerProcess.quorate({
        flags: [
          `--listen-client-urls=https://127.0.0.1:${port}`,
          `--advertise-client-urls=https://127.0.0.1:${port}`,
          `--cert-file=${made.path("member.crt")}`,
          `--key-file=${made.path("member.key")}`,
          `--trusted-ca-file=${made.path("ca.crt")}`,
          "--client-cert-auth",
          ...flags,
        ],
        ...(before === undefined ? {} : { directory: before.directory, ports: before.ports }),
        waitUntilReady: false,
      });
      const deadline = Date.now() + 20_000;
      while (!server.log.includes("ready to serve client requests") && Date.now() < deadline) {
        if (server.child.exitCode !== null) break;
        await sleep(20);
      }
      return { server, port };
    });
  }

  advisory("SA-03", "what comes through a gateway is never the user of the gateway's certificate", async () => {
    const plain = await ServerProcess.quorate({ flags: ["--bcrypt-cost=4"] });
    const calls = new Calls(plain.ports.client);
    const user = { name: "root", password: "root-password" };
    await calls.unary("etcdserverpb.Auth/UserAdd", AuthUserAddRequest, AuthUserAddResponse, user);
    await calls.unary("etcdserverpb.Auth/RoleAdd", AuthRoleAddRequest, AuthRoleAddResponse, { name: "root" });
    const granted = { user: "root", role: "root" };
    await calls.unary("etcdserverpb.Auth/UserGrantRole", AuthUserGrantRoleRequest, AuthUserGrantRoleResponse, granted);
    await calls.unary("etcdserverpb.Auth/AuthEnable", AuthEnableRequest, AuthEnableResponse, {});
    calls.close();
    await plain.kill("SIGTERM");
    const { server, port } = await tlsServer([], plain);
    try {
      const nobody = { status: "3", message: "etcdserver: user name is empty" };
      assert.deepEqual(await call(port, "root", { "grpcgateway-accept": "application/json" }), nobody);
      assert.equal((await call(port, "root")).status, "0", "a client's own certificate says who it is");
      assert.notEqual((await call(port, "member")).status, "0", "a name that is no user's");
    } finally {
      await server.dispose();
      await plain.dispose();
    }
  });

  advisory("SA-23", "a revoked certificate opens no port, also where HTTP has its own", async () => {
    for (const hasHttpPort of [false, true]) {
      const http = hasHttpPort ? [`--listen-client-http-urls=https://127.0.0.1:${await freePort()}`] : [];
      const { server, port } = await tlsServer([`--client-crl-file=${made.path("crl.pem")}`, ...http]);
      try {
        assert.equal((await call(port, "root")).status, "0", server.log);
        assert.equal((await call(port, "revoked")).status, "refused");
        assert.equal((await call(port, "impostor")).status, "refused");
        for (const url of http) {
          const httpPort = Number(url.slice(url.lastIndexOf(":") + 1));
          const revoked = connectTls({
            port: httpPort,
            host: "127.0.0.1",
            ca: pem("ca.crt"),
            cert: pem("revoked.crt"),
            key: pem("revoked.key"),
          });
          let answer = "";
          revoked.on("error", () => {});
          revoked.setEncoding("utf8").on("data", (chunk: string) => {
            answer += chunk;
          });
          revoked.write("GET /health HTTP/1.1\r\nHost: a\r\n\r\n");
          await new Promise((resolve) => revoked.once("close", resolve));
          assert.equal(answer, "");
        }
      } finally {
        await server.dispose();
      }
    }
  });
});
