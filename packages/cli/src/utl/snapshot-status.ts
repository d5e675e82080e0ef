/** `quorate utl snapshot status`: the hash, revision, keys and size of a snapshot, ours or etcd's. */
import { consoleLog, FileError, snapshotStatus as statusOf } from "@quorate/server/offline";
import { type Command, CommandError, EXIT } from "./command-tree.ts";
import { checkFormat, printed, sizeText } from "./print.ts";

export const snapshotStatus: Command = {
  name: "status",
  operands: "<filename>",
  summary: "Gets backend snapshot status of a given file",
  flags: [],
  operandCount: null,
  run(values, operands) {
    if (operands.length !== 1) {
      throw new CommandError(EXIT.badArguments, "snapshot status requires exactly one argument");
    }
    const path = operands[0]!;
    const format = values.text("write-out");
    checkFormat(format);
    const { hash, revision, totalKeys, sizeBytes, storageVersion } = statusWithin(path);
    process.stdout.write(
      printed(format, {
        headings: ["hash", "revision", "total keys", "total size", "version"],
        cells: [hash.toString(16), String(revision), String(totalKeys), sizeText(sizeBytes), storageVersion],
        fields: [
          ["Hash", hash],
          ["Revision", revision],
          ["Keys", totalKeys],
          ["Size", sizeBytes],
          ["Version", storageVersion],
        ],
        json: { hash, revision, totalKey: totalKeys, totalSize: sizeBytes, version: storageVersion },
      }),
    );
  },
};

/** etcdutl looks whether the file is there before it opens it, and complains of that. */
function statusWithin(path: string): ReturnType<typeof statusOf> {
  try {
    return statusOf(
      path,
      consoleLog((line) => void process.stderr.write(line)),
    );
  } catch (error) {
    if (error instanceof FileError && error.code === "ENOENT") throw new FileError("stat", path, error.cause);
    throw error;
  }
}
