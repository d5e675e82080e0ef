#!/usr/bin/env node
/**
 * The `quorate` command: finds the subcommand and hands it the rest.
 *
 * Compiling (and, when sources run unbuilt, stripping types) takes longer than everything else a start does. Node's
 * compile cache, kept with the installation and not in a directory others can write to, makes that a cost of the first
 * start alone. So nothing but node's own modules is imported before it is on.
 */
import * as nodeModule from "node:module";
import { join } from "node:path";

// The namespace, because an older Node has no such export and would end with a SyntaxError instead of this.
if (Number.parseInt(process.versions.node, 10) < 24) {
  process.stderr.write(`quorate: needs Node 24 or newer; this is ${process.version} (npm start brings its own)\n`);
  process.exit(1);
}

// dist/quorate.js or packages/cli/src/main.ts
const installation = join(import.meta.dirname, import.meta.filename.endsWith(".ts") ? "../../.." : "..");
nodeModule.enableCompileCache(join(installation, "node_modules/.cache/quorate"));

const USAGE = `quorate: a strongly consistent, replicated key-value store that speaks etcd's protocols

Usage:
  quorate serve [flags]             start a member (flags are etcd's; see quorate serve --help)
  quorate cluster up [flags]        run a whole cluster on this machine
  quorate cluster status [flags]    show a cluster's members and what is wrong with it
  quorate utl <command> [flags]     work on files: snapshots, hashes, data directories (etcdutl's commands)
`;

const [command, ...args] = process.argv.slice(2);
switch (command) {
  case "serve": {
    const { serve } = await import("@quorate/server");
    process.exitCode = await serve(args);
    break;
  }
  case "cluster": {
    const { cluster } = await import("./cluster/command.ts");
    process.exitCode = await cluster(args);
    break;
  }
  case "utl": {
    const { utl } = await import("./utl/command.ts");
    process.exitCode = await utl(args);
    break;
  }
  case undefined:
  case "help":
  case "-h":
  case "--help":
    process.stdout.write(USAGE);
    break;
  default:
    process.stderr.write(`quorate: unknown command ${JSON.stringify(command)}\n\n${USAGE}`);
    process.exitCode = 2;
}
// Whatever a stopped server leaves behind (a worker, a closing socket) must not hold the process.
process.exit();
