/** `quorate utl import-etcd` and `export-etcd`: a stopped member changes programs and stays who it is. */
import { type ExchangeSummary, exportEtcd, importEtcd } from "@quorate/server/exchange-data";
import { consoleLog } from "@quorate/server/offline";
import type { Command } from "./command-tree.ts";
import type { Flag, FlagValues } from "./flags.ts";
import { timeoutOf } from "./timeout.ts";

function flags(theirs: string, ours: string): readonly Flag[] {
  return [
    {
      name: "data-dir",
      type: "string",
      default: "",
      help: `Required. Path to the data directory of ${theirs} to be made`,
      isRequired: true,
    },
    {
      name: "wal-dir",
      type: "string",
      default: "",
      help: `Where ${theirs}'s log goes, if not into its data directory`,
    },
    { name: "from-wal-dir", type: "string", default: "", help: `Where ${ours}'s log is, if not in its data directory` },
  ];
}

export const importEtcdCommand: Command = {
  name: "import-etcd",
  operands: "<etcd data dir> --data-dir {output dir}",
  summary: "Makes a data directory of Quorate out of a stopped etcd member's",
  flags: flags("Quorate", "etcd"),
  operandCount: 1,
  async run(values, [from]) {
    print("imported", await importEtcd(optionsOf(values, from!)));
  },
};

export const exportEtcdCommand: Command = {
  name: "export-etcd",
  operands: "<data dir> --data-dir {output dir}",
  summary: "Makes a data directory of etcd out of a stopped Quorate member's",
  flags: flags("etcd", "Quorate"),
  operandCount: 1,
  async run(values, [from]) {
    print("exported", await exportEtcd(optionsOf(values, from!)));
  },
};

function optionsOf(values: FlagValues, from: string): Parameters<typeof importEtcd>[0] {
  const walDirectory = values.text("wal-dir");
  const fromWalDirectory = values.text("from-wal-dir");
  return {
    from,
    to: values.text("data-dir"),
    ...(walDirectory === "" ? {} : { walDirectory }),
    ...(fromWalDirectory === "" ? {} : { fromWalDirectory }),
    timeoutMs: timeoutOf(values),
    log: consoleLog((line) => void process.stderr.write(line)),
  };
}

function print(done: string, { memberId, clusterId, revision, appliedIndex, lastIndex }: ExchangeSummary): void {
  process.stdout.write(
    `${done} member ${memberId.toString(16)} of cluster ${clusterId.toString(16)}: revision ${revision}, ` +
      `applied up to entry ${appliedIndex} of ${lastIndex}\n` +
      "never start both: two members of one identity break the cluster\n",
  );
}
