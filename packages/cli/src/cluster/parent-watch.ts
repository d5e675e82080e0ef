/**
 * A member that `quorate cluster up` started: `serve`, and nothing else, as long as its parent lives. The parent holds
 * the writing end of our standard input and never writes; the system closes it when the parent ends, however it ends,
 * kill -9 included. Then this process stops as if it had been sent SIGTERM. `quorate serve` itself looks at no input.
 */
import { serve } from "@quorate/server";

/** A stop that takes longer than this without anybody to see it is a hang. */
const STOP_LIMIT_MS = 20_000;

/** As `serve`: resolves with the exit code, or never if a signal ends the process. */
export function serveWhileParentLives(flags: readonly string[]): Promise<number> {
  const { stdin } = process;
  let isAlone = false;
  const parentGone = (): void => {
    if (isAlone) return;
    isAlone = true;
    process.stderr.write("quorate: the command that started this member has ended; stopping\n");
    setTimeout(() => process.kill(process.pid, "SIGKILL"), STOP_LIMIT_MS);
    process.kill(process.pid, "SIGTERM");
  };
  // Lines to a parent that is gone have no reader; that must not end the process before it has stopped in order.
  process.stderr.on("error", parentGone);
  process.stdout.on("error", parentGone);
  stdin.on("end", parentGone);
  stdin.on("error", parentGone);
  stdin.resume();
  return serve(flags);
}
