/** `quorate cluster up`: its flags, and which cluster they mean. What then runs is local-cluster.ts. */
import { relative, resolve } from "node:path";
import { LocalCluster } from "./local-cluster.ts";
import {
  type ClusterPlan,
  checkAgainst,
  MEMBERS_DEFAULT,
  MEMBERS_MOST,
  newPlan,
  newPlanOn,
  OWN_FLAGS,
  PlanRefused,
  readPlan,
  writePlan,
} from "./plan.ts";
import { freePorts, portProblem } from "./ports.ts";
import { type OptionTable, readOptions, textOf, UsageError, wholeNumber } from "./usage.ts";

const HELP = `Usage:

  quorate cluster up [flags] [-- serve flags]
    Run a cluster on this machine, all members under this one command, until Ctrl-C. The data stays; the same command
    brings the same cluster back.

Flags:
  --members ${MEMBERS_DEFAULT}
    How many members, 1 to ${MEMBERS_MOST}. An odd number: a fourth member makes three no safer.
  --base-port PORT
    The members take pairs of ports (clients, peers) from here on: PORT and PORT+1, PORT+2 and PORT+3, ...; 0 takes any
    free ones. Without it they are those of etcd's examples: 2379 and 2380, 22379 and 22380, 32379 and 32380, ...
  --data-dir ./quorate-cluster.etcd
    Where the cluster lives, a directory for each member.
  --restart
    Start a member again that ends by itself or is killed. Without it that is reported and the others go on.
  --verbose
    Show every line of the members' logs as it is, not only what is worth reading.
  --server PROGRAM
    Run PROGRAM, which understands etcd's flags, as the members; to see what etcd does. Members of another program
    survive if this command is killed with SIGKILL.

  What follows -- goes to every member: quorate cluster up -- --heartbeat-interval=50 --election-timeout=500

Exit codes: 0 stopped by SIGINT, SIGTERM or SIGHUP, and every member that ran ended in order; 1 a start that failed, a
member that had to be killed, or no member left; 2 arguments that make no sense.
`;

const DIRECTORY_DEFAULT = "quorate-cluster.etcd";
const OPTIONS: OptionTable = {
  members: { type: "string" },
  "base-port": { type: "string" },
  "data-dir": { type: "string" },
  restart: { type: "boolean" },
  verbose: { type: "boolean" },
  server: { type: "string" },
  help: { type: "boolean", short: "h" },
};

/** Resolves with the exit code when no member runs any more. Throws {@link UsageError}. */
export async function upCommand(args: readonly string[]): Promise<number> {
  const split = args.indexOf("--");
  const values = readOptions(split < 0 ? args : args.slice(0, split), OPTIONS);
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const serveFlags = split < 0 ? [] : args.slice(split + 1);
  refuseOwnFlags(serveFlags);
  const memberCount = wholeNumber(values, "members", 1, MEMBERS_MOST);
  const basePort = wholeNumber(values, "base-port", 0, 65536 - 2 * (memberCount ?? MEMBERS_DEFAULT));
  const directory = resolve(textOf(values, "data-dir") ?? DIRECTORY_DEFAULT);
  let plan: ClusterPlan;
  try {
    plan = await planFor(directory, memberCount, basePort);
  } catch (error) {
    if (!(error instanceof PlanRefused)) throw error;
    process.stderr.write(`quorate cluster up: ${error.message}\n`);
    return 1;
  }
  const server = textOf(values, "server");
  const isOwn = server === undefined;
  const cluster = new LocalCluster({
    plan,
    directory,
    shownDirectory: shown(directory),
    program: server ?? process.execPath,
    programArgs: isOwn ? [...process.execArgv, process.argv[1]!, "cluster", "member"] : [],
    serveFlags,
    restarts: values.restart === true,
    isVerbose: values.verbose === true,
  });
  return cluster.run();
}

/** The cluster of the directory, or a new one, with its ports free. Throws {@link PlanRefused}. */
async function planFor(
  directory: string,
  memberCount: number | undefined,
  basePort: number | undefined,
): Promise<ClusterPlan> {
  const found = readPlan(directory);
  if (found !== null) {
    checkAgainst(found, directory, { memberCount, basePort });
    await refuseTakenPorts(found, `they are the ports of the cluster in ${shown(directory)}; is it running already? `);
    return found;
  }
  const count = memberCount ?? MEMBERS_DEFAULT;
  const plan = basePort === 0 ? newPlanOn(await freePorts(2 * count)) : newPlan(count, basePort);
  await refuseTakenPorts(plan, "");
  // Only now: a start that was refused leaves nothing behind.
  writePlan(directory, plan);
  return plan;
}

/** Of serve's: they need https:// in the client URLs, which the plan does not have. */
const TLS_FLAGS = ["cert-file", "key-file", "client-cert-auth", "trusted-ca-file", "client-crl-file", "auto-tls"];

async function refuseTakenPorts(plan: ClusterPlan, why: string): Promise<void> {
  const taken: string[] = [];
  for (const { name, clientPort, peerPort } of plan.members) {
    for (const [port, use] of [
      [clientPort, "clients"],
      [peerPort, "peers"],
    ] as const) {
      const problem = await portProblem(port);
      if (problem === null) continue;
      taken.push(`  port ${port} (${name}, for ${use}) ${problem === "EADDRINUSE" ? "is taken" : `fails: ${problem}`}`);
    }
  }
  if (taken.length === 0) return;
  throw new PlanRefused(
    `cannot listen:\n${taken.join("\n")}\n${why}--base-port PORT with another --data-dir starts a cluster elsewhere, ` +
      "--base-port 0 on any free ports",
  );
}

/** Throws {@link UsageError}: they would make two members one, hide the cluster from this command, or do nothing. */
function refuseOwnFlags(serveFlags: readonly string[]): void {
  for (const flag of serveFlags) {
    const name = /^--?([^=]+)/.exec(flag)?.[1];
    if (name !== undefined && OWN_FLAGS.includes(name)) {
      throw new UsageError(`--${name} differs from member to member; this command sets it, so it cannot follow --`);
    }
    if (name !== undefined && TLS_FLAGS.includes(name)) {
      throw new UsageError(`--${name} would be of no effect: the members of this command serve http:// on 127.0.0.1`);
    }
  }
}

/** As the user would type it. */
function shown(directory: string): string {
  const path = relative(process.cwd(), directory);
  return path === "" || path.startsWith("..") ? directory : `./${path}`;
}
