/**
 * One question put to both servers in turn, A B A B ..., and the answer as a ratio of medians. Neighbours on a machine
 * can move a single run by a factor of two; only interleaving survives that (reference: speed.md §7).
 */
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ServerKind } from "./servers.ts";

export interface Question {
  readonly name: string;
  /** The ratio we owe and the one we aim at. */
  readonly least: number;
  readonly aim: number;
  /** Whether a higher or a lower value is the better one; the ratio printed is always "how many times better". */
  readonly better: "higher" | "lower";
  /** Default: BENCH_ROUNDS, else 5. */
  readonly rounds?: number;
}

export interface Measurement {
  readonly value: number;
  readonly unit: string;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
  readonly cpuMicrosPerCall?: number;
  readonly [extra: string]: number | string | undefined;
}

export interface Answer {
  readonly question: Question;
  readonly etcd: Measurement[];
  readonly quorate: Measurement[];
  readonly ratio: number;
  readonly ratioLeast: number;
  readonly ratioMost: number;
}

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 5);
const OUT = join(import.meta.dirname, "../out");

export async function compare(
  question: Question,
  measure: (kind: ServerKind) => Promise<Measurement>,
): Promise<Answer> {
  const etcd: Measurement[] = [];
  const quorate: Measurement[] = [];
  for (let round = 0; round < (question.rounds ?? ROUNDS); round++) {
    etcd.push(await measure("etcd"));
    quorate.push(await measure("quorate"));
  }
  const ratioOf = (ours: number, theirs: number): number =>
    question.better === "higher" ? ours / theirs : theirs / ours;
  const rounds = etcd.map((theirs, i) => ratioOf(quorate[i]!.value, theirs.value));
  const answer: Answer = {
    question,
    etcd,
    quorate,
    ratio: ratioOf(median(quorate.map((each) => each.value)), median(etcd.map((each) => each.value))),
    ratioLeast: Math.min(...rounds),
    ratioMost: Math.max(...rounds),
  };
  console.log(lineOf(answer));
  mkdirSync(OUT, { recursive: true });
  appendFileSync(join(OUT, "answers.jsonl"), `${JSON.stringify(answer)}\n`);
  return answer;
}

/** Rows out of measurements that they share: the figure that `value` takes from each, the lower the better. */
export function rowsOf<Seen>(seen: Readonly<Record<ServerKind, readonly Seen[]>>) {
  return async (
    name: string,
    least: number,
    aim: number,
    value: (each: Seen) => number,
    unit: string,
  ): Promise<void> => {
    const turn: Record<ServerKind, number> = { etcd: 0, quorate: 0 };
    await compare({ name, least, aim, better: "lower", rounds: seen.etcd.length }, async (kind) => ({
      value: value(seen[kind][turn[kind]++]!),
      unit,
    }));
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The median of one field over the rounds; NaN where it was not measured. */
export function medianOf(
  measurements: readonly Measurement[],
  field: "value" | "p50Ms" | "p99Ms" | "cpuMicrosPerCall",
): number {
  return median(measurements.map((each) => each[field] ?? Number.NaN));
}

function lineOf({ question, etcd, quorate, ratio, ratioLeast, ratioMost }: Answer): string {
  const side = (measurements: Measurement[]): string => {
    const parts = [`${figure(medianOf(measurements, "value"))}${measurements[0]!.unit}`];
    if (measurements[0]!.p50Ms !== undefined) parts.push(`p50 ${figure(medianOf(measurements, "p50Ms"))} ms`);
    if (measurements[0]!.p99Ms !== undefined) parts.push(`p99 ${figure(medianOf(measurements, "p99Ms"))} ms`);
    if (measurements[0]!.cpuMicrosPerCall !== undefined) {
      parts.push(`${figure(medianOf(measurements, "cpuMicrosPerCall"))} us CPU/call`);
    }
    return parts.join(", ");
  };
  return (
    `${question.name}\n  etcd     ${side(etcd)}\n  quorate  ${side(quorate)}\n` +
    `  ratio    ${figure(ratio)}x (rounds ${figure(ratioLeast)} to ${figure(ratioMost)}; owed ${question.least}x, aim ${question.aim}x)`
  );
}

export function figure(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString("en-US");
  return value >= 10 ? value.toFixed(1) : value.toPrecision(3);
}
