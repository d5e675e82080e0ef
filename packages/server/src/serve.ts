/**
 * `quorate serve`: one member as a process. Reads the configuration, opens the member, serves until a signal, and ends
 * with etcd's exit codes: 0 help and version, 1 anything refused at start, 2 bad syntax or a broken invariant, and by the
 * signal itself after SIGINT or SIGTERM.
 *
 * The only place that knows the process: signals, exit, standard streams.
 */
import { readFileSync } from "node:fs";
import { arch, platform } from "node:os";
import { BrokenInvariant } from "@quorate/world";
import {
  ConfigError,
  HelpRequested,
  isTrue,
  parseArguments,
  parseEnvironment,
  type Settings,
  settingsOfFile,
  UsageError,
} from "./config/command-line.ts";
import { type Config, configOf } from "./config/config.ts";
import { defaultHost } from "./config/default-host.ts";
import { environmentName, FLAGS } from "./config/flags.ts";
import { openOutputs } from "./log/outputs.ts";
import { ZapLog } from "./log/zap-log.ts";
import type { ServerObservers } from "./observers.ts";
import { RunningServer } from "./running-server.ts";
import { VERSIONS } from "./versions.ts";
import { MachineClock } from "./world/clock.ts";

/**
 * Does not return before the process is to end; resolves with the exit code, or never if a signal ends it. `observers` hear
 * of every request of clients and members.
 */
export async function serve(args: readonly string[], observers: ServerObservers = {}): Promise<number> {
  let settings: Settings;
  const clock = new MachineClock();
  // Until the configuration says where lines go, they go where etcd's first ones do.
  let log = new ZapLog({ level: "info", format: "json", clock, write: (line) => process.stderr.write(line) });
  try {
    settings = parseArguments(args);
  } catch (error) {
    return refusedArguments(error, log);
  }
  if (isTrue(settings.get("version") ?? "false")) {
    process.stdout.write(versionText());
    return 0;
  }
  let config: Config;
  try {
    const read = await readConfig(settings, log);
    if (read === null) return 1;
    config = read;
    log = new ZapLog({
      level: config.logLevel,
      format: config.logFormat,
      clock,
      write: openOutputs(config.logOutputs),
    });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    log.warn("failed to verify flags", { error });
    return 1;
  }
  return run(config, args, log, observers);
}

async function run(config: Config, args: readonly string[], log: ZapLog, observers: ServerObservers): Promise<number> {
  log.for("main").info("Running: ", { args: ["quorate", "serve", ...args] });
  if (config.name === "default") {
    log.warn(
      "it isn't recommended to use default name, please set a value for --name. " +
        "Note that etcd might run into issue when multiple members have the same default name",
    );
  }
  endOnBrokenInvariant(log);
  let server: RunningServer;
  try {
    server = await RunningServer.start(config, log, observers);
  } catch (error) {
    if (error instanceof BrokenInvariant) throw error;
    if ((error as { kind?: string }).kind === "Discovery") {
      log.warn("failed to bootstrap; discovery token was already used", { error });
      log.warn("do not reuse discovery token; generate a new one to bootstrap a cluster");
      return 1;
    }
    log.fatal("discovery failed", { error });
    return 1;
  }
  return new Promise((resolve) => {
    server.onFailure = (error) => {
      log.fatal("server failed", { error });
      process.exit(1);
    };
    let isStopping = false;
    server.onRemoved = () => {
      if (isStopping) return;
      isStopping = true;
      log.warn("server error", { error: "the member has been permanently removed from the cluster" });
      log.warn("data-dir used by this member must be removed");
      server.stop().then(
        () => resolve(0),
        (error: unknown) => {
          log.fatal("failed to stop cleanly", { error });
          resolve(1);
        },
      );
    };
    if (server.isRemoved) server.onRemoved();
    const stopFor = (signal: "SIGINT" | "SIGTERM"): void => {
      if (isStopping) return;
      isStopping = true;
      log.info("received signal; shutting down", { signal: signal === "SIGINT" ? "interrupt" : "terminated" });
      server.stop().then(
        () => endBySignal(signal, resolve),
        (error: unknown) => {
          log.fatal("failed to stop cleanly", { error });
          resolve(1);
        },
      );
    };
    process.on("SIGINT", () => stopFor("SIGINT"));
    process.on("SIGTERM", () => stopFor("SIGTERM"));
  });
}

/** The parent learns by which signal we ended, as with etcd; process 1 of a container has nobody to tell and exits 0. */
function endBySignal(signal: "SIGINT" | "SIGTERM", resolve: (code: number) => void): void {
  if (process.pid === 1) {
    resolve(0);
    return;
  }
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

/** A member that doubts its own state must not answer: nothing catches such an error and goes on. */
function endOnBrokenInvariant(log: ZapLog): void {
  const end = (error: unknown): void => {
    log.log("panic", error instanceof BrokenInvariant ? error.message : "unexpected error", {
      error,
      stacktrace: error instanceof Error ? error.stack : undefined,
    });
    process.exit(2);
  };
  process.on("uncaughtException", end);
  process.on("unhandledRejection", end);
}

/** null: refused, and said so. Throws ConfigError. */
async function readConfig(given: Settings, log: ZapLog): Promise<Config | null> {
  const file = given.get("config-file") || process.env[environmentName("config-file")];
  if (file !== undefined && file !== "") {
    log.info(
      "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided",
      { path: file },
    );
    return configOf(settingsOfFile(await parseYaml(file)), true, defaultHost);
  }
  const environment = parseEnvironment(process.env, given);
  if (environment.shadowed !== null) {
    log.fatal(
      "conflicting environment variable is shadowed by corresponding command-line flag " +
        "(either unset environment variable or disable flag))",
      { "environment-variable": environment.shadowed },
    );
    return null;
  }
  for (const name of environment.recognized) {
    log.info("recognized and used environment variable", {
      "variable-name": name,
      "variable-value": process.env[name],
    });
  }
  for (const name of environment.unrecognized) {
    log.warn("unrecognized environment variable", { "environment-variable": `${name}=${process.env[name]}` });
  }
  return configOf(new Map([...environment.settings, ...given]), false, defaultHost);
}

/** The library is only loaded for those who keep a file: it would cost everybody else a seventh of idle memory. */
async function parseYaml(path: string): Promise<unknown> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new ConfigError(`cannot read configuration file: ${(error as Error).message}`, { cause: error });
  }
  const { parse } = await import("yaml");
  try {
    return parse(text) as unknown;
  } catch (error) {
    // What follows the first line quotes the file.
    const [problem] = (error as Error).message.split("\n");
    throw new ConfigError(`configuration file ${path}: ${problem}`, { cause: error });
  }
}

function refusedArguments(error: unknown, log: ZapLog): number {
  if (error instanceof HelpRequested) {
    process.stderr.write(USAGE);
    process.stdout.write(flagList());
    return 0;
  }
  if (error instanceof UsageError) {
    process.stderr.write(`${error.message}\n${USAGE}`);
    return 2;
  }
  if (error instanceof ConfigError) {
    log.warn("failed to verify flags", { error });
    return 1;
  }
  throw error;
}

const USAGE = `Usage:

  quorate serve [flags]
    Start a member.

  quorate serve --version
    Show the version.

  quorate serve -h | --help
    Show the help information.

  quorate serve --config-file
    Path to the configuration file. Note that if a configuration file is provided,
    other command line flags and environment variables will be ignored.
`;

function flagList(): string {
  return FLAGS.map((flag) => {
    const note = flag.support === "later" ? " (not supported yet)" : "";
    return `  --${flag.name} '${flag.default}'\n    ${flag.help}${note}\n`;
  }).join("");
}

function versionText(): string {
  return (
    `etcd Version: ${VERSIONS.etcd}\nGit SHA: Not provided\nGo Version: none (Node ${process.version})\n` +
    `Go OS/Arch: ${platform()}/${arch() === "x64" ? "amd64" : arch()}\nQuorate Version: ${VERSIONS.own}\n`
  );
}
