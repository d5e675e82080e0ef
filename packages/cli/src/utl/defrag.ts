/** `quorate utl defrag`: gives back the free space of a stopped member's database. */
import { consoleLog, defragmentDirectory } from "@quorate/server/offline";
import { type Command, CommandError, EXIT } from "./command-tree.ts";
import { timeoutOf } from "./timeout.ts";

export const defrag: Command = {
  name: "defrag",
  operands: "",
  summary: "Defragments the storage of the etcd",
  flags: [
    {
      name: "data-dir",
      type: "string",
      default: "",
      help: "Required. Defragments a data directory not in use by etcd.",
      isRequired: true,
    },
  ],
  operandCount: null,
  async run(values) {
    const directory = values.text("data-dir");
    const log = consoleLog((line) => void process.stderr.write(line));
    try {
      await defragmentDirectory({ directory, timeoutMs: timeoutOf(values), log });
    } catch (error) {
      if (typeof (error as { kind?: unknown }).kind !== "string") throw error;
      const text = `Failed to defragment etcd data[${directory}] (${(error as Error).message})`;
      throw new CommandError(EXIT.error, text, { cause: error });
    }
  },
};
