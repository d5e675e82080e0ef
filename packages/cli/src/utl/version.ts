/** `quorate utl version`, in the words of etcdutl, which scripts look for. */
import { VERSIONS } from "@quorate/server/offline";
import type { Command } from "./command-tree.ts";

export const version: Command = {
  name: "version",
  operands: "",
  summary: "Prints the version of etcdutl",
  flags: [],
  operandCount: null,
  run() {
    const api = VERSIONS.cluster.split(".").slice(0, 2).join(".");
    process.stdout.write(`etcdutl version: ${VERSIONS.etcd}\nAPI version: ${api}\n`);
  },
};
