/**
 * `quorate cluster`: finds the command and hands it the rest. Loaded only when asked for, so that `quorate serve` starts
 * without it.
 */
import { UsageError } from "./usage.ts";

const USAGE = `Usage:

  quorate cluster up [flags] [-- serve flags]
    Run a cluster on this machine, all members under this one command.

  quorate cluster status [flags]
    Show every member of a running cluster and say what is wrong with it.

  quorate cluster <command> --help
    Show the command's flags.
`;

/** Resolves with the exit code; the commands' own pages of help say what it means. */
export async function cluster(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  try {
    switch (command) {
      case "up": {
        const { upCommand } = await import("./up-command.ts");
        return await upCommand(rest);
      }
      case "status": {
        const { statusCommand } = await import("./status-command.ts");
        return await statusCommand(rest);
      }
      case "member": {
        // Not for people: how `up` starts each of its members.
        const { serveWhileParentLives } = await import("./parent-watch.ts");
        return await serveWhileParentLives(rest);
      }
      case undefined:
      case "help":
      case "-h":
      case "--help":
        process.stdout.write(USAGE);
        return 0;
      default:
        throw new UsageError(`unknown command ${JSON.stringify(command)}`);
    }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const isKnown = command === "up" || command === "status";
    process.stderr.write(`quorate cluster${isKnown ? ` ${command}` : ""}: ${error.message}\n`);
    process.stderr.write(isKnown ? `quorate cluster ${command} --help shows the flags\n` : `\n${USAGE}`);
    return 2;
  }
}
