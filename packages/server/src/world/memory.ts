/**
 * Gives memory back that the process no longer needs but Node would keep: a full collection of the kind V8 runs when it
 * is about to fail, which also returns what start-up compiled and will not be used again, 9 MB of an idle member. It
 * blocks the loop for some tens of milliseconds, so the owner calls it once when nothing has happened for a while.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

interface CollectOptions {
  readonly type: "major";
  readonly execution: "sync";
  readonly flavor: "last-resort";
}

export function releaseMemory(): void {
  // V8 offers this to embedders only under a flag; a context made while the flag is on has the function.
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as (options: CollectOptions) => void;
  setFlagsFromString("--no-expose-gc");
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
}
