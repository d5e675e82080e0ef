#!/usr/bin/env node
/** The `quorate` command: finds the subcommand and hands it the rest. */
import { serve } from "@quorate/server";

const USAGE = `quorate: a strongly consistent, replicated key-value store that speaks etcd's protocols

Usage:
  quorate serve [flags]    start a member (flags are etcd's; see quorate serve --help)
`;

const [command, ...args] = process.argv.slice(2);
switch (command) {
  case "serve":
    process.exitCode = await serve(args);
    break;
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
