/** `quorate utl snapshot restore`: a data directory of ours out of a snapshot, ours or etcd's. */
import { consoleLog, restoreSnapshot } from "@quorate/server/offline";
import { type Command, CommandError, EXIT } from "./command-tree.ts";

export const snapshotRestore: Command = {
  name: "restore",
  operands: "<filename> --data-dir {output dir} [options]",
  summary: "Restores an etcd member snapshot to an etcd directory",
  flags: [
    { name: "data-dir", type: "string", default: "", help: "Path to the output data directory" },
    { name: "wal-dir", type: "string", default: "", help: "Path to the WAL directory (use --data-dir if none given)" },
    {
      name: "initial-cluster",
      type: "string",
      default: "default=http://localhost:2380",
      help: "Initial cluster configuration for restore bootstrap",
    },
    {
      name: "initial-cluster-token",
      type: "string",
      default: "etcd-cluster",
      help: "Initial cluster token for the etcd cluster during restore bootstrap",
    },
    {
      name: "initial-advertise-peer-urls",
      type: "string",
      default: "http://localhost:2380",
      help: "List of this member's peer URLs to advertise to the rest of the cluster",
    },
    { name: "name", type: "string", default: "default", help: "Human-readable name for this member" },
    {
      name: "skip-hash-check",
      type: "bool",
      default: "",
      help: "Ignore snapshot integrity hash value (required if copied from data directory)",
    },
    {
      name: "initial-memory-map-size",
      type: "uint",
      default: "10737418240",
      help: "Initial memory map size of the database in bytes. It uses the default value if not defined or defined to 0",
    },
    {
      name: "bump-revision",
      type: "uint",
      default: "0",
      help: "How much to increase the latest revision after restore",
    },
    {
      name: "mark-compacted",
      type: "bool",
      default: "",
      help: "Mark the latest revision after restore as the point of scheduled compaction (required if --bump-revision > 0, disallowed otherwise)",
    },
  ],
  operandCount: null,
  async run(values, operands) {
    if (operands.length !== 1) {
      throw new CommandError(EXIT.badArguments, "snapshot restore requires exactly one argument");
    }
    const bump = values.whole("bump-revision");
    if (bump > 0n !== values.isTrue("mark-compacted")) {
      throw new CommandError(EXIT.badArguments, "--mark-compacted required if --revision-bump > 0");
    }
    const name = values.text("name");
    const walDirectory = values.text("wal-dir");
    await restoreSnapshot(
      {
        snapshotPath: operands[0]!,
        name,
        dataDirectory: values.text("data-dir") || `${name}.etcd`,
        walDirectory: walDirectory === "" ? null : walDirectory,
        initialCluster: values.text("initial-cluster"),
        initialClusterToken: values.text("initial-cluster-token"),
        initialAdvertisePeerUrls: values.text("initial-advertise-peer-urls"),
        skipsHashCheck: values.isTrue("skip-hash-check"),
        // What is beyond exact numbers is refused there.
        bumpRevision: Number(bump),
      },
      consoleLog((line) => void process.stderr.write(line)),
    );
  },
};
