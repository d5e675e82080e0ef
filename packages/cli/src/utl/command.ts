/**
 * `quorate utl`: work on files, as etcd's `etcdutl` does it, on ours and on etcd's. Loaded only when asked for, so that
 * `quorate serve` starts without it; each command is a file of its own beside this one.
 */
import { type Command, type CommandGroup, runCommand } from "./command-tree.ts";
import { completion } from "./completion.ts";
import { defrag } from "./defrag.ts";
import { exportEtcdCommand, importEtcdCommand } from "./exchange.ts";
import type { Flag } from "./flags.ts";
import { hashkv } from "./hashkv.ts";
import { migrate } from "./migrate.ts";
import { snapshotRestore } from "./snapshot-restore.ts";
import { snapshotStatus } from "./snapshot-status.ts";
import { version } from "./version.ts";

const PATH = "quorate utl";

const GLOBAL_FLAGS: readonly Flag[] = [
  {
    name: "timeout",
    type: "duration",
    default: "10s",
    help: "time to wait to obtain a file lock on db file, 0 to block indefinitely",
  },
  {
    name: "write-out",
    short: "w",
    type: "string",
    default: "simple",
    help: "set the output format (fields, json, protobuf, simple, table)",
  },
];

const COMMANDS: readonly (Command | CommandGroup)[] = [
  { name: "snapshot", summary: "Manages etcd node snapshots", commands: [snapshotRestore, snapshotStatus] },
  hashkv,
  defrag,
  migrate,
  importEtcdCommand,
  exportEtcdCommand,
  version,
];

const ROOT: CommandGroup = {
  name: "utl",
  summary: "Work on files while no member runs",
  commands: [...COMMANDS, completion(PATH, COMMANDS, GLOBAL_FLAGS)],
};

/** Resolves with the exit code: etcdutl's. */
export function utl(args: readonly string[]): Promise<number> {
  return runCommand(ROOT, PATH, GLOBAL_FLAGS, args, {
    stdout: (text) => void process.stdout.write(text),
    stderr: (text) => void process.stderr.write(text),
  });
}
