/**
 * A process that appends to a log until it is killed, for `log-kill.test.ts`. It prints a line per acknowledged index,
 * after having read the log back and printed what it found; it releases behind marks, so that files are recycled.
 *
 *   node log-appender.ts DIRECTORY SEED
 */
import { Buffer } from "node:buffer";
import fs from "node:fs";
import { Entry, EntryType, index, term } from "@quorate/raft";
import { Wal } from "@quorate/wal";
import { silentLog } from "@quorate/world";
import { NodeDisk } from "../disk.ts";
import { MachineRandom } from "../random.ts";

export const SEGMENT_BYTES = 262_144;

/** What entry `at` holds, so that the reader can check it. */
export function dataOf(at: number): Buffer {
  return Buffer.alloc(50 + ((at * 7919) % 3000), `entry ${at} `);
}

function main(directory: string): void {
  const options = { disk: new NodeDisk(), directory: `${directory}/wal`, log: silentLog, segmentBytes: SEGMENT_BYTES };
  if (!Wal.exists(options)) Wal.create({ ...options, random: new MachineRandom(), metadata: Buffer.from("m") }).close();
  const { wal, replay } = Wal.open(options);
  let last: number = replay.lastIndex;
  // Synchronously: a line that was printed must not die with the process.
  fs.writeSync(1, `open ${last}\n`);
  const check = (error: Error | null): void => {
    if (error !== null) throw error;
  };
  const next = (): void => {
    const entries: Entry[] = [];
    const count = 1 + (last % 9);
    for (let at = last + 1; at <= last + count; at++) {
      entries.push(new Entry(EntryType.Normal, term(1), index(at), dataOf(at)));
    }
    wal.save(entries, { term: term(1), vote: 1n, commit: index(last) }, (error) => {
      check(error);
      last += count;
      fs.writeSync(1, `${last}\n`);
      if (last % 50 >= 9) next();
      else {
        const mark = { index: index(last - 20 > 0 ? last - 20 : 1), term: term(1), confState: Buffer.alloc(0) };
        wal.saveSnapshotMark(mark, { term: term(1), vote: 1n, commit: index(last) }, (markError) => {
          check(markError);
          wal.release(mark.index);
          next();
        });
      }
    });
  };
  next();
}

const [, script, directory] = process.argv;
if (directory !== undefined && script?.endsWith("log-appender.ts")) main(directory);
