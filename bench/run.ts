/**
 * `npm run bench`: asks every question (or those named as arguments) and records the answers in RESULTS.md with the
 * commit, the machine, the versions and the disk's flush time, without which no figure here means anything.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { type Answer, figure, type Measurement, median, medianOf } from "./load/compare.ts";
import { etcdVersion } from "./load/servers.ts";

const QUESTIONS = [
  "put",
  "range",
  "txn",
  "range-large",
  "watch",
  "lease",
  "upkeep",
  "snapshot",
  "start",
  "auth",
  "snapshot",
  "cluster-put",
  "cluster-failover",
  "cluster-catch-up",
  "cluster-steady",
];
const ANSWERS = join(import.meta.dirname, "out/answers.jsonl");
const RESULTS = join(import.meta.dirname, "RESULTS.md");

const asked = process.argv.length > 2 ? process.argv.slice(2) : QUESTIONS;
rmSync(ANSWERS, { force: true });
for (const question of asked) {
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, `${question}.ts`)], { stdio: "inherit" });
  if (status !== 0) {
    console.error(`bench: ${question} failed; nothing recorded`);
    process.exit(1);
  }
}
const answers = readFileSync(ANSWERS, "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Answer);
writeResults(answers);

/** Keeps what people wrote above and below the generated part. */
function writeResults(rows: Answer[]): void {
  const begin = "<!-- figures: written by bench/run.ts -->";
  const end = "<!-- end of figures -->";
  const before = readFileSync(RESULTS, "utf8");
  const from = before.indexOf(begin);
  const to = before.indexOf(end);
  if (from < 0 || to < from) throw new Error("RESULTS.md has lost the marks around its figures");
  const text = `${begin}\n\n${circumstances()}\n\n${table(rows)}\n\n${end}`;
  writeFileSync(RESULTS, before.slice(0, from) + text + before.slice(to + end.length));
}

function circumstances(): string {
  const git = (...args: string[]): string => execFileSync("git", args, { encoding: "utf8" }).trim();
  const dirty = git("status", "--porcelain", "--untracked-files=no") === "" ? "" : " plus uncommitted changes";
  return [
    `- commit ${git("rev-parse", "--short=12", "HEAD")}${dirty}, ${new Date().toISOString().slice(0, 10)}`,
    `- ${cpus().length} x ${cpus()[0]!.model}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release().split("-")[0]}, load average ${loadavg()[0]!.toFixed(2)}`,
    `- etcd ${etcdVersion()}, Node ${process.version}`,
    `- fdatasync of 4 KiB: p50 ${Math.round(flushMicros())} us`,
  ].join("\n");
}

function table(rows: Answer[]): string {
  const lines = [
    "| question | etcd | Quorate | ratio (rounds) | owed | aim |",
    "| --- | --- | --- | --- | --- | --- |",
  ];
  for (const { question, etcd, quorate, ratio, ratioLeast, ratioMost } of rows) {
    const mark = ratio >= question.least ? "" : " **below**";
    lines.push(
      `| ${question.name} | ${side(etcd)} | ${side(quorate)} | **${figure(ratio)}x** (${figure(ratioLeast)} to ${figure(ratioMost)})${mark} | ${question.least}x | ${question.aim}x |`,
    );
  }
  return lines.join("\n");
}

function side(measurements: Measurement[]): string {
  const parts = [`${figure(medianOf(measurements, "value"))}${measurements[0]!.unit}`];
  if (measurements[0]!.p50Ms !== undefined) {
    parts.push(`p50 ${figure(medianOf(measurements, "p50Ms"))} ms, p99 ${figure(medianOf(measurements, "p99Ms"))} ms`);
  }
  if (measurements[0]!.cpuMicrosPerCall !== undefined) {
    parts.push(`${figure(medianOf(measurements, "cpuMicrosPerCall"))} us CPU`);
  }
  return parts.join("; ");
}

function flushMicros(): number {
  const directory = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), "bench-flush-"));
  const file = openSync(join(directory, "f"), "w");
  const page = Buffer.alloc(4096, 1);
  const times: number[] = [];
  for (let i = 0; i < 300; i++) {
    const startedMs = performance.now();
    writeSync(file, page, 0, page.length, (i % 64) * page.length);
    fdatasyncSync(file);
    times.push((performance.now() - startedMs) * 1000);
  }
  closeSync(file);
  rmSync(directory, { recursive: true });
  return median(times.slice(100));
}
