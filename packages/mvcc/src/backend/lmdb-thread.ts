/** How this room's threads are started, and how they say what went wrong. */
import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";
import { getSystemErrorName } from "node:util";
import { Worker } from "node:worker_threads";
import { isDiskFull } from "./lmdb-environment.ts";

/** A thread that runs the module of this name beside us. */
export function startThread(
  module: "lmdb-worker" | "lmdb-snapshot-worker" | "lmdb-copy-worker",
  name: string,
  workerData: object,
): Worker {
  // Compiled code has compiled neighbours.
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return new Worker(new URL(`./${module}.${extension}`, import.meta.url), {
    name,
    workerData,
    env: environmentVariables(),
    // They make short-lived views only; a small nursery keeps their memory small.
    resourceLimits: { maxYoungGenerationSizeMb: 2 },
  });
}

/**
 * The process's own, and the compile cache if the process has one: a thread does not inherit a cache that was enabled by
 * a call. With it a thread costs 18 MB and 80 ms, without, when it has to strip types itself, 33 MB and 180 ms.
 */
function environmentVariables(): NodeJS.ProcessEnv {
  const cache = getCompileCacheDir();
  // The directory in use is the one of this version of Node, inside the one that was asked for.
  return cache === undefined ? process.env : { NODE_COMPILE_CACHE: dirname(cache), ...process.env };
}

/**
 * The text of an error, and the operating system's or LMDB's name for it.
 * @param directory where it was writing.
 */
export function describeError(error: unknown, directory: string): { detail: string; code: string } {
  if (!(error instanceof Error)) return { detail: String(error), code: "" };
  const code = codeOf(error);
  // LMDB calls a write that came out short an input/output error, which is what a full disk does first.
  if (code === "EIO" && isDiskFull(directory)) return { detail: `no space left (${error.message})`, code: "ENOSPC" };
  return { detail: error.message, code };
}

function codeOf(error: Error): string {
  const code = "code" in error ? error.code : undefined;
  if (typeof code === "string") return code;
  if (typeof code === "number" && code > 0) return getSystemErrorName(-code);
  return /^MDB_[A-Z_]+/.exec(error.message)?.[0] ?? "";
}
