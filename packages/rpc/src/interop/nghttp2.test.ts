/** Against nghttp2's tools, where they are installed (Debian: nghttp2-client). */
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { RpcServer } from "../index.ts";
import { realClock, realTimers } from "../testing/real-world.ts";
import { testMethods } from "../testing/services.ts";
import { message } from "../testing/wire-peer.ts";

function installed(tool: string): boolean {
  const found = spawnSync(tool, ["--version"]).status === 0;
  if (!found) console.log(`!!! ${tool} is not installed (Debian: nghttp2-client): its interop test is SKIPPED`);
  return found;
}

async function withServer(run: (url: string, folder: string) => Promise<void>): Promise<void> {
  const server = new RpcServer({ methods: testMethods(), clock: realClock, timers: realTimers });
  const listener = createServer((socket) => server.accept(socket));
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const folder = mkdtempSync(join(tmpdir(), "rpc-"));
  try {
    await run(`http://127.0.0.1:${(listener.address() as { port: number }).port}`, folder);
    assert.equal(server.streamCount, 0);
  } finally {
    server.close();
    listener.close();
    rmSync(folder, { recursive: true });
  }
}

function output(tool: string, args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(tool, args, { timeout: 20_000 }, (error, stdout, stderr) =>
      error ? reject(new Error(`${error.message} ${stderr}`)) : resolve(stdout),
    );
  });
}

const grpcHeaders = ["-H", "content-type: application/grpc", "-H", "te: trailers"];

test("nghttp gets an answer with trailers, padding and odd windows included", { skip: !installed("nghttp") }, () =>
  withServer(async (url, folder) => {
    const body = join(folder, "body");
    writeFileSync(body, message("x".repeat(60_000)));
    for (const more of [[], ["-b", "100"], ["-w", "10", "-W", "11"], ["-n"]]) {
      const said = await output("nghttp", [
        "-v",
        ...more,
        ...grpcHeaders,
        "-H",
        ":method: POST",
        "-d",
        body,
        `${url}/t.Test/Echo`,
      ]);
      assert.match(said, /recv .*:status: 200/);
      assert.match(said, /recv .*grpc-status: 0/);
      assert.doesNotMatch(said, /RST_STREAM|error_code=(?!NO_ERROR)/);
    }
  }),
);

test("h2load's flood is answered to the last request", { skip: !installed("h2load") }, () =>
  withServer(async (url, folder) => {
    const body = join(folder, "body");
    writeFileSync(body, message("x".repeat(300)));
    const said = await output("h2load", [
      "-n",
      "20000",
      "-c",
      "10",
      "-m",
      "100",
      ...grpcHeaders,
      "-d",
      body,
      `${url}/t.Test/Echo`,
    ]);
    assert.match(said, /20000 succeeded, 0 failed, 0 errored, 0 timeout/);
  }),
);
