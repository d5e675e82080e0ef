import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Wal } from "@quorate/wal";
import { SeededRandom } from "@quorate/wal/testing";
import { silentLog } from "@quorate/world";
import { NodeDisk } from "./disk.ts";
import { dataOf, SEGMENT_BYTES } from "./testing/log-appender.ts";

const APPENDER = path.join(import.meta.dirname, "testing/log-appender.ts");
const KILLS = 15;

/** Runs the appender and kills it after `delayMs`. Returns the last index it acknowledged, and the one it began with. */
function runAndKill(directory: string, delayMs: number): Promise<{ opened: number; acknowledged: number }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [APPENDER, directory], { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let errors = "";
    child.stdout.setEncoding("latin1").on("data", (part: string) => {
      // The clock starts with the first line, or slow starts would leave nothing to kill.
      if (output === "") setTimeout(() => child.kill("SIGKILL"), delayMs);
      output += part;
    });
    child.stderr.setEncoding("utf8").on("data", (part: string) => {
      errors += part;
    });
    child.on("close", (_, signal) => {
      if (signal !== "SIGKILL") {
        reject(new Error(`the appender ended by itself: ${errors}`));
        return;
      }
      const lines = output.slice(0, output.lastIndexOf("\n")).split("\n");
      const opened = Number(lines[0]?.replace("open ", ""));
      resolve({ opened, acknowledged: lines.length > 1 ? Number(lines.at(-1)) : opened });
    });
  });
}

// covers: WA-01, WA-06, WA-07, WA-09
test(`a process killed ${KILLS} times in the middle of its saves loses none that it acknowledged`, async (context) => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "quorate-log-kill-"));
  context.after(() => fs.rmSync(directory, { recursive: true }));
  const random = new SeededRandom(11);
  let acknowledged = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const run = await runAndKill(directory, 1 + random.below(60));
    assert.ok(run.opened >= acknowledged, `kill ${kill}: ${acknowledged} was acknowledged, ${run.opened} was found`);
    acknowledged = Math.max(acknowledged, run.acknowledged);
  }
  assert.ok(acknowledged > 100, `${acknowledged}`);
  const { wal, replay } = Wal.open({
    disk: new NodeDisk(),
    directory: `${directory}/wal`,
    log: silentLog,
    segmentBytes: SEGMENT_BYTES,
  });
  assert.ok(replay.lastIndex >= acknowledged);
  for (const entry of replay.entries) assert.ok(dataOf(entry.index).equals(entry.data), `entry ${entry.index}`);
  // How far behind the last mark is depends on where the last kill fell; that there is one does not.
  assert.ok(replay.snapshotMark !== null, "the log was marked and cut on the way");
  wal.close();
});
