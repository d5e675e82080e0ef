/** What must hold after every fault, once the cluster is whole again. */
import assert from "node:assert/strict";
import {
  HashKVRequest,
  HashKVResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
} from "@quorate/api/messages";
import { checkAgainstEvents, checkKv, checkRevisions, checkWatchers, type WatchEvent } from "@quorate/sim";
import type { Cluster, ClusterMember } from "../harness/cluster.ts";
import { eventsOf, isOfHistory, LOAD_END, LOAD_START, type Load, PAIRS } from "./load.ts";

/** Fewer answers than this and a load has shown nothing. */
const ANSWERS_MIN = 200;

/**
 * Ends the load and holds the cluster to it: every acknowledged write is on all members, all have the same history and the
 * same hash, what clients were told can be explained, and every watcher saw every event once and in order. All members must
 * be running or able to answer soon.
 */
export async function verify(cluster: Cluster, load: Load): Promise<void> {
  await cluster.untilHealthy();
  await load.stop();
  const through = await putLast(cluster);
  const voters = await votersOf(cluster);
  const [first, ...others] = voters as [ClusterMember, ...ClusterMember[]];

  const events = await eventsOf(first, through);
  for (const other of others) assert.deepEqual(await eventsOf(other, through), events, `events of ${other.name}`);
  const expected = stateAfter(events);
  for (const member of voters) assert.deepEqual(await stateOf(member, through), expected, `keys of ${member.name}`);
  const hash = await hashOf(first, through);
  for (const other of others) assert.deepEqual(await hashOf(other, through), hash, `hash of ${other.name}`);

  assert.ok(load.acknowledged >= ANSWERS_MIN, `only ${load.acknowledged} operations were answered`);
  const ok = { kind: "ok" };
  assert.deepEqual(checkRevisions(load.history), ok);
  assert.deepEqual(checkAgainstEvents(load.history, events.filter(isOfHistory)), ok);
  const verdict = checkKv(load.history);
  assert.equal(verdict.kind, "ok", JSON.stringify(verdict, null, 1));
  checkPairs(load, events);

  for (const watcher of load.watchers) await watcher.untilSeen(through);
  assert.deepEqual(checkWatchers(events, load.watchers, through), ok);
}

/** A cluster that is whole answers within this. */
function soon(): { readonly deadlineMs: number } {
  return { deadlineMs: performance.now() + 10_000 };
}

/** A write after everything else: what marks the end for watchers. Returns its revision. */
async function putLast(cluster: Cluster): Promise<number> {
  const { calls } = await cluster.leader();
  const request = { key: Buffer.from(`${LOAD_START}last`), value: Buffer.from("last") };
  const { header } = await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, request, soon());
  return header!.revision;
}

/** Learners answer neither reads nor watches. */
async function votersOf(cluster: Cluster): Promise<ClusterMember[]> {
  const statuses = await Promise.all(cluster.members.map((member) => member.status()));
  return cluster.members.filter((_, i) => !statuses[i]!.isLearner);
}

interface Kept {
  readonly key: string;
  readonly value: string;
  readonly modRevision: number;
}

function stateAfter(events: readonly WatchEvent[]): Kept[] {
  const state = new Map<string, Kept>();
  for (const { key, value, revision } of events) {
    if (value === null) state.delete(key);
    else state.set(key, { key, value, modRevision: revision });
  }
  return [...state.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** What the member itself holds, asking nobody else, but not before it has applied what the cluster has. */
async function stateOf(member: ClusterMember, revision: number): Promise<Kept[]> {
  const range = { key: Buffer.from(LOAD_START), rangeEnd: Buffer.from(LOAD_END) };
  await member.calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, range, soon());
  const request = { ...range, revision, serializable: true };
  const { kvs } = await member.calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, request, soon());
  return kvs.map(({ key, value, modRevision }) => ({
    key: Buffer.from(key).toString(),
    value: Buffer.from(value).toString(),
    modRevision,
  }));
}

async function hashOf(member: ClusterMember, revision: number) {
  const { hash, compactRevision, hashRevision } = await member.calls.unary(
    "etcdserverpb.Maintenance/HashKV",
    HashKVRequest,
    HashKVResponse,
    { revision },
    soon(),
  );
  return { hash, compactRevision, hashRevision };
}

/** Two keys changed at once are changed by one revision, and acknowledged changes are there. */
function checkPairs(load: Load, events: readonly WatchEvent[]): void {
  const byRevision = new Map<number, string[]>();
  for (const { key, value, revision } of events) {
    if (!key.startsWith(PAIRS)) continue;
    const changes = byRevision.get(revision) ?? [];
    byRevision.set(revision, [...changes, `${key} = ${value}`]);
  }
  for (const [revision, value] of load.pairs) {
    const changes = [`${PAIRS}a = ${value}`, `${PAIRS}b = ${value}`];
    assert.deepEqual(byRevision.get(revision), changes, `the acknowledged transaction at ${revision}`);
  }
  for (const [revision, changes] of byRevision) assert.equal(changes.length, 2, `half a transaction at ${revision}`);
}
