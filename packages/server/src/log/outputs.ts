/** Opens what --log-outputs names and returns one function that writes a whole line to all of it. */
import { openSync, writeSync } from "node:fs";
import { ConfigError } from "../config/command-line.ts";

const STDOUT = 1;
const STDERR = 2;

/**
 * Lines are written synchronously, so that the last words before an exit are not lost; a pipe that is full or gone loses
 * lines instead of stopping the server. Throws ConfigError for a file that cannot be opened.
 */
export function openOutputs(outputs: readonly string[]): (line: string) => void {
  const descriptors = outputs.map(open);
  return (line) => {
    for (const descriptor of descriptors) {
      try {
        writeSync(descriptor, line);
      } catch {
        // Nowhere left to say it.
      }
    }
  };
}

function open(output: string): number {
  switch (output) {
    case "default":
    case "stderr":
      return STDERR;
    case "stdout":
      return STDOUT;
    case "systemd/journal":
      throw new ConfigError("log output systemd/journal is not supported by this version of quorate");
    default:
      try {
        return openSync(output, "a");
      } catch (error) {
        throw new ConfigError(`cannot open log output ${output}: ${(error as Error).message}`, { cause: error });
      }
  }
}
