/**
 * Upkeep among real processes: a downgrade, a database that was altered on disk and the automatic compaction, in clusters of
 * Quorate alone and, where ETCD names one of 3.6 or newer, beside etcd; and what Maintenance answers beside it.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { AlarmAction, AlarmType, DowngradeAction } from "@quorate/api";
import {
  AlarmRequest,
  AlarmResponse,
  CompactionRequest,
  CompactionResponse,
  DefragmentRequest,
  DefragmentResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  DowngradeRequest,
  DowngradeResponse,
  HashKVRequest,
  HashKVResponse,
  type Init,
  type MessageType,
  MoveLeaderRequest,
  MoveLeaderResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  StatusRequest,
  StatusResponse,
} from "@quorate/api/messages";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { isInstalled, ServerProcess, sleep } from "./harness/processes.ts";
import { Calls } from "./harness/rpc.ts";

const ETCD = process.env.ETCD ?? "etcd";
const PATIENCE_MS = 25_000;
const { VALIDATE, ENABLE, CANCEL } = DowngradeAction;

type Program = "quorate" | "etcd";
type Ports = { readonly client: number; readonly peer: number };

/** Members m1, m2, … of these programs, as processes that can be stopped and started again. */
class Group {
  readonly programs: readonly Program[];
  readonly #directory = mkdtempSync(join(tmpdir(), "quorate-upkeep-"));
  readonly #ports: Ports[] = [];
  readonly #servers: (ServerProcess | null)[] = [];
  readonly #calls: Calls[] = [];
  readonly #flags: readonly string[];

  private constructor(programs: readonly Program[], flags: readonly string[]) {
    this.programs = programs;
    this.#flags = flags;
  }

  static async start(programs: readonly Program[], flags: readonly string[] = []): Promise<Group> {
    const group = new Group(programs, flags);
    for (const _ of programs) group.#ports.push({ client: await freePort(), peer: await freePort() });
    try {
      await Promise.all(programs.map((_, at) => group.startMember(at, [], false)));
      await Promise.all(group.#servers.map((each) => each!.untilReady()));
    } catch (error) {
      await group.dispose();
      throw error;
    }
    return group;
  }

  async startMember(at: number, flags: readonly string[] = [], waitUntilReady = true): Promise<ServerProcess> {
    const ports = this.#ports[at]!;
    const cluster = this.#ports.map(({ peer }, i) => `m${i + 1}=http://127.0.0.1:${peer}`).join(",");
    const options = {
      directory: this.directoryOf(at),
      ports,
      flags: [`--name=m${at + 1}`, `--initial-cluster=${cluster}`, ...this.#flags, ...flags],
      waitUntilReady,
    };
    const server = await (this.programs[at] === "etcd" ? ServerProcess.etcd(options) : ServerProcess.quorate(options));
    this.#servers[at] = server;
    return server;
  }

  directoryOf(at: number): string {
    return join(this.#directory, `m${at + 1}`);
  }

  async stopMember(at: number): Promise<void> {
    this.#calls[at]?.client.close();
    delete this.#calls[at];
    await this.#servers[at]!.kill("SIGTERM");
  }

  calls(at: number): Calls {
    this.#calls[at] ??= new Calls(this.#ports[at]!.client);
    return this.#calls[at];
  }

  log(at: number): string {
    return this.#servers[at]!.log;
  }

  status(at: number): Promise<StatusResponse> {
    return this.calls(at).unary("etcdserverpb.Maintenance/Status", StatusRequest, StatusResponse, {});
  }

  /** Which member leads. */
  async leader(): Promise<number> {
    const { leader } = await this.status(0);
    const ids = await Promise.all(this.programs.map(async (_, at) => (await this.status(at)).header!.memberId));
    return ids.indexOf(leader);
  }

  /** Hands over to the member at this place. */
  async lead(at: number): Promise<void> {
    const from = await this.leader();
    if (from === at) return;
    const targetID = (await this.status(at)).header!.memberId;
    await this.calls(from).unary("etcdserverpb.Maintenance/MoveLeader", MoveLeaderRequest, MoveLeaderResponse, {
      targetID,
    });
    await until("the member leads", async () => (await this.leader()) === at);
  }

  put(at: number, key: string, value: string): Promise<PutResponse> {
    const request = { key: Buffer.from(key), value: Buffer.from(value) };
    return this.calls(at).unary("etcdserverpb.KV/Put", PutRequest, PutResponse, request);
  }

  /** "cluster version, storage version, downgrade" of a member. */
  async versions(at: number): Promise<string> {
    const { storageVersion, downgradeInfo } = await this.status(at);
    const said = (await (await fetch(`http://127.0.0.1:${this.#ports[at]!.client}/version`)).json()) as {
      etcdcluster: string;
      storage: string;
    };
    assert.equal(said.storage, storageVersion);
    const { enabled, targetVersion } = downgradeInfo!;
    return `${said.etcdcluster} ${storageVersion} ${enabled ? targetVersion : "-"}`;
  }

  async metrics(at: number): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.#ports[at]!.client}/metrics`)).text();
  }

  async untilVersions(expected: string): Promise<void> {
    for (const at of this.programs.keys()) {
      await until(`member ${at + 1} is at ${expected}`, async () => (await this.versions(at)) === expected);
    }
  }

  /** The version the cluster runs at, or the refusal. */
  async downgrade(at: number, action: number, version: string): Promise<string> {
    try {
      const request = { action, version };
      const path = "etcdserverpb.Maintenance/Downgrade";
      return (await this.calls(at).unary(path, DowngradeRequest, DowngradeResponse, request)).version;
    } catch (error) {
      return `${(error as { code: number }).code} ${(error as Error).message}`;
    }
  }

  async alarms(at: number): Promise<string[]> {
    const request = { action: AlarmAction.GET, memberID: 0n, alarm: AlarmType.NONE };
    const path = "etcdserverpb.Maintenance/Alarm";
    const { alarms } = await this.calls(at).unary(path, AlarmRequest, AlarmResponse, request);
    const ids = await Promise.all(this.programs.map(async (_, i) => (await this.status(i)).header!.memberId));
    return alarms.map(({ memberID, alarm }) => `m${ids.indexOf(memberID) + 1} ${alarm}`);
  }

  async dispose(): Promise<void> {
    for (const calls of this.#calls) calls?.client.close();
    for (const server of this.#servers) await server?.dispose();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

async function withGroup(
  programs: readonly Program[],
  flags: readonly string[],
  test: (group: Group) => Promise<void>,
): Promise<void> {
  const group = await Group.start(programs, flags);
  try {
    await test(group);
  } finally {
    await group.dispose();
  }
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      if (await isSo()) return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    if (Date.now() > deadline) throw new Error(`in vain: ${what}`);
    await sleep(100);
  }
}

/** Replaces a text in a stopped member's database; LMDB has no checksums that would tell. */
function alterDatabase(directory: string, from: string, to: string): void {
  assert.equal(from.length, to.length);
  const path = join(directory, "data/member/db/db");
  const bytes = readFileSync(path);
  let count = 0;
  for (let at = bytes.indexOf(from); at >= 0; at = bytes.indexOf(from, at + 1)) {
    bytes.write(to, at);
    count++;
  }
  assert.ok(count > 0, "there is something to alter");
  writeFileSync(path, bytes);
}

/** A downgrade of 3.4 would be another call, and its cluster another version. */
function isRecent(): boolean {
  if (!isInstalled(ETCD)) return false;
  const [, minor] = /etcd Version: 3\.(\d+)/.exec(execFileSync(ETCD, ["--version"], { encoding: "utf8" })) ?? [];
  if (Number(minor) >= 7) return true;
  console.error(`\n*** SKIPPED: ${ETCD} is 3.${minor}; comparing with 3.7 did not run ***\n`);
  return false;
}

const isComparable = isRecent();
const QUORATE: readonly Program[] = ["quorate", "quorate", "quorate"];
const MIXED: readonly Program[] = ["quorate", "etcd", "quorate"];

describe("a downgrade", { timeout: 300_000 }, () => {
  // covers: LI-06
  const both = async (group: Group): Promise<void> => {
    await group.untilVersions("3.7.0 3.7.0 -");
    const refusals = async (at: number): Promise<string[]> => [
      await group.downgrade(at, VALIDATE, "3.5"),
      await group.downgrade(at, ENABLE, "3.7.0"),
      await group.downgrade(at, VALIDATE, "next"),
      await group.downgrade(at, CANCEL, ""),
    ];
    for (const at of group.programs.keys()) {
      assert.deepEqual(await refusals(at), [
        "3 etcdserver: invalid downgrade target version",
        "3 etcdserver: invalid downgrade target version",
        "3 etcdserver: wrong downgrade target version format",
        "3.7",
      ]);
    }
    for (const leader of new Set([0, group.programs.length - 2])) {
      await group.lead(leader);
      const asked = group.programs.length - 1;
      assert.equal(await group.downgrade(asked, VALIDATE, "3.6"), "3.7");
      assert.equal(await group.downgrade(asked, ENABLE, "3.6.0"), "3.7");
      await group.untilVersions("3.6.0 3.6.0 3.6.0");
      for (const at of group.programs.keys()) {
        const metrics = await group.metrics(at);
        assert.match(metrics, /^etcd_cluster_version\{cluster_version="3\.6"\} 1$/m);
      }
      assert.match(await group.downgrade(leader, ENABLE, "3.5"), /^9 etcdserver: cluster has a downgrade job in pro/);
      for (const at of group.programs.keys()) await group.put(at, `k${at}`, "v");
      assert.equal(await group.downgrade(leader, CANCEL, ""), "3.6");
      await group.untilVersions("3.7.0 3.7.0 -");
    }
  };

  it("goes down to 3.6 and up again, and the members serve all the while", () => withGroup(QUORATE, [], both));

  it("the same beside etcd, whichever of the two leads", { skip: !isComparable }, () => withGroup(MIXED, [], both));
});

describe("a member whose database was altered", { timeout: 300_000 }, () => {
  const found = (programs: readonly Program[], leader: number): Promise<void> =>
    withGroup(programs, ["--corrupt-check-time=1s"], async (group) => {
      await group.put(1, "key", "the value that is altered");
      await untilSame(group);
      await group.stopMember(2);
      alterDatabase(group.directoryOf(2), "the value that is altered", "the VALUE that is altered");
      // The alarm may come before it was seen ready, and with the alarm it is not healthy.
      await group.startMember(2, [], false);
      await until("m3 answers", async () => (await group.status(2)).leader !== 0n);
      await group.lead(leader);
      await until("somebody is alarmed", async () => (await group.alarms(0)).length > 0);
      assert.deepEqual(await group.alarms(1), [`m3 ${AlarmType.CORRUPT}`]);
      for (const at of programs.keys()) {
        await assert.rejects(group.put(at, "key", "new"), { code: 15, message: "etcdserver: corrupt cluster" });
        const request = { key: Buffer.from("key") };
        const range = await group.calls(at).unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, request);
        assert.equal(range.kvs.length, 1);
      }
    });

  // covers: ST-07
  it("is named by the leader, and the cluster takes no more writes", () => found(QUORATE, 0));

  it("the same in a cluster that etcd leads, and that we lead beside it", { skip: !isComparable }, async () => {
    await found(MIXED, 1);
    await found(MIXED, 0);
  });

  it("does not start if it is to compare itself first, and says why", () =>
    withGroup(QUORATE, [], async (group) => {
      const gate = "--feature-gates=InitialCorruptCheck=true";
      await group.put(1, "key", "the value that is altered");
      await untilSame(group);
      await group.stopMember(2);
      const sound = await group.startMember(2, [gate]);
      assert.match(sound.log, /initial corruption checking passed/);
      await group.stopMember(2);
      alterDatabase(group.directoryOf(2), "the value that is altered", "the VALUE that is altered");
      const refused = await group.startMember(2, [gate], false);
      assert.equal(await refused.exited(), 1);
      assert.match(refused.log, /found data inconsistency with peers/);
      await group.put(0, "key", "the others go on");
    }));
});

describe("space", { timeout: 120_000 }, () => {
  const value = "x".repeat(100_000);
  const QUOTA = 16 * 1024 * 1024;

  async function remove(group: Group, all: { key: string; rangeEnd: string }): Promise<void> {
    const request = { key: Buffer.from(all.key), rangeEnd: Buffer.from(all.rangeEnd) };
    const path = "etcdserverpb.KV/DeleteRange";
    const { header } = await group.calls(0).unary(path, DeleteRangeRequest, DeleteRangeResponse, request);
    await group.calls(0).unary("etcdserverpb.KV/Compact", CompactionRequest, CompactionResponse, {
      revision: header!.revision,
      physical: true,
    });
  }

  it("runs out, and comes back by itself when keys are deleted and compacted, over and over", () =>
    withGroup(["quorate"], [`--quota-backend-bytes=${QUOTA}`], async (group) => {
      for (let round = 0; round < 3; round++) {
        await assert.rejects(
          async () => {
            for (let i = 0; i < 1000; i++) await group.put(0, `k${i}`, value);
          },
          { code: 8, message: "etcdserver: mvcc: database space exceeded" },
        );
        assert.deepEqual(await group.alarms(0), [`m1 ${AlarmType.NOSPACE}`]);
        await remove(group, { key: "k", rangeEnd: "l" });
        await until("the alarm ends", async () => (await group.alarms(0)).length === 0);
      }
      const { dbSize } = await group.status(0);
      assert.ok(dbSize < 1.5 * QUOTA, `free pages are used again: the file has ${dbSize} bytes`);
    }));

  // covers: ST-12
  it("a defragmentation makes the file smaller while writes and reads are answered", () =>
    withGroup(["quorate"], [], async (group) => {
      for (let i = 0; i < 600; i += 20) {
        await Promise.all(Array.from({ length: 20 }, (_, j) => group.put(0, `k${i + j}`, value)));
      }
      await remove(group, { key: "k", rangeEnd: "k4" });
      await until("all is in the database", async () => (await group.status(0)).dbSizeInUse < 40_000_000);
      const before = await group.status(0);
      let isOver = false;
      let answered = 0;
      const path = "etcdserverpb.Maintenance/Defragment";
      const defragmented = group
        .calls(0)
        .unary(path, DefragmentRequest, DefragmentResponse, {})
        .finally(() => {
          isOver = true;
        });
      while (!isOver) {
        await group.put(0, "during", String(answered));
        const request = { key: Buffer.from("during") };
        const { kvs } = await group.calls(0).unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, request);
        assert.equal(Buffer.from(kvs[0]!.value).toString(), String(answered));
        if (!isOver) answered++;
      }
      await defragmented;
      assert.ok(answered > 3, `only ${answered} writes were answered meanwhile`);
      const after = await group.status(0);
      assert.ok(after.dbSize < before.dbSize - 10_000_000, `${before.dbSize} bytes before, ${after.dbSize} after`);

      // And at a start, if that would free enough.
      await remove(group, { key: "k", rangeEnd: "l" });
      await sleep(500);
      await group.stopMember(0);
      const server = await group.startMember(0, ["--bootstrap-defrag-threshold-megabytes=10"]);
      assert.match(server.log, /defragmented at start/);
      assert.ok((await group.status(0)).dbSize < 5_000_000);
      await group.put(0, "k", "v");
    }));
});

describe("Maintenance beside etcd", { timeout: 120_000, skip: !isComparable }, () => {
  /** The answer without what two servers cannot have in common, or the refusal. */
  async function ask<Request extends object, Response extends object>(
    group: Group,
    method: string,
    requestType: MessageType<Request>,
    responseType: MessageType<Response>,
    request: Init<Request>,
  ): Promise<unknown> {
    const ownId = (await group.status(0)).header!.memberId;
    try {
      const path = `etcdserverpb.Maintenance/${method}`;
      return blurred(await group.calls(0).unary(path, requestType, responseType, request), ownId);
    } catch (error) {
      return `${(error as { code: number }).code} ${(error as Error).message}`;
    }
  }

  it("Alarm, Status, HashKV, MoveLeader and Downgrade answer the same", async () => {
    const [theirs, ours] = await Promise.all([Group.start(["etcd"]), Group.start(["quorate"])]);
    const compare = async (what: string, question: (group: Group) => Promise<unknown>): Promise<void> => {
      const [their, our] = await Promise.all([question(theirs), question(ours)]);
      assert.deepEqual(our, their, what);
    };
    const compareStatus = (what: string): Promise<void> =>
      compare(`status ${what}`, (group) => ask(group, "Status", StatusRequest, StatusResponse, {}));
    const compareAlarm = (action: number, memberID: bigint | "own", alarm: number): Promise<void> =>
      compare(`alarm ${action} ${memberID} ${alarm}`, async (group) => {
        const id = memberID === "own" ? (await group.status(0)).header!.memberId : memberID;
        return ask(group, "Alarm", AlarmRequest, AlarmResponse, { action, memberID: id, alarm });
      });
    try {
      for (const group of [theirs, ours]) {
        await group.untilVersions("3.7.0 3.7.0 -");
        for (let i = 0; i < 20; i++) await group.put(0, `k${i % 7}`, `v${i}`);
      }
      await compareStatus("at first");
      const { NOSPACE, CORRUPT, NONE } = AlarmType;
      const { GET, ACTIVATE, DEACTIVATE } = AlarmAction;
      for (const [action, id, alarm] of [
        [GET, 0n, NONE],
        [ACTIVATE, 5n, NONE],
        [ACTIVATE, "own", NOSPACE],
        [ACTIVATE, "own", NOSPACE],
        [ACTIVATE, 5n, CORRUPT],
        [ACTIVATE, 0n, CORRUPT],
        [GET, 0n, NOSPACE],
        [GET, 7n, CORRUPT],
        [DEACTIVATE, 0n, NOSPACE],
        [DEACTIVATE, "own", CORRUPT],
      ] as const) {
        await compareAlarm(action, id, alarm);
      }
      await compareStatus("with alarms");
      for (const [id, alarm] of [
        ["own", NOSPACE],
        [5n, CORRUPT],
        [0n, CORRUPT],
        [0n, CORRUPT],
      ] as const) {
        await compareAlarm(DEACTIVATE, id, alarm);
      }
      const compareHashes = async (when: string): Promise<void> => {
        for (const revision of [0, 1, 5, 10, 15, 21, 22, -1]) {
          await compare(`hash of ${revision} ${when}`, (group) =>
            ask(group, "HashKV", HashKVRequest, HashKVResponse, { revision }),
          );
        }
      };
      await compareHashes("at first");
      await compare("compaction", (group) =>
        group
          .calls(0)
          .unary("etcdserverpb.KV/Compact", CompactionRequest, CompactionResponse, {
            revision: 10,
            physical: true,
          })
          .then(() => "done"),
      );
      await compareHashes("compacted");
      for (const targetID of [0n, 99n, "own"] as const) {
        await compare(`move leader to ${targetID}`, async (group) => {
          const id = targetID === "own" ? (await group.status(0)).header!.memberId : targetID;
          return ask(group, "MoveLeader", MoveLeaderRequest, MoveLeaderResponse, { targetID: id });
        });
      }
      for (const [action, version] of [
        [VALIDATE, "3.6"],
        [VALIDATE, "3.6.9-rc.1"],
        [VALIDATE, ""],
        [VALIDATE, "3.5"],
        [VALIDATE, "2.6"],
        [CANCEL, ""],
        [7, "3.6"],
        [ENABLE, "v3.6"],
        [ENABLE, "3.6"],
        [ENABLE, "3.6"],
      ] as const) {
        await compare(`downgrade ${action} ${version}`, (group) =>
          ask(group, "Downgrade", DowngradeRequest, DowngradeResponse, { action, version }),
        );
      }
      for (const group of [theirs, ours]) await group.untilVersions("3.6.0 3.6.0 3.6.0");
      await compareStatus("while downgrading");
    } finally {
      await theirs.dispose();
      await ours.dispose();
    }
  });
});

/** Without ids, terms, indexes and sizes; `ownId` as "own". */
function blurred(message: object, ownId: bigint): unknown {
  const text = JSON.stringify(message, (key, value: unknown) => {
    if (["clusterId", "raftTerm", "raftIndex", "raftAppliedIndex", "dbSize", "dbSizeInUse"].includes(key)) return "";
    if (typeof value === "bigint") return value === ownId ? "own" : String(value);
    if (typeof value === "string") return value.replace(String(ownId), "own").replaceAll(/ +/g, " ").trim();
    return value;
  });
  const parsed = JSON.parse(text) as { errors?: string[]; alarms?: unknown[] };
  parsed.errors?.sort();
  parsed.alarms?.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  return parsed;
}

async function untilSame(group: Group): Promise<void> {
  await until("all members hold the same", async () => {
    const hashes = await Promise.all(
      group.programs.map((_, at) =>
        group.calls(at).unary("etcdserverpb.Maintenance/HashKV", HashKVRequest, HashKVResponse, {}),
      ),
    );
    return hashes.every(
      ({ hash, hashRevision }) => hash === hashes[0]!.hash && hashRevision === hashes[0]!.hashRevision,
    );
  });
  // And have it in their databases.
  await sleep(500);
}
