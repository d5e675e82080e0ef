import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { RaftOp, RaftRequestView } from "@quorate/api";
import { decodeConfChange, EntryType } from "@quorate/raft";
import { isInstalled, ServerProcess } from "../../../tests/harness/processes.ts";
import { NodeDisk } from "../../server/src/world/disk.ts";
import { type EtcdLog, readEtcdLog } from "./read-log.ts";
import { readSnapFile } from "./snap-file.ts";

const ETCD = process.env.ETCD ?? "etcd";
const CTL = process.env.ETCDCTL ?? "etcdctl";
const skip = !isInstalled(ETCD) || !isInstalled(CTL, "version");

function run(etcd: ServerProcess, ...args: string[]): void {
  const environment = { ...process.env, ETCDCTL_API: "3" };
  execFileSync(CTL, [`--endpoints=${etcd.endpoint}`, ...args], { env: environment, stdio: "pipe" });
}

function putsOf(log: EtcdLog): number {
  const request = new RaftRequestView();
  return log.entries.filter(({ type, data }) => {
    if (type !== EntryType.Normal || data.length === 0) return false;
    try {
      request.decode(data, 0, data.length);
    } catch {
      return false; // Older etcds publish themselves with requests of their own kind.
    }
    return request.op === RaftOp.Put;
  }).length;
}

test("the log that a killed etcd left is read, with the identity it goes by", { skip }, async () => {
  const etcd = await ServerProcess.etcd();
  try {
    for (let i = 0; i < 10; i++) run(etcd, "put", `key${i}`, "v".repeat(i * 3000));
    await etcd.kill("SIGKILL");
    const log = readEtcdLog({ disk: new NodeDisk(), directory: join(etcd.directory, "data/member/wal") });
    assert.equal(log.torn, null);
    assert.equal(log.start.index, 0);
    assert.equal(log.entries[0]!.index, 1);
    assert.equal(log.entries[0]!.type, EntryType.ConfChange);
    assert.equal(decodeConfChange(log.entries[0]!.data).nodeId, log.identity.memberId);
    assert.equal(log.hardState.vote, log.identity.memberId);
    assert.ok(log.hardState.commit <= log.entries[log.entries.length - 1]!.index);
    assert.equal(putsOf(log), 10);
  } finally {
    await etcd.dispose();
  }
});

test("the log and the snapshot files of an etcd that took snapshots go together", { skip }, async () => {
  const etcd = await ServerProcess.etcd({ flags: ["--snapshot-count=5"] });
  try {
    for (let i = 0; i < 23; i++) run(etcd, "put", `key${i}`, "value");
    await etcd.kill("SIGTERM");
    const disk = new NodeDisk();
    const member = join(etcd.directory, "data/member");
    const { start, entries } = readEtcdLog({ disk, directory: join(member, "wal") });
    assert.ok(start.index > 10);
    assert.ok(entries.length < 12);
    const names = readdirSync(join(member, "snap")).filter((name) => name.endsWith(".snap"));
    const snapshots = names.map((name) => readSnapFile(disk, join(member, "snap", name)));
    const mine = snapshots.find(({ metadata }) => metadata.index === start.index)!;
    assert.equal(mine.metadata.term, start.term);
    assert.equal(mine.metadata.confState.voters.length, 1);
    assert.match(Buffer.from(mine.data).toString(), /"\/0\/members/);
  } finally {
    await etcd.dispose();
  }
});
