/** `quorate utl hashkv`: the number that members compare, of a snapshot or of a stopped member's data directory. */
import { consoleLog, keysHashOf } from "@quorate/server/offline";
import { type Command, CommandError, EXIT } from "./command-tree.ts";
import { checkFormat, printed } from "./print.ts";
import { timeoutOf } from "./timeout.ts";

export const hashkv: Command = {
  name: "hashkv",
  operands: "<filename>",
  summary: "Prints the KV history hash of a given file",
  flags: [{ name: "rev", type: "int", default: "0", help: "maximum revision to hash (default: latest revision)" }],
  operandCount: 1,
  async run(values, operands) {
    const format = values.text("write-out");
    checkFormat(format);
    const found = await hashWithin({
      path: operands[0]!,
      revision: Number(values.whole("rev")),
      timeoutMs: timeoutOf(values),
      log: consoleLog((line) => void process.stderr.write(line)),
    });
    const { hash, hashRevision, compactRevision } = found;
    process.stdout.write(
      printed(format, {
        headings: ["hash", "hash revision", "compact revision"],
        cells: [hash, hashRevision, compactRevision].map(String),
        fields: [
          ["Hash", hash],
          ["Hash revision", hashRevision],
          ["Compact revision", compactRevision],
        ],
        json: { hash, hashRevision, compactRevision },
      }),
    );
  },
};

/** The store's refusals in etcd's words. */
async function hashWithin(options: Parameters<typeof keysHashOf>[0]): ReturnType<typeof keysHashOf> {
  try {
    return await keysHashOf(options);
  } catch (error) {
    const text = REFUSALS.get((error as { kind?: string }).kind ?? "");
    if (text === undefined) throw error;
    throw new CommandError(EXIT.error, text, { cause: error });
  }
}

const REFUSALS: ReadonlyMap<string, string> = new Map([
  ["Compacted", "mvcc: required revision has been compacted"],
  ["FutureRevision", "mvcc: required revision is a future revision"],
]);
