/** Directories as etcd leaves them, made here row by row, and what becomes of them. Real etcds: tests/exchange-data.test.ts. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { encodeRaftRequest, RaftOp } from "@quorate/api";
import { PutRequest } from "@quorate/api/messages";
import { BboltWriter } from "@quorate/bbolt";
import { readEtcdLog, readSnapFile, snapFileName, writeEtcdLog, writeSnapFile } from "@quorate/etcd-wal";
import { encodeMember, type Member } from "@quorate/membership";
import { TABLES, type Table } from "@quorate/mvcc";
import { EMPTY_CONF_STATE, Entry, EntryType, type HardState, index, NO_BYTES, term } from "@quorate/raft";
import { silentLog } from "@quorate/world";
import { openDataDirectory } from "../member/data-directory.ts";
import type { MemberParts, World } from "../member/open-member.ts";
import { NodeDisk } from "../world/disk.ts";
import { exportEtcd } from "./export-etcd.ts";
import { importEtcd } from "./import-etcd.ts";
import { configOfDirectory, machineWorld } from "./machine.ts";

const root = mkdtempSync(join(tmpdir(), "import-etcd-"));
after(() => rmSync(root, { recursive: true }));

/** Ours; the usual ones take time to fill. */
const SEGMENT_BYTES = 64 * 1024;
const disk = new NodeDisk();
const IDENTITY = { memberId: 0x8e9e_05c5_2164_694dn, clusterId: 0xcdf8_1819_4e3a_8c32n };
const OTHER = 0x1234n;

function member(id: bigint, isLearner = false): Member {
  return { id, peerUrls: [`http://127.0.0.1:1${id}`], isLearner, name: `m${id}`, clientUrls: ["http://127.0.0.1:1"] };
}

function put(at: number, inTerm: number): Entry {
  const request = PutRequest.encode({ key: Buffer.from(`key${at}`), value: Buffer.from("value") });
  const data = encodeRaftRequest(1, at, NO_BYTES, 0, RaftOp.Put, request, 0, request.length);
  return new Entry(EntryType.Normal, term(inTerm), index(at), data);
}

/** Puts `[from, until]`. */
function puts(from: number, until: number, inTerm = 3): Entry[] {
  return Array.from({ length: until - from + 1 }, (_, i) => put(from + i, inTerm));
}

interface Row {
  readonly table: Table;
  readonly key: string;
  readonly value: Uint8Array;
}

interface Made {
  readonly startIndex?: number;
  readonly entries?: readonly Entry[];
  readonly hardState?: HardState;
  /** Of the database; null: it has none, as 3.4's. */
  readonly appliedIndex?: number;
  readonly appliedTerm?: number | null;
  readonly members?: readonly Member[];
  readonly removed?: readonly bigint[];
}

let count = 0;

/** A directory of etcd's: applied up to 5, log from 3 to 8, unless said otherwise. */
function etcdDirectory(made: Made = {}): string {
  const { startIndex = 2, appliedIndex = 5, appliedTerm = 3, members = [member(IDENTITY.memberId)] } = made;
  const directory = join(root, `etcd${++count}`);
  const snapDirectory = `${directory}/member/snap`;
  mkdirSync(snapDirectory, { recursive: true });
  mkdirSync(`${directory}/member/wal`);
  const metadata = { index: index(startIndex), term: term(startIndex === 0 ? 0 : 3), confState: EMPTY_CONF_STATE };
  if (startIndex > 0) writeSnapFile(disk, snapDirectory, { data: Buffer.from("{}"), metadata });
  writeEtcdLog({
    disk,
    directory: `${directory}/member/wal`,
    identity: IDENTITY,
    start: metadata,
    entries: made.entries ?? puts(startIndex + 1, 8),
    hardState: made.hardState ?? { term: term(4), vote: OTHER, commit: index(4) },
  });
  const rows: Row[] = [{ table: "meta", key: "consistent_index", value: eight(appliedIndex) }];
  if (appliedTerm !== null) rows.push({ table: "meta", key: "term", value: eight(appliedTerm) });
  for (const each of members) {
    rows.push({ table: "members", key: each.id.toString(16), value: Buffer.from(encodeMember(each)) });
  }
  for (const id of made.removed ?? []) {
    rows.push({ table: "members_removed", key: id.toString(16), value: Buffer.from("removed") });
  }
  database(`${snapDirectory}/db`, rows);
  return directory;
}

function eight(value: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** All of etcd's buckets, with these rows. */
function database(path: string, rows: readonly Row[]): void {
  const file = disk.open(path, "create");
  const writer = new BboltWriter({ sink: file });
  for (const bucket of [...TABLES, "key"].sort()) {
    writer.beginBucket(Buffer.from(bucket));
    const own = rows.filter(({ table }) => table === bucket).sort((a, b) => (a.key < b.key ? -1 : 1));
    for (const { key, value } of own) writer.put(Buffer.from(key), 0, key.length, value, 0, value.length);
    writer.endBucket();
  }
  writer.finish();
  file.close();
}

const world: World = { ...machineWorld(silentLog), segmentBytes: SEGMENT_BYTES };

/** Imports, and opens the result as a start would. */
async function imported(from: string, check: (parts: MemberParts, to: string) => void): Promise<string> {
  const to = join(root, `ours${++count}`);
  await importEtcd({ from, to, segmentBytes: SEGMENT_BYTES, log: silentLog });
  const { parts, locks } = await openDataDirectory(configOfDirectory(to), world, () => {
    throw new Error("the log says who we are");
  });
  try {
    check(parts, to);
  } finally {
    parts.wal.close();
    await new Promise<void>((resolve) => parts.state.backend.storage.close(() => resolve()));
    for (const lock of locks) lock.release();
  }
  return to;
}

async function refused(from: string, reason: RegExp): Promise<void> {
  const to = join(root, `ours${++count}`);
  await assert.rejects(importEtcd({ from, to, segmentBytes: SEGMENT_BYTES, log: silentLog }), reason);
  assert.equal(existsSync(to), false);
  assert.deepEqual(
    readdirSync(root).filter((name) => name.includes("unfinished")),
    [],
  );
}

test("identity, term, vote and every entry from etcd's newest mark on come over", async () => {
  await imported(etcdDirectory(), ({ id, state, logStorage, markedIndex }) => {
    assert.equal(id, IDENTITY.memberId);
    assert.equal(state.membership.clusterId, IDENTITY.clusterId);
    assert.equal(state.backend.flushedIndex, 5);
    assert.equal(markedIndex, 2);
    assert.equal(logStorage.firstIndex(), 3);
    assert.equal(logStorage.lastIndex(), 8);
    // What is applied is committed, whatever the log says.
    assert.deepEqual(logStorage.initialState().hardState, { term: 4, vote: OTHER, commit: 5 });
    const [entry] = logStorage.entries(index(6), index(7), 1_000_000)!;
    assert.deepEqual(Buffer.from(entry!.data), Buffer.from(put(6, 3).data));
  });
});

test("a log from the very beginning comes over from its second entry on, and whole if nothing of it is applied", async () => {
  await imported(etcdDirectory({ startIndex: 0 }), ({ logStorage, markedIndex }) => {
    assert.equal(markedIndex, 1);
    assert.equal(logStorage.firstIndex(), 2);
    assert.equal(logStorage.lastIndex(), 8);
  });
  await imported(
    etcdDirectory({ startIndex: 0, appliedIndex: 0, appliedTerm: null }),
    ({ logStorage, markedIndex }) => {
      assert.equal(markedIndex, 0);
      assert.equal(logStorage.firstIndex(), 1);
    },
  );
});

test("a start without the database that came over is refused, wherever the log began", async () => {
  for (const startIndex of [0, 2]) {
    const to = await imported(etcdDirectory({ startIndex }), () => {});
    rmSync(`${to}/member/db`, { recursive: true });
    const neverAsked = (): never => assert.fail("the log says who we are");
    await assert.rejects(openDataDirectory(configOfDirectory(to), world, neverAsked), { kind: "WalSnapshotMissing" });
  }
});

test("a log that ends with its mark comes over without entries", async () => {
  const hardState = { term: term(4), vote: OTHER, commit: index(5) };
  await imported(etcdDirectory({ startIndex: 5, entries: [], hardState }), ({ logStorage }) => {
    assert.equal(logStorage.lastIndex(), 5);
    assert.deepEqual(logStorage.initialState().hardState, hardState);
  });
});

test("the configuration is that of the members table, whatever else is said of it", async () => {
  const members = [member(IDENTITY.memberId), member(OTHER), member(0x77n, true)];
  await imported(etcdDirectory({ members }), ({ state, logStorage }) => {
    const expected = { ...EMPTY_CONF_STATE, voters: [OTHER, IDENTITY.memberId], learners: [0x77n] };
    assert.deepEqual(state.confState, expected);
    assert.deepEqual(logStorage.initialState().confState, expected);
  });
});

test("a database that does not say its term, as 3.4's, has that of its entry", async () => {
  await imported(etcdDirectory({ appliedTerm: null }), ({ state }) => {
    assert.equal(state.backend.flushedTerm, 3);
  });
});

test("entries that are not known here are left out with all before them, if they have been applied", async () => {
  const unknown = new Entry(EntryType.Normal, term(3), index(4), Buffer.from("c257020801", "hex"));
  const entries = [put(3, 3), unknown, ...puts(5, 8)];
  await imported(etcdDirectory({ entries }), ({ logStorage, markedIndex }) => {
    assert.equal(markedIndex, 4);
    assert.equal(logStorage.firstIndex(), 5);
    assert.equal(logStorage.lastIndex(), 8);
  });
  await refused(etcdDirectory({ entries, appliedIndex: 3 }), /entry 4 of the log is not known here/);
});

// covers: SN-01
test("a database received from the leader is taken if a crash came before it was in place", async () => {
  const directory = etcdDirectory();
  const received = etcdDirectory({ appliedIndex: 2, members: [member(IDENTITY.memberId), member(OTHER)] });
  database(`${directory}/member/snap/old`, [{ table: "meta", key: "consistent_index", value: eight(1) }]);
  renameSync(`${directory}/member/snap/old`, `${directory}/member/snap/db`);
  await refused(directory, /begins behind entry 2, and no database in .* has come so far/);
  renameSync(`${received}/member/snap/db`, `${directory}/member/snap/0000000000000002.snap.db`);
  await imported(directory, ({ state }) => {
    assert.equal(state.backend.flushedIndex, 2);
    assert.equal(state.membership.members().length, 2);
  });
});

test("a database and a log that do not belong together are refused", async () => {
  await refused(etcdDirectory({ appliedIndex: 9 }), /has applied entries up to 9, but the log in .* ends at 8/);
  await refused(etcdDirectory({ appliedTerm: 2 }), /has applied entry 5 of term 2, in the log it is of term 3/);
  const directory = etcdDirectory();
  const metadata = { index: index(2), term: term(3), confState: EMPTY_CONF_STATE };
  const path = `${directory}/member/snap/${snapFileName(metadata)}`;
  rmSync(path);
  writeSnapFile(disk, `${directory}/member/snap`, { data: NO_BYTES, metadata: { ...metadata, index: index(1) } });
  renameSync(`${directory}/member/snap/${snapFileName({ ...metadata, index: 1 })}`, path);
  await refused(directory, /\.snap is damaged at offset 0: it is of entry 1 of term 3/);
});

test("a member that was removed, and one that never began, are refused", async () => {
  const removed = etcdDirectory({ members: [member(OTHER)], removed: [IDENTITY.memberId] });
  await refused(removed, /member 8e9e05c52164694d was removed from its cluster/);
  const hardState = { term: term(0), vote: 0n, commit: index(0) };
  const fresh = etcdDirectory({ startIndex: 0, entries: [], hardState, appliedIndex: 0, appliedTerm: null });
  await refused(fresh, /has no entries: this member has not begun/);
});

test("a database of a version that a start would refuse is refused", async () => {
  const directory = etcdDirectory();
  const path = `${directory}/member/snap/db`;
  for (const version of ["3.8.0", "3.4.0", "new"]) {
    rmSync(path);
    database(path, [
      { table: "meta", key: "consistent_index", value: eight(5) },
      { table: "meta", key: "storageVersion", value: Buffer.from(version) },
    ]);
    await refused(directory, new RegExp(`snap/db: the database has the form of version ${version}, .* up to 3.7.0`));
  }
});

test("rows that nobody could read at a start are refused before there is a member", async () => {
  const directory = etcdDirectory();
  const path = `${directory}/member/snap/db`;
  rmSync(path);
  database(path, [
    { table: "meta", key: "consistent_index", value: eight(5) },
    { table: "members", key: "77", value: Buffer.from("{") },
  ]);
  await refused(directory, /member is not JSON/);
});

test("what goes back to etcd begins where the database ends, with the file older versions begin with", async () => {
  const members = [member(IDENTITY.memberId), member(OTHER)];
  const ours = await imported(etcdDirectory({ members }), () => {});
  const to = join(root, `back${++count}`);
  const walDirectory = join(to, "log");
  await exportEtcd({ from: ours, to, walDirectory, log: silentLog });
  const { identity, start, entries, hardState } = readEtcdLog({ disk, directory: walDirectory });
  assert.deepEqual(identity, IDENTITY);
  assert.deepEqual([start.index, start.term], [5, 3]);
  assert.deepEqual(start.confState?.voters, [OTHER, IDENTITY.memberId]);
  assert.deepEqual(
    entries.map(({ index }) => index),
    [6, 7, 8],
  );
  assert.deepEqual(hardState, { term: 4, vote: OTHER, commit: 5 });
  const { metadata, data } = readSnapFile(disk, `${to}/member/snap/${snapFileName(start)}`);
  assert.deepEqual(metadata, start);
  assert.match(Buffer.from(data).toString(), /"\/0\/members\/8e9e05c52164694d\/attributes"/);
  // And once more around.
  const again = join(root, `ours${++count}`);
  await importEtcd({
    from: to,
    fromWalDirectory: walDirectory,
    to: again,
    segmentBytes: SEGMENT_BYTES,
    log: silentLog,
  });
});

test("an export leaves nothing behind where it is refused", async () => {
  const ours = await imported(etcdDirectory(), () => {});
  const to = join(root, `back${++count}`);
  mkdirSync(to);
  writeFileSync(join(to, "something"), "");
  await assert.rejects(exportEtcd({ from: ours, to, log: silentLog }), { kind: "Exchange" });
  await assert.rejects(exportEtcd({ from: to, to: join(root, "nowhere"), log: silentLog }), { kind: "Exchange" });
  assert.equal(existsSync(join(root, "nowhere")), false);
  // The lock was released.
  await exportEtcd({ from: ours, to: join(root, `back${++count}`), log: silentLog });
});
