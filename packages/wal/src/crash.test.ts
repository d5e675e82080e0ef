import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { type Entry, type HardState, index, term } from "@quorate/raft";
import type { SnapshotMark } from "./records.ts";
import type { Replay } from "./replay.ts";
import { SeededRandom, SimDisk, systemError } from "./testing/index.ts";
import {
  createWal,
  DIRECTORY,
  described,
  entry,
  finish,
  hardState,
  newDisk,
  openWal,
  save,
} from "./testing/wal-fixture.ts";
import { Wal } from "./wal.ts";

/** The dumb twin of a log: what it must contain. */
interface Twin {
  /** Entries since index 1 or since the snapshot that replaced the log. */
  readonly log: readonly Entry[];
  readonly lastIndex: number;
  readonly hardState: HardState | null;
  readonly mark: SnapshotMark | null;
}

interface Operation {
  readonly name: string;
  /** Everything the log may hold if this operation is interrupted; the last is its full effect. */
  readonly outcomes: readonly Twin[];
  start(wal: Wal, done: (error: Error | null) => void): void;
}

const EMPTY: Twin = { log: [], lastIndex: 0, hardState: null, mark: null };

function draw(random: SeededRandom, twin: Twin): Operation {
  const commit = twin.hardState?.commit ?? 0;
  const currentTerm = twin.hardState?.term ?? 1;
  const kind = random.below(10);
  if (kind === 0 && commit > (twin.mark?.index ?? 0)) {
    const at = (twin.mark?.index ?? 0) + 1 + random.below(commit - (twin.mark?.index ?? 0));
    const entryThere = twin.log.find((each) => each.index === at);
    if (entryThere !== undefined) {
      const mark = { index: index(at), term: entryThere.term, confState: Buffer.alloc(random.below(200), 1) };
      return {
        name: `mark ${at}`,
        outcomes: [twin, { ...twin, mark }],
        start: (wal, done) => wal.saveSnapshotMark(mark, null, done),
      };
    }
  }
  if (kind === 1 && random.below(6) === 0) {
    const at = commit + 1 + random.below(40);
    const state = hardState(currentTerm + 1, at + random.below(2));
    const mark = { index: index(at), term: term(currentTerm + 1), confState: Buffer.alloc(random.below(200), 2) };
    const after = { log: [], lastIndex: at, hardState: { ...state, commit: mark.index }, mark };
    return {
      name: `replace ${at}`,
      outcomes: [twin, after],
      start: (wal, done) => wal.replaceWithSnapshot(mark, state, done),
    };
  }
  return drawSave(random, twin, commit, currentTerm);
}

function drawSave(random: SeededRandom, twin: Twin, commit: number, currentTerm: number): Operation {
  const inTerm = currentTerm + (random.below(8) === 0 ? 1 : 0);
  const isOverwrite = inTerm > currentTerm && random.below(2) === 0;
  const first = isOverwrite ? commit + 1 + random.below(twin.lastIndex - commit + 1) : twin.lastIndex + 1;
  const isLarge = random.below(25) === 0;
  const count = isLarge ? 20 + random.below(80) : random.below(6);
  const list: Entry[] = [];
  for (let i = 0; i < count; i++)
    list.push(entry(first + i, inTerm, random.below(20) === 0 ? 4000 : random.below(500)));
  const kept = count > 0 ? twin.log.filter((each) => each.index < first) : twin.log;
  const lastIndex = count > 0 ? first + count - 1 : twin.lastIndex;
  const hasState = count === 0 || inTerm > currentTerm || random.below(2) === 0;
  const state = hasState
    ? hardState(inTerm, commit + random.below(lastIndex - commit + 1), BigInt(random.below(9)))
    : null;
  const outcomes: Twin[] = [twin];
  for (let length = 1; length < count; length++) {
    const reached = first + length - 1;
    const partial = state === null ? twin.hardState : { ...state, commit: index(Math.min(state.commit, reached)) };
    outcomes.push({ ...twin, log: [...kept, ...list.slice(0, length)], lastIndex: reached, hardState: partial });
  }
  outcomes.push({ ...twin, log: [...kept, ...list], lastIndex, hardState: state ?? twin.hardState });
  return {
    name: `save ${count} from ${first} in term ${inTerm}`,
    outcomes,
    start: (wal, done) => wal.save(list, state, done),
  };
}

function isSame(replay: Replay, twin: Twin): boolean {
  const after = twin.log.filter((each) => each.index > (twin.mark?.index ?? 0));
  try {
    assert.equal(replay.lastIndex, twin.lastIndex);
    assert.deepEqual(replay.hardState, twin.hardState);
    assert.deepEqual(replay.snapshotMark, twin.mark);
    assert.deepEqual(described(replay.entries), described(after));
    return true;
  } catch {
    return false;
  }
}

function fromReplay(replay: Replay): Twin {
  return {
    log: replay.entries,
    lastIndex: replay.lastIndex,
    hardState: replay.hardState,
    mark: replay.snapshotMark,
  };
}

// covers: WA-01, WA-06, WA-08, WA-09, WA-13, X-08, SN-01
test("whatever crashes, kills and disk errors happen, every acknowledged save survives", () => {
  let interruptions = 0;
  let failures = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const random = new SeededRandom(seed);
    const disk = newDisk(seed + 1000);
    let wal = createWal(disk);
    let twin: Twin = EMPTY;
    for (let step = 0; step < 120; step++) {
      if (twin.mark !== null && random.below(8) === 0) wal.release(index(twin.mark.index - random.below(3)));
      const operation = draw(random, twin);
      const plan = random.below(12);
      let countdown = 1 + random.below(4);
      if (plan === 0) {
        const code = random.below(2) === 0 ? "EIO" : "ENOSPC";
        disk.onCall = (call, path) => (--countdown === 0 ? systemError(code, call, path) : null);
      }
      let outcome: Error | null | undefined;
      try {
        operation.start(wal, (error) => {
          outcome = error;
        });
        disk.runPending(plan === 1 ? random.below(3) : undefined);
      } catch (error) {
        outcome = error as Error;
      }
      disk.onCall = null;
      if (outcome === null) twin = operation.outcomes.at(-1)!;
      if (outcome === null && plan > 2 && wal.failure === null) continue;

      // The process ends, one way or the other.
      if (outcome !== null) interruptions++;
      if (wal.failure !== null) {
        failures++;
        assert.throws(() => wal.save([], twin.hardState ?? hardState(1, 0), () => {}), wal.failure);
      }
      if (random.below(2) === 0) disk.crash();
      else disk.kill();
      const opened = openWal(disk);
      const allowed = outcome === null ? [twin] : operation.outcomes;
      const found = allowed.find((each) => isSame(opened.replay, each));
      assert.ok(found !== undefined, `seed ${seed} step ${step}: ${operation.name}`);
      let current = opened;
      if (random.below(2) === 0) {
        // What was read must itself be durable: a loss of power right after must not take it back.
        disk.crash();
        current = openWal(disk);
        assert.ok(isSame(current.replay, found), `seed ${seed} step ${step}: ${operation.name}, read again`);
      }
      wal = current.wal;
      twin = { ...fromReplay(current.replay), lastIndex: found.lastIndex };
    }
  }
  assert.ok(interruptions > 100 && failures > 50, `${interruptions} interruptions, ${failures} failures`);
});

// covers: WA-08, WA-10
test("an error at any call makes the log unusable, loses nothing, and the next opening goes on", () => {
  for (const code of ["ENOSPC", "EIO"]) {
    for (let failAt = 1; ; failAt++) {
      const disk = newDisk(failAt);
      let wal = createWal(disk);
      let calls = 0;
      disk.onCall = (call, path) => (++calls === failAt ? systemError(code, call, path) : null);
      let last = 0;
      let failure: Error | null = null;
      while (last < 60 && failure === null) {
        try {
          wal.save([entry(last + 1, 1, 600)], hardState(1, last), (error) => {
            if (error === null) last++;
            else failure = error;
          });
          disk.runPending();
          if (failure === null && last === 40) {
            wal.saveSnapshotMark({ index: index(38), term: term(1), confState: Buffer.alloc(3) }, null, (error) => {
              failure = error;
            });
            disk.runPending();
            if (failure === null) wal.release(index(38));
          }
        } catch (error) {
          failure = error as Error;
        }
      }
      disk.onCall = null;
      if (calls < failAt) {
        assert.ok(failAt > 60);
        break;
      }
      failure ??= wal.failure;
      if (failure !== null) {
        const { kind, message } = failure as Error & { kind: string };
        assert.match(kind, code === "EIO" ? /^WalIo$/ : /^Wal(NoSpace|Io)$/);
        assert.match(message, /\.wal/);
        assert.throws(() => wal.save([entry(last + 1)], null, () => {}), failure);
      } else {
        // Only filling the next segment may meet a full disk and carry on.
        assert.equal(code, "ENOSPC", `call ${failAt}`);
        assert.equal(last, 60);
      }
      if (failAt % 2 === 0) disk.crash();
      else disk.kill();
      const opened = openWal(disk);
      wal = opened.wal;
      assert.ok(opened.replay.lastIndex === last || opened.replay.lastIndex === last + 1, `call ${failAt}`);
      // Into the next segments, so that whatever the error left behind comes into use.
      let next: number = opened.replay.lastIndex;
      for (let i = 0; i < 50; i++) save(disk, wal, [entry(++next, 1, 600)]);
      disk.crash();
      const { replay } = openWal(disk);
      assert.equal(replay.lastIndex, next, `call ${failAt}`);
    }
  }
});

// covers: WA-06
test("after a kill before any call, what the next process writes survives a loss of power at any time", () => {
  const killed = new Error("killed");
  for (let killAt = 1; ; killAt++) {
    let isKilled = false;
    for (const savesAfter of [3, 12, 22, 30, 50]) {
      const disk = newDisk(killAt * 100 + savesAfter);
      const wal = createWal(disk);
      let calls = 0;
      let last = 0;
      disk.onCall = (call, path) => {
        if (++calls === killAt) throw killed;
        // The first segments cannot be prepared after a save, so that the cut within one must make them.
        return call === "open" && !isInSave && last < 20 ? systemError("ENOSPC", call, path) : null;
      };
      let isInSave = false;
      try {
        while (last < 65) {
          isInSave = true;
          wal.save([entry(last + 1, 1, 600)], hardState(1, last), (error) => {
            assert.equal(error, null);
            last++;
          });
          isInSave = false;
          disk.runPending();
          if (wal.failure !== null) throw wal.failure;
        }
        const mark = { index: index(60), term: term(1), confState: Buffer.alloc(3) };
        finish(disk, (done) => wal.saveSnapshotMark(mark, null, done));
        wal.release(index(60));
      } catch {
        assert.ok(calls >= killAt);
        isKilled = true;
      }
      disk.onCall = null;
      disk.kill();
      const opened = openWal(disk);
      assert.ok(opened.replay.lastIndex >= last);
      let next: number = opened.replay.lastIndex;
      for (let i = 0; i < savesAfter; i++) save(disk, opened.wal, [entry(++next, 1, 600)]);
      disk.crash();
      assert.equal(openWal(disk).replay.lastIndex, next, `killed before call ${killAt}, then ${savesAfter} saves`);
    }
    if (!isKilled) {
      assert.ok(killAt > 70);
      break;
    }
  }
});

// covers: WA-10
test("on a full disk the log goes on to the end of its prepared segments, stops by name, and resumes with space", () => {
  const disk = newDisk(50);
  let wal = createWal(disk);
  disk.capacityBytes = 16_384 + 9000;
  let last = 0;
  let failure: Error | null = null;
  while (failure === null) {
    try {
      wal.save([entry(last + 1, 1, 600)], null, (error) => {
        if (error === null) last++;
        else failure = error;
      });
      disk.runPending();
    } catch (error) {
      failure = error as Error;
    }
    assert.ok(last < 100);
  }
  assert.equal((failure as { kind?: string }).kind, "WalNoSpace");
  assert.match(String(failure), /no space left on the log's disk/);
  assert.ok(last >= 12);
  disk.kill();
  // Still full: what is there can be read, so that the operator can be told.
  const full = openWal(disk);
  assert.equal(full.replay.lastIndex, last);
  full.wal.close();
  disk.capacityBytes = Number.POSITIVE_INFINITY;
  wal = openWal(disk).wal;
  wal.save([entry(last + 1, 1, 600)], null, (error) => {
    assert.equal(error, null);
    last++;
  });
  disk.runPending();
  wal.close();
  disk.runPending();
  assert.equal(openWal(disk).replay.lastIndex, last);
});

// covers: WA-07
test("a crash at any call of creation leaves no log or a whole one, and creation can be tried again", () => {
  const power = new Error("power");
  for (let seed = 0; seed < 20; seed++) {
    for (let stopAt = 1; ; stopAt++) {
      const disk = newDisk(seed);
      let calls = 0;
      disk.onCall = () => {
        if (++calls === stopAt) throw power;
        return null;
      };
      let isCreated = false;
      try {
        createWal(disk);
        isCreated = true;
      } catch {
        assert.ok(calls >= stopAt);
      }
      disk.onCall = null;
      disk.crash();
      const exists = Wal.exists({ disk, directory: DIRECTORY });
      if (isCreated) assert.ok(exists);
      if (!exists) createWal(disk).close();
      openWal(disk).wal.close();
      if (isCreated && calls < stopAt) break;
    }
  }
});

test("the twin tells states apart", () => {
  const disk = new SimDisk({ random: new SeededRandom(1) });
  disk.makeDirectory("/data");
  createWal(disk).close();
  const { replay } = openWal(disk);
  assert.ok(isSame(replay, EMPTY));
  assert.ok(!isSame(replay, { ...EMPTY, lastIndex: 1 }));
  assert.ok(!isSame(replay, { ...EMPTY, hardState: hardState(1, 0) }));
});
