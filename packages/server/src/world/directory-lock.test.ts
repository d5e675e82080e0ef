import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { DirectoryLock, isLockName } from "./directory-lock.ts";

const HOLDER = path.join(import.meta.dirname, "testing/lock-holder.ts");
const root = fs.mkdtempSync(path.join(os.tmpdir(), "quorate-lock-"));
after(() => fs.rmSync(root, { recursive: true }));
let count = 0;

function newDirectory(): string {
  const directory = `${root}/${++count}`;
  fs.mkdirSync(directory);
  return directory;
}

interface Starter {
  readonly child: ChildProcess;
  /** The next line it prints. */
  line(): Promise<string>;
}

function start(directory: string): Starter {
  const child = spawn(process.execPath, [HOLDER, directory], { stdio: ["pipe", "pipe", "inherit"] });
  const lines: string[] = [];
  const waiting: ((line: string) => void)[] = [];
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    rest += part;
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      const take = waiting.shift();
      if (take === undefined) lines.push(line);
      else take(line);
    }
  });
  return {
    child,
    line: () => {
      const line = lines.shift();
      return line === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(line);
    },
  };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

test("a directory is locked once; after release it can be locked again", async () => {
  const directory = newDirectory();
  const lock = await DirectoryLock.acquire(directory);
  await assert.rejects(DirectoryLock.acquire(directory), {
    kind: "DirectoryLock",
    message: `cannot lock directory ${directory}: it is in use by process ${process.pid}`,
  });
  lock.release();
  const again = await DirectoryLock.acquire(directory);
  again.release();
  for (const name of fs.readdirSync(directory)) assert.ok(isLockName(name), name);
  assert.equal(fs.readdirSync(directory).length, 1);
});

test("a directory with a path longer than a socket's can be locked", async () => {
  const directory = `${newDirectory()}/${"deep".repeat(40)}`;
  fs.mkdirSync(directory);
  const lock = await DirectoryLock.acquire(directory);
  await assert.rejects(DirectoryLock.acquire(directory), /in use/);
  lock.release();
});

test("locking and releasing leaves no open file behind", async () => {
  const directory = newDirectory();
  if (!fs.existsSync("/proc/self/fd")) return;
  // Sockets of earlier tests may still be closing, hence the waits and "not more".
  const settled = async (): Promise<number> => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return fs.readdirSync("/proc/self/fd").length;
  };
  const before = await settled();
  for (let i = 0; i < 5; i++) {
    const lock = await DirectoryLock.acquire(directory);
    await assert.rejects(DirectoryLock.acquire(directory));
    lock.release();
  }
  const left = await settled();
  assert.ok(left <= before, `${left} instead of ${before}`);
});

test("an absent directory, and other files under the lock's names, are no lock", async () => {
  await assert.rejects(DirectoryLock.acquire(`${root}/absent`), { kind: "DirectoryLock" });
  const directory = newDirectory();
  fs.writeFileSync(`${directory}/lock.4`, "not a socket");
  fs.writeFileSync(`${directory}/lock.own.1.2`, "left over");
  const lock = await DirectoryLock.acquire(directory);
  assert.deepEqual(fs.readdirSync(directory), ["lock.5"]);
  lock.release();
});

test("of several processes that start at once exactly one gets the lock, also over a killed holder's", async () => {
  const directory = newDirectory();
  for (let round = 0; round < 3; round++) {
    const starters = [1, 2, 3, 4].map(() => start(directory));
    try {
      for (const starter of starters) assert.equal(await starter.line(), "ready");
      for (const starter of starters) starter.child.stdin!.write("go\n");
      const answers = await Promise.all(starters.map((starter) => starter.line()));
      assert.equal(answers.filter((answer) => answer === "held").length, 1, answers.join(" | "));
      const holder = starters[answers.indexOf("held")]!;
      for (const answer of answers) {
        if (answer !== "held") assert.match(answer, new RegExp(`in use by process ${holder.child.pid}`));
      }
      await assert.rejects(DirectoryLock.acquire(directory), new RegExp(`in use by process ${holder.child.pid}`));
      // A stopped process answers nothing and still holds.
      holder.child.kill("SIGSTOP");
      await assert.rejects(DirectoryLock.acquire(directory), /in use by process unknown/);
      holder.child.kill("SIGCONT");
    } finally {
      for (const starter of starters) await kill(starter.child);
    }
  }
  const lock = await DirectoryLock.acquire(directory);
  lock.release();
});
