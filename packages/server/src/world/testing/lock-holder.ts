/**
 * A process that tries to take a directory's lock, says how that went, and holds it until it is killed or its input
 * ends, for `directory-lock.test.ts`.
 *
 *   node lock-holder.ts DIRECTORY
 */
import { DirectoryLock } from "../directory-lock.ts";

const directory = process.argv[2]!;
process.stdout.write("ready\n");
// All starters of a round begin at the same word.
process.stdin.once("data", async () => {
  try {
    await DirectoryLock.acquire(directory);
    process.stdout.write("held\n");
  } catch (error) {
    process.stdout.write(`refused: ${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
    process.stdin.destroy();
  }
});
