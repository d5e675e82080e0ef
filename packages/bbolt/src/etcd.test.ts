import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, fstatSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { crc32c } from "@quorate/crc32c";
import { isInstalled, ServerProcess } from "../../../tests/harness/processes.ts";
import { BboltReader } from "./reader.ts";
import type { BboltSource } from "./source.ts";
import { type Contents, contentsOf, fileOf, numberedPairs } from "./testing/files.ts";

// Debian's etcdctl, or the tool that ETCDUTL names; both know `snapshot status`.
const TOOL = process.env.ETCDUTL ?? "etcdctl";
const CTL = process.env.ETCDCTL ?? "etcdctl";
const ETCD = process.env.ETCD ?? "etcd";
const environment = { ...process.env, ETCDCTL_API: "3" };

interface Status {
  readonly hash: number;
  readonly revision: number;
  readonly totalKey: number;
  readonly totalSize: number;
}

/** What etcd's tool says of a file, having checked all of it. */
function statusOf(path: string): Status {
  const output = execFileSync(TOOL, ["snapshot", "status", path, "--write-out=json"], { env: environment });
  return JSON.parse(output.toString());
}

/** The hash of that status. */
function hashOf(contents: Contents): number {
  let hash = 0;
  for (const [bucket, pairs] of contents) {
    hash = crc32c(Buffer.from(bucket), hash);
    for (const [key, value] of pairs) hash = crc32c(value, crc32c(key, hash));
  }
  return hash;
}

function revisionKey(main: number): Uint8Array {
  const key = Buffer.alloc(17);
  key.writeBigUInt64BE(BigInt(main));
  key[8] = 0x5f;
  return key;
}

/** The record with nothing but a key. */
function tombstone(key: string): Uint8Array {
  const length: number[] = [];
  for (let rest = key.length; rest > 0; rest >>>= 7) length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
  return Buffer.concat([Buffer.from([0x0a, ...length]), Buffer.from(key)]);
}

test("etcd's tool checks and reads what is written here", { skip: !isInstalled(TOOL, "version") }, () => {
  const directory = mkdtempSync(join(tmpdir(), "quorate-bbolt-"));
  try {
    for (const count of [0, 3, 20_000]) {
      const records = Array.from({ length: count }, (_, i) => {
        return [revisionKey(i + 2), tombstone("k".repeat(i === 7 ? 300_000 : 1 + (i % 90)))] as const;
      });
      const contents: Contents = [
        ["alarm", []],
        ["key", records],
        ["lease", numberedPairs(500, (i) => "l".repeat(i))],
        ["meta", numberedPairs(2, String)],
      ];
      const path = join(directory, `${count}.db`);
      for (const pageBytes of [4096, 16_384]) {
        const file = fileOf(contents, { pageBytes });
        writeFileSync(path, file.bytes);
        const { hash, revision, totalSize } = statusOf(path);
        assert.deepEqual(
          { hash, revision, totalSize },
          { hash: hashOf(contents), revision: count === 0 ? 0 : count + 1, totalSize: file.bytes.length },
        );
      }
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("what a stopped etcd left is read as its own tool reads it", {
  skip: !isInstalled(ETCD) || !isInstalled(CTL, "version"),
}, async () => {
  const etcd = await ServerProcess.etcd();
  try {
    const run = (...args: string[]): void => {
      execFileSync(CTL, [`--endpoints=${etcd.endpoint}`, ...args], { env: environment, stdio: "pipe" });
    };
    for (let i = 0; i < 12; i++) run("put", `key${i % 5}`, "v".repeat(i * 900));
    run("del", "key1");
    run("lease", "grant", "1000");
    run("user", "add", "someone:secret");
    await etcd.kill("SIGTERM");
    const path = join(etcd.directory, "data/member/snap/db");
    const source = new FileSource(path);
    const reader = new BboltReader(source);
    reader.check();
    const contents = contentsOf(reader);
    assert.deepEqual(statusOf(path).hash, hashOf(contents));
    const pairs = new Map(contents);
    assert.equal(pairs.get("key")!.length, 13);
    assert.equal(pairs.get("lease")!.length, 1);
    assert.equal(Buffer.from(pairs.get("authUsers")![0]![0]).toString(), "someone");
    assert.deepEqual(reader.get(Buffer.from("key"), pairs.get("key")![7]![0]), pairs.get("key")![7]![1]);
    source.close();
  } finally {
    await etcd.dispose();
  }
});

class FileSource implements BboltSource {
  readonly #file: number;

  constructor(path: string) {
    this.#file = openSync(path, "r");
  }

  sizeBytes(): number {
    return fstatSync(this.#file).size;
  }

  read(into: Uint8Array, length: number, position: number): number {
    return readSync(this.#file, into, 0, length, position);
  }

  close(): void {
    closeSync(this.#file);
  }
}
