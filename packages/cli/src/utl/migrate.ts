/** `quorate utl migrate`: for which version of etcd a stopped member's snapshots and exports are meant. */
import { consoleLog, migrateDirectory } from "@quorate/server/offline";
import { type Command, CommandError, EXIT } from "./command-tree.ts";
import { timeoutOf } from "./timeout.ts";

export const migrate: Command = {
  name: "migrate",
  operands: "",
  summary: "Migrates schema of etcd data dir files to make them compatible with different etcd version",
  flags: [
    { name: "data-dir", type: "string", default: "", help: "Path to the etcd data dir", isRequired: true },
    {
      name: "target-version",
      type: "string",
      default: "",
      help: 'Target etcd version to migrate contents of data dir. Minimal value 3.5. Format "X.Y" for example 3.6.',
      isRequired: true,
    },
    {
      name: "force",
      type: "bool",
      default: "",
      help: "Ignore migration failure and forcefully override storage version. Not recommended.",
    },
  ],
  operandCount: null,
  async run(values) {
    await migrateDirectory({
      directory: values.text("data-dir"),
      targetVersion: targetVersionOf(values.text("target-version")),
      isForced: values.isTrue("force"),
      timeoutMs: timeoutOf(values),
      log: consoleLog((line) => void process.stderr.write(line)),
    });
  },
};

/** "3.6.0" of "3.6". Throws CommandError. */
function targetVersionOf(text: string): string {
  const refuse = (problem: string): never => {
    throw new CommandError(EXIT.badArguments, problem);
  };
  const parts = text.split(".");
  if (parts.length !== 2) return refuse(`wrong target version format, expected "X.Y", got ${JSON.stringify(text)}`);
  const bad = parts.find((part) => !/^(?:0|[1-9]\d{0,8})$/.test(part));
  if (bad !== undefined) {
    return refuse(`failed to parse target version: strconv.ParseInt: parsing ${JSON.stringify(bad)}: invalid syntax`);
  }
  const [major, minor] = parts.map(Number) as [number, number];
  if (major < 3 || (major === 3 && minor < 5)) {
    return refuse(`target version ${JSON.stringify(text)} not supported. Minimal "3.5"`);
  }
  return `${text}.0`;
}
