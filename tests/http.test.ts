/**
 * The client port as everything but a well-behaved gRPC client meets it: HTTP/1.1 endpoints, TLS beside plain on one
 * port, and bytes that are nonsense. After each piece of nonsense the member must serve as before.
 *
 * covers: H2-17
 */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { PutRequest, RangeRequest, RangeResponse } from "@quorate/api/messages";
import { StatusCode } from "@quorate/rpc";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { Etcdctl } from "./harness/etcdctl.ts";
import { isInstalled, runQuorate, ServerProcess, sleep } from "./harness/processes.ts";
import { Calls } from "./harness/rpc.ts";

describe("HTTP/1.1 on the client port", () => {
  let server: ServerProcess;
  let base: string;

  before(async () => {
    server = await ServerProcess.quorate();
    base = `http://${server.endpoint}`;
  });
  after(() => server.dispose());

  async function get(path: string, init?: RequestInit): Promise<{ status: number; body: string; headers: Headers }> {
    const response = await fetch(base + path, init);
    return { status: response.status, body: await response.text(), headers: response.headers };
  }

  it("/version names etcd's versions and our own", async () => {
    const { status, body, headers } = await get("/version");
    assert.equal(status, 200);
    assert.equal(headers.get("content-type"), "application/json");
    const { quorate, ...etcds } = JSON.parse(body) as Record<string, string>;
    assert.deepEqual(etcds, { etcdserver: "3.7.1", etcdcluster: "3.7.0", storage: "3.7.0" });
    assert.match(quorate!, /^\d+\.\d+\.\d+$/);
  });

  it("/health, /livez and /readyz say that all is well, with etcd's bodies", async () => {
    assert.deepEqual((await get("/health")).body, '{"health":"true","reason":""}');
    assert.equal((await get("/health?serializable=true")).status, 200);
    assert.equal((await get("/livez")).body, "ok\n");
    assert.equal((await get("/readyz")).body, "ok\n");
    assert.equal((await get("/livez?verbose")).body, "[+]serializable_read ok\nok\n");
    const verbose = (await get("/readyz?verbose")).body.split("\n");
    assert.deepEqual(verbose, [
      "[+]data_corruption ok",
      "[+]serializable_read ok",
      "[+]linearizable_read ok",
      "[+]non_learner ok",
      "ok",
      "",
    ]);
    assert.equal((await get("/readyz/linearizable_read")).status, 200);
  });

  it("/metrics is Prometheus text and counts what happened", async () => {
    const calls = new Calls(server.ports.client);
    const read = async (): Promise<number> => {
      const { status, body, headers } = await get("/metrics");
      assert.equal(status, 200);
      assert.match(headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
      for (const line of body.trimEnd().split("\n")) {
        assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{.*\})? \S+)$/);
      }
      assert.match(body, /^etcd_server_has_leader 1$/m);
      return Number(/^etcd_debugging_mvcc_current_revision (\S+)$/m.exec(body)![1]);
    };
    const before = await read();
    const response = await calls.unary("etcdserverpb.KV/Put", PutRequest, RangeResponse, { key: Buffer.from("m") });
    assert.ok(response.header!.revision > 1);
    assert.equal(await read(), before + 1);
    calls.close();
  });

  it("/metrics counts calls by the API version their client tells", async () => {
    const calls = new Calls(server.ports.client);
    const request = { key: Buffer.from("v"), serializable: true };
    for (const metadata of [[["client-api-version", "3.99.1"]], [["client-api-version", "3.99.1"]], []] as const) {
      await calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, request, { metadata });
    }
    const { body } = await get("/metrics");
    assert.match(body, /^# TYPE etcd_server_client_requests_total counter$/m);
    assert.match(body, /^etcd_server_client_requests_total\{type="unary",client_api_version="3\.99\.1"\} 2$/m);
    assert.match(body, /^etcd_server_client_requests_total\{type="unary",client_api_version="unknown"\} \d+$/m);
    calls.close();
  });

  it("what is not there is 404, what may not be done is 405", async () => {
    assert.equal((await get("/no-such-path")).status, 404);
    assert.equal((await get("/livez/no_such_check")).status, 404);
    assert.equal((await get("/health", { method: "POST", body: "x" })).status, 405);
    assert.equal((await get("/v2/keys")).status, 404);
  });

  it("a gRPC path asked for by HTTP/1.1 is answered, not taken for a call", async () => {
    const { status } = await get("/etcdserverpb.KV/Range", {
      method: "POST",
      headers: { "content-type": "application/grpc" },
      body: "\0\0\0\0\0",
    });
    assert.ok(status === 404 || status === 415, `status ${status}`);
  });

  it("the peer port answers /version and /members", async () => {
    const peer = `http://127.0.0.1:${server.ports.peer}`;
    assert.equal((await fetch(`${peer}/version`)).status, 200);
    const members = (await (await fetch(`${peer}/members`)).json()) as { name: string; peerURLs: string[] }[];
    assert.deepEqual(
      members.map((each) => [each.name, each.peerURLs]),
      [["default", [`http://127.0.0.1:${server.ports.peer}`]]],
    );
  });
});

describe("nonsense on the client port", () => {
  let server: ServerProcess;

  before(async () => {
    server = await ServerProcess.quorate();
  });
  after(() => server.dispose());

  /** Sends bytes and returns what comes back until the server closes or has said nothing for a while. */
  function raw(bytes: Buffer | string, quietMs = 300): Promise<{ answer: Buffer; isClosed: boolean }> {
    return new Promise((resolve) => {
      const socket = connect(server.ports.client, "127.0.0.1");
      const chunks: Buffer[] = [];
      const finish = (isClosed: boolean): void => {
        socket.destroy();
        resolve({ answer: Buffer.concat(chunks), isClosed });
      };
      socket.setTimeout(quietMs, () => finish(false));
      socket.on("data", (chunk) => chunks.push(chunk));
      socket.on("error", () => {});
      socket.on("close", () => finish(true));
      socket.write(bytes);
    });
  }

  async function stillServes(): Promise<void> {
    const response = await fetch(`http://${server.endpoint}/health`);
    assert.equal(await response.text(), '{"health":"true","reason":""}');
    const calls = new Calls(server.ports.client);
    const request = { key: Buffer.from("k"), value: Buffer.from("v") };
    await calls.unary("etcdserverpb.KV/Put", PutRequest, RangeResponse, request);
    calls.close();
    assert.equal(server.child.exitCode, null);
  }

  it("garbage is answered with 400 or hung up on", async () => {
    let state = 1;
    for (let i = 0; i < 50; i++) {
      const bytes = Buffer.alloc(1 + ((i * 37) % 400));
      for (let at = 0; at < bytes.length; at++) {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        bytes[at] = state >>> 16;
      }
      // 0x16 would begin TLS and "P" the HTTP/2 preface: both wait for more.
      if (bytes[0] === 0x16 || bytes[0] === 0x50) bytes[0] = 0;
      const { answer, isClosed } = await raw(bytes, 2000);
      assert.ok(isClosed, `garbage ${i} was kept open`);
      assert.match(answer.toString("latin1"), /^$|^HTTP\/1\.1 400 /);
    }
    await stillServes();
  });

  it("TLS to a plain port is hung up on", async () => {
    const { isClosed } = await raw(Buffer.from("16030100050100000100", "hex"));
    assert.ok(isClosed);
    await stillServes();
  });

  it("headers beyond the limit are refused", async () => {
    const { answer, isClosed } = await raw(
      `GET /version HTTP/1.1\r\nhost: x\r\nbig: ${"x".repeat(100_000)}\r\n\r\n`,
      2000,
    );
    assert.ok(isClosed);
    assert.match(answer.toString("latin1"), /^$|^HTTP\/1\.1 431 /);
    await stillServes();
  });

  it("the HTTP/2 preface followed by garbage ends in GOAWAY", async () => {
    const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    for (const rest of ["\0\0\0\x04\0\0\0\0\0", ""]) {
      const garbage = Buffer.from("ffffff00ff80000000deadbeef".repeat(4), "hex");
      const { answer, isClosed } = await raw(Buffer.concat([preface, Buffer.from(rest, "latin1"), garbage]), 2000);
      assert.ok(isClosed);
      assert.ok(frameTypes(answer).includes(7), "GOAWAY");
    }
    await stillServes();
  });

  it("connections that say nothing, or half of something, do no harm", async () => {
    const sockets = Array.from({ length: 100 }, (_, i) => {
      const socket = connect(server.ports.client, "127.0.0.1");
      socket.on("error", () => {});
      if (i % 2 === 0) socket.write("PRI * HT");
      return socket;
    });
    await stillServes();
    for (const socket of sockets) socket.destroy();
    await stillServes();
  });

  describe("as HTTP/2", () => {
    let session: ClientHttp2Session;

    before(async () => {
      session = connectHttp2(`http://${server.endpoint}`);
      session.on("error", () => {});
      await new Promise((resolve) => session.once("connect", resolve));
    });
    after(() => session.destroy());

    interface Answer {
      readonly http: number;
      readonly grpc: string | undefined;
      readonly message: string | undefined;
      readonly wasReset: boolean;
    }

    function call(path: string, body: Buffer, headers: Record<string, string> = {}): Promise<Answer> {
      return new Promise((resolve) => {
        const stream = session.request({
          ":method": "POST",
          ":path": path,
          "content-type": "application/grpc",
          te: "trailers",
          ...headers,
        });
        const seen: Record<string, unknown> = {};
        let wasReset = false;
        stream.on("response", (received) => Object.assign(seen, received));
        stream.on("trailers", (received) => Object.assign(seen, received));
        stream.on("error", () => {
          wasReset = true;
        });
        stream.on("close", () => {
          const message = seen["grpc-message"] as string | undefined;
          resolve({
            http: Number(seen[":status"]),
            grpc: seen["grpc-status"] as string | undefined,
            message: message === undefined ? undefined : decodeURIComponent(message),
            wasReset,
          });
        });
        stream.resume();
        stream.end(body);
      });
    }

    const framed = (message: Uint8Array, flags = 0, length = message.length): Buffer => {
      const head = Buffer.alloc(5);
      head[0] = flags;
      head.writeUInt32BE(length, 1);
      return Buffer.concat([head, message]);
    };
    const get = framed(RangeRequest.encode({ key: Buffer.from("k") }));

    it("a proper call is answered, to know that the tests below can fail", async () => {
      const answer = await call("/etcdserverpb.KV/Range", get);
      assert.deepEqual([answer.http, answer.grpc], [200, "0"]);
    });

    it("a wrong content type is HTTP 415", async () => {
      for (const type of ["application/json", "text/plain", "application/grpcx"]) {
        assert.equal((await call("/etcdserverpb.KV/Range", get, { "content-type": type })).http, 415, type);
      }
      assert.equal((await call("/etcdserverpb.KV/Range", get, { "content-type": "application/grpc+proto" })).grpc, "0");
    });

    it("an unknown method or service is Unimplemented, and says which", async () => {
      const method = await call("/etcdserverpb.KV/NoSuch", get);
      assert.deepEqual([method.grpc, method.message], ["12", "unknown method NoSuch for service etcdserverpb.KV"]);
      const service = await call("/no.Such/Thing", get);
      assert.deepEqual([service.grpc, service.message], ["12", "unknown service no.Such"]);
    });

    it("a message that is no protobuf is Internal", async () => {
      for (const body of ["0a05616263", "ff", "0bffff", "0a80808080808080808080"]) {
        const answer = await call("/etcdserverpb.KV/Range", framed(Buffer.from(body, "hex")));
        assert.equal(answer.grpc, `${StatusCode.Internal}`, body);
      }
    });

    it("a message cut short is an error", async () => {
      const answer = await call("/etcdserverpb.KV/Range", framed(Buffer.from("0a01"), 0, 100));
      assert.equal(answer.grpc, `${StatusCode.Internal}`);
      assert.equal((await call("/etcdserverpb.KV/Range", Buffer.from("0000", "hex"))).grpc, `${StatusCode.Internal}`);
      assert.equal((await call("/etcdserverpb.KV/Range", Buffer.alloc(0))).grpc, `${StatusCode.Internal}`);
    });

    it("a message over the limit is ResourceExhausted with gRPC's words", async () => {
      const limit = 1572864 + 512 * 1024;
      const answer = await call("/etcdserverpb.KV/Put", framed(Buffer.alloc(10), 0, limit + 1));
      assert.equal(answer.grpc, `${StatusCode.ResourceExhausted}`);
      assert.equal(answer.message, `grpc: received message larger than max (${limit + 1} vs. ${limit})`);
      const huge = await call("/etcdserverpb.KV/Put", framed(Buffer.alloc(10), 0, 0xffff_ffff));
      assert.equal(huge.grpc, `${StatusCode.ResourceExhausted}`);
    });

    it("compression nobody agreed on is Unimplemented", async () => {
      const answer = await call("/etcdserverpb.KV/Range", framed(Buffer.from("0a0161", "hex"), 1), {
        "grpc-encoding": "snappy",
      });
      assert.equal(answer.grpc, `${StatusCode.Unimplemented}`);
    });

    it("GET on a gRPC path is refused", async () => {
      const stream = session.request({ ":method": "GET", ":path": "/etcdserverpb.KV/Range" });
      stream.on("error", () => {});
      const status = await new Promise((resolve) => {
        stream.on("response", (headers) => resolve(headers[":status"]));
        stream.on("close", () => resolve(0));
      });
      assert.ok([0, 404, 405, 415].includes(status as number), `status ${String(status)}`);
    });

    it("after all that the same connection serves", async () => {
      assert.equal((await call("/etcdserverpb.KV/Range", get)).grpc, "0");
      await stillServes();
    });
  });
});

describe("TLS", { skip: !isInstalled("openssl", "version") }, () => {
  const directory = mkdtempSync(join(tmpdir(), "quorate-tls-"));
  const certificate = join(directory, "server.crt");
  const key = join(directory, "server.key");
  let server: ServerProcess;

  before(async () => {
    makeCertificate(certificate, key);
    const half = await ServerProcess.quorate({ waitUntilReady: false });
    await half.dispose();
    const { client } = half.ports;
    server = await ServerProcess.quorate({
      ports: half.ports,
      flags: [
        `--listen-client-urls=http://127.0.0.1:${client},https://127.0.0.1:${client}`,
        `--advertise-client-urls=https://127.0.0.1:${client}`,
        `--cert-file=${certificate}`,
        `--key-file=${key}`,
      ],
    });
  });
  after(async () => {
    await server.dispose();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Whom the log says was rejected for that; the line may come later than the client's error. */
  async function rejection(cause: string): Promise<string> {
    for (let waitedMs = 0; waitedMs < 5000; waitedMs += 20) {
      for (const text of server.log.split("\n")) {
        if (!text.includes('"rejected connection on client endpoint"') || !text.endsWith("}")) continue;
        const line = JSON.parse(text) as Record<string, string>;
        if (line.error === cause) return line["remote-addr"]!;
      }
      await sleep(20);
    }
    throw new Error(`nobody was rejected for ${cause}:\n${server.log}`);
  }

  it("etcdctl over TLS and over plain reach the same member by the same port", {
    skip: !isInstalled("etcdctl", "version"),
  }, async () => {
    const secure = new Etcdctl(`https://${server.endpoint}`, [`--cacert=${certificate}`]);
    const plain = new Etcdctl(server.endpoint);
    assert.equal(await secure.ok(["put", "tls/a", "1"]), "OK\n");
    assert.equal(await plain.ok(["get", "tls/a"]), "tls/a\n1\n");
    const watch = secure.start(["watch", "tls/", "--prefix", "--rev=2"]);
    assert.deepEqual(await watch.lines(3), ["PUT", "tls/a", "1"]);
    await plain.ok(["put", "tls/b"], "x".repeat(1_000_000));
    assert.deepEqual(await watch.lines(2), ["PUT", "tls/b"]);
    assert.equal((await watch.line()).length, 1_000_000);
    await watch.stop();
    const untrusting = await new Etcdctl(`https://${server.endpoint}`, [
      "--dial-timeout=1s",
      "--command-timeout=1s",
    ]).run(["get", "tls/a"]);
    assert.equal(untrusting.code, 1);
  });

  it("HTTPS answers by HTTP/1.1", async () => {
    const body = await new Promise<string>((resolve, reject) => {
      const request = httpsRequest(
        { host: "127.0.0.1", port: server.ports.client, path: "/version", ca: readFileSync(certificate) },
        (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => {
            text += chunk;
          });
          response.on("end", () => resolve(text));
        },
      );
      request.on("error", reject).end();
    });
    assert.match(body, /"etcdserver":"3\.7\.1"/);
  });

  it("curl reaches it by either protocol", { skip: !isInstalled("curl") }, async () => {
    for (const url of [`https://${server.endpoint}/health`, `http://${server.endpoint}/health`]) {
      const body = await new Promise<string>((resolve, reject) => {
        execFile("curl", ["-sS", "--http1.1", "--cacert", certificate, url], (error, stdout) =>
          error === null ? resolve(stdout) : reject(error),
        );
      });
      assert.equal(body, '{"health":"true","reason":""}');
    }
  });

  it("files that are of no use refuse the start, which names them", async () => {
    const other = join(directory, "stranger.crt");
    makeCertificate(other, join(directory, "stranger.key"));
    const garbage = join(directory, "garbage.crt");
    writeFileSync(garbage, "garbage");
    const missing = join(directory, "missing.crt");
    const data = join(directory, "data");
    for (const [cert, flags, reason] of [
      [missing, [], new RegExp(`^cannot read TLS file ${missing}: ENOENT`)],
      [garbage, [], new RegExp(`^cannot use TLS certificate ${garbage}: no start line$`)],
      [other, [], new RegExp(`^cannot use TLS key ${key} with certificate ${other}: key values mismatch$`)],
      [certificate, [`--trusted-ca-file=${missing}`], new RegExp(`^cannot read TLS file ${missing}: ENOENT`)],
      [certificate, [`--trusted-ca-file=${garbage}`], new RegExp(`^cannot use TLS certificate ${garbage}: no start`)],
    ] as const) {
      const url = `https://127.0.0.1:${await freePort()}`;
      const urls = [`--listen-client-urls=${url}`, `--advertise-client-urls=${url}`];
      const { code, stderr } = await runQuorate([
        "serve",
        `--data-dir=${data}`,
        ...urls,
        `--cert-file=${cert}`,
        `--key-file=${key}`,
        ...flags,
      ]);
      assert.equal(code, 1, stderr);
      assert.match((JSON.parse(stderr.trimEnd().split("\n").at(-1)!) as { error: string }).error, reason);
      assert.ok(!existsSync(data), "nothing was written");
    }
  });

  it("an old protocol version or a broken handshake is refused, and others are served", async () => {
    const old = await new Promise<number | string | undefined>((resolve) => {
      const options = ["s_client", "-connect", server.endpoint, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
      const child = execFile("openssl", options, (error) => resolve(error === null ? 0 : (error.code ?? "killed")));
      child.stdin?.end();
    });
    assert.notEqual(old, 0);
    const remote = await rejection("unsupported protocol");
    assert.match(remote, /^127\.0\.0\.1:\d+$/);
    await new Promise<void>((resolve) => {
      const socket = connect(server.ports.client, "127.0.0.1", () => {
        socket.write(Buffer.concat([Buffer.from("1603010200", "hex"), Buffer.alloc(600, 0xab)]));
      });
      socket.on("error", () => {});
      socket.on("close", () => resolve());
      socket.resume();
    });
    const response = await fetch(`http://${server.endpoint}/health`);
    assert.equal(response.status, 200);
  });
});

function makeCertificate(certificate: string, key: string): void {
  const subject = ["-subj", "/CN=quorate-test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
  const output = ["-keyout", key, "-out", certificate];
  const kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  execFileSync("openssl", ["req", ...kind, ...output, ...subject], { stdio: "pipe" });
}

/** The types of the HTTP/2 frames in what a server sent. */
function frameTypes(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) types.push(bytes[at + 3]!);
  return types;
}
