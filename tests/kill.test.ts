/**
 * Kill -9 of a real process under load, again and again, on a real disk: whatever was acknowledged is there afterwards,
 * at the revision the client was told, and watchers hear of it once. Moments and work are drawn from a seed, which a
 * failure names; QUORATE_KILL_SEED repeats it (the machine's own timing aside).
 *
 *   writers ──put──▶ member ──ack──▶ the book: key → revision
 *                      ╳ kill -9 at a random moment
 *                    member again ──▶ compare: the book, the history, the hash
 *
 * covers: AP-01, AP-06, WA-07, ST-01, WT-07
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  HashKVRequest,
  HashKVResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseLeasesRequest,
  LeaseLeasesResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  WatchRequest,
  WatchResponse,
} from "@quorate/api/messages";
import { RpcError } from "@quorate/rpc";
import { freePort } from "../packages/server/src/testing/ports.ts";
import { ServerProcess, sleep } from "./harness/processes.ts";
import { Calls, send } from "./harness/rpc.ts";

const SEED = Number(process.env.QUORATE_KILL_SEED ?? Date.now() % 2 ** 31);
const ROUNDS = 12;
const WRITERS = 16;
const FIRST_BOOTS = 8;

describe(`kill -9, seed ${SEED}`, () => {
  // Not in the temporary directory, which may be memory: that proves nothing (WA-12).
  const disk = join(import.meta.dirname, "../node_modules/.cache");
  mkdirSync(disk, { recursive: true });
  const root = mkdtempSync(join(disk, "kill-"));
  const running: Set<ServerProcess> = new Set();
  const random = seeded(SEED);

  after(async () => {
    for (const server of running) await server.kill("SIGKILL");
    rmSync(root, { recursive: true, force: true });
  });

  async function start(place: Place): Promise<ServerProcess> {
    const server = await ServerProcess.quorate({
      directory: place.directory,
      ports: place.ports,
      // Small segments of work, so that cuts of the log, flushes and slices of a compaction are met as well.
      flags: ["--snapshot-count=500", "--snapshot-catchup-entries=100", "--backend-batch-interval=20ms"],
    });
    running.add(server);
    return server;
  }

  async function end(server: ServerProcess, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    await server.kill(signal);
    running.delete(server);
  }

  it(`no acknowledged write is lost in ${ROUNDS} kills, and each is watched exactly once`, async () => {
    const place = await newPlace(root, "load");
    const book = new Book();
    let server = await start(place);
    for (let round = 0; round < ROUNDS; round++) {
      const calls = new Calls(place.ports.client);
      const writers = Array.from({ length: WRITERS }, (_, i) => write(calls, book, `r${round}/w${i}`));
      await sleep(20 + random() * 500);
      await end(server, "SIGKILL");
      await Promise.all(writers);
      calls.close();
      server = await start(place);
      await verify(place, book, `round ${round}`);
    }
    assert.ok(book.acknowledged.size > ROUNDS * WRITERS, `only ${book.acknowledged.size} writes were acknowledged`);
    await verifyHistory(place, book);

    const before = await hash(place);
    await end(server, "SIGTERM");
    server = await start(place);
    assert.deepEqual(await hash(place), before, "the hash after a clean restart");
    await end(server, "SIGKILL");
    server = await start(place);
    assert.deepEqual(await hash(place), before, "the hash after a kill without load");
    await verify(place, book, "at the end");
    await end(server, "SIGKILL");
  });

  it("a kill during a compaction loses nothing above it, and the compaction is carried out in the end", async () => {
    const place = await newPlace(root, "compaction");
    let server = await start(place);
    for (let round = 0; round < 3; round++) {
      const book = new Book();
      const calls = new Calls(place.ports.client);
      for (let batch = 0; batch < 20; batch++) {
        // The same keys over and over: most of this is for the compaction to remove.
        await Promise.all(
          Array.from({ length: 100 }, (_, i) =>
            put(calls, `c/${i}`, `${round}.${batch}`).then((at) => book.note(`c/${i}`, at)),
          ),
        );
      }
      const at = book.highest;
      const compacted = calls
        .unary("etcdserverpb.KV/Compact", CompactionRequest, CompactionResponse, { revision: at, physical: true })
        .then(
          () => true,
          () => false,
        );
      const accepted = (await compactRevisionSeen(calls, at)) || (await Promise.race([compacted, sleep(0)]));
      await sleep(random() * 30);
      await end(server, "SIGKILL");
      calls.close();
      server = await start(place);
      await verify(place, book, `compaction round ${round}`);
      if (accepted) assert.equal((await hash(place)).compactRevision, at, "an accepted compaction holds");
      const again = new Calls(place.ports.client);
      const after = await put(again, "c/last", "x");
      await again.unary("etcdserverpb.KV/Compact", CompactionRequest, CompactionResponse, {
        revision: after,
        physical: true,
      });
      const { hash: first } = await hash(place);
      again.close();
      await end(server, "SIGTERM");
      server = await start(place);
      assert.equal((await hash(place)).hash, first, "the hash after the compaction and a restart");
    }
    await end(server, "SIGKILL");
  });

  it("a kill while leases expire leaves each lease whole or gone with all its keys", async () => {
    const place = await newPlace(root, "leases");
    let server = await start(place);
    let calls = new Calls(place.ports.client);
    const LEASES = 40;
    const KEYS = 3;
    for (let id = 1n; id <= LEASES; id++) {
      const { TTL } = await calls.unary("etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse, {
        ID: id,
        TTL: 2,
      });
      assert.equal(TTL, 2);
      for (let key = 0; key < KEYS; key++) await put(calls, `l/${id}/${key}`, "x", id);
    }
    await put(calls, "l/kept", "x");
    await sleep(1800 + random() * 1000);
    await end(server, "SIGKILL");
    calls.close();
    server = await start(place);
    calls = new Calls(place.ports.client);
    const { leases } = await calls.unary("etcdserverpb.Lease/LeaseLeases", LeaseLeasesRequest, LeaseLeasesResponse, {});
    const alive = new Set(leases.map((lease) => lease.ID));
    for (let id = 1n; id <= LEASES; id++) {
      const { count } = await range(calls, `l/${id}/`, `l/${id}0`);
      assert.equal(
        count,
        alive.has(id) ? KEYS : 0,
        `keys of lease ${id}, which is ${alive.has(id) ? "alive" : "gone"}`,
      );
    }
    const deadline = Date.now() + 10_000;
    while ((await range(calls, "l/", "l0")).count !== 1) {
      assert.ok(Date.now() < deadline, "leases that outlived the kill never expired");
      await sleep(100);
    }
    calls.close();
    await end(server, "SIGKILL");
  });

  it(`a first start killed at any moment is followed by one that works, ${FIRST_BOOTS} times`, async () => {
    for (let i = 0; i < FIRST_BOOTS; i++) {
      const place = await newPlace(root, `boot${i}`);
      const delayMs = Math.floor((i + random()) * (400 / FIRST_BOOTS));
      const half = await ServerProcess.quorate({
        directory: place.directory,
        ports: place.ports,
        waitUntilReady: false,
      });
      running.add(half);
      await sleep(delayMs);
      await end(half, "SIGKILL");
      const server = await start(place);
      const calls = new Calls(place.ports.client);
      assert.equal(await put(calls, "a", "1"), 2, `the first write after a kill at ${delayMs} ms`);
      calls.close();
      await end(server, "SIGKILL");
      rmSync(place.directory, { recursive: true, force: true });
    }
  });
});

/** A directory and addresses that stay the same over restarts. */
interface Place {
  readonly directory: string;
  readonly ports: { readonly client: number; readonly peer: number };
}

async function newPlace(root: string, name: string): Promise<Place> {
  return {
    directory: mkdtempSync(join(root, `${name}-`)),
    ports: { client: await freePort(), peer: await freePort() },
  };
}

/** What the member has promised. */
class Book {
  /** Key to the revision its last put was acknowledged at. Keys of a kill under load are put once. */
  readonly acknowledged: Map<string, number> = new Map();
  readonly deleted: Map<string, number> = new Map();
  highest = 0;

  note(key: string, revision: number): void {
    this.acknowledged.set(key, Math.max(revision, this.acknowledged.get(key) ?? 0));
    this.highest = Math.max(this.highest, revision);
  }
}

/** Puts one new key after the other, deletes some, until the connection is gone. */
async function write(calls: Calls, book: Book, prefix: string): Promise<void> {
  let previous = 0;
  for (let i = 0; ; i++) {
    const key = `${prefix}/${i}`;
    try {
      const revision = await put(calls, key, `value of ${key} ${"x".repeat((i % 7) * 100)}`);
      assert.ok(revision > previous, "a writer's revisions only grow");
      previous = revision;
      book.note(key, revision);
      if (i % 5 === 4) {
        const gone = `${prefix}/${i - 2}`;
        const { header, deleted } = await calls.unary(
          "etcdserverpb.KV/DeleteRange",
          DeleteRangeRequest,
          DeleteRangeResponse,
          { key: Buffer.from(gone) },
        );
        assert.equal(deleted, 1);
        book.deleted.set(gone, header!.revision);
        book.highest = Math.max(book.highest, header!.revision);
      }
    } catch (error) {
      if (error instanceof RpcError) return;
      throw error;
    }
  }
}

/** Everything in the book is there, at its revision; nothing acknowledged as deleted is. */
async function verify(place: Place, book: Book, when: string): Promise<void> {
  const calls = new Calls(place.ports.client);
  const { kvs, header } = await range(calls, "\0", "\0");
  calls.close();
  assert.ok(header!.revision >= book.highest, `${when}: revision ${header!.revision} is below ${book.highest}`);
  const found = new Map(kvs.map((kv) => [Buffer.from(kv.key).toString(), kv]));
  for (const [key, revision] of book.acknowledged) {
    const kv = found.get(key);
    if (book.deleted.has(key)) {
      assert.equal(kv, undefined, `${when}: ${key} was deleted`);
    } else if (kv === undefined) {
      // A delete may have been carried out whose answer the kill took.
      const [, writer, n] = /^(.*)\/(\d+)$/.exec(key)!;
      assert.ok(book.acknowledged.has(`${writer}/${Number(n) + 2}`), `${when}: ${key} was lost`);
      assert.ok((Number(n) + 2) % 5 === 4, `${when}: ${key} was lost`);
      assert.ok(!book.acknowledged.has(`${writer}/${Number(n) + 3}`), `${when}: ${key} was lost`);
    } else {
      assert.equal(kv.modRevision, revision, `${when}: revision of ${key}`);
    }
  }
}

/** A watch from the beginning hears each acknowledged change exactly once, in the order of revisions. */
async function verifyHistory(place: Place, book: Book): Promise<void> {
  const calls = new Calls(place.ports.client);
  const { header } = await range(calls, "\0", "\0");
  const last = header!.revision;
  const heard = new Map<string, number>();
  let previous = 1;
  await new Promise<void>((resolve, reject) => {
    const call = calls.stream(
      "etcdserverpb.Watch/Watch",
      WatchResponse,
      (response) => {
        try {
          assert.equal(response.canceled, false);
          for (const event of response.events) {
            const { key, modRevision } = event.kv!;
            const name = `${event.type === 0 ? "put" : "delete"} ${Buffer.from(key)}`;
            // Every write here changes one key, so revisions come without gap or repetition.
            assert.equal(modRevision, previous + 1, `${name} follows revision ${previous}`);
            previous = modRevision;
            assert.ok(!heard.has(name), `${name} was heard twice`);
            heard.set(name, modRevision);
          }
          if (previous >= last) {
            resolve();
            call.cancel();
          }
        } catch (error) {
          reject(error);
        }
      },
      (error) => reject(error ?? new Error("the watch ended")),
    );
    const everything = { key: Buffer.from("\0"), rangeEnd: Buffer.from("\0"), startRevision: 1 };
    send(call, WatchRequest, { createRequest: everything });
  });
  calls.close();
  for (const [key, revision] of book.acknowledged) assert.equal(heard.get(`put ${key}`), revision, `put of ${key}`);
  for (const [key, revision] of book.deleted) assert.equal(heard.get(`delete ${key}`), revision, `delete of ${key}`);
}

async function put(calls: Calls, key: string, value: string, lease = 0n): Promise<number> {
  const request = { key: Buffer.from(key), value: Buffer.from(value), lease };
  const { header } = await calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, request);
  return header!.revision;
}

function range(calls: Calls, key: string, rangeEnd: string): Promise<RangeResponse> {
  const request = { key: Buffer.from(key), rangeEnd: Buffer.from(rangeEnd) };
  return calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, request);
}

/** Waits until reads below the revision are refused: the compaction is accepted, its work perhaps still under way. */
async function compactRevisionSeen(calls: Calls, revision: number): Promise<boolean> {
  for (let i = 0; i < 200; i++) {
    try {
      const request = { key: Buffer.from("c/0"), revision: revision - 1 };
      await calls.unary("etcdserverpb.KV/Range", RangeRequest, RangeResponse, request);
    } catch (error) {
      if (error instanceof RpcError && error.message.includes("compacted")) return true;
      throw error;
    }
  }
  return false;
}

async function hash(place: Place): Promise<HashKVResponse> {
  const calls = new Calls(place.ports.client);
  const answer = await calls.unary("etcdserverpb.Maintenance/HashKV", HashKVRequest, HashKVResponse, {});
  calls.close();
  // The term rises with every start.
  return { ...answer, header: undefined };
}

/** Numbers in [0, 1) that a seed repeats (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
