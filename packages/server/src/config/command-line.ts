/**
 * Turns argv, the environment or a configuration file into raw settings: flag name → text, each checked to be of its
 * flag's kind. Syntax is that of Go's flag package, which etcd's users and scripts rely on: `-x` or `--x`, `=value` or
 * the next argument, booleans only `=value`, the last of several wins. Meaning (rules between flags) is config.ts's.
 */
import { parseDurationMs } from "./duration.ts";
import { InvalidFeatureGate, parseFeatureGates } from "./feature-gates.ts";
import { environmentName, FLAG_BY_NAME, FLAGS, type Flag, IGNORED_FLAGS, SETTING_BY_NAME } from "./flags.ts";
import { urlListProblem } from "./urls.ts";

export type Settings = Map<string, string>;

/** Bad syntax: usage is printed and the process exits with 2. */
export class UsageError extends Error {
  readonly kind = "Usage";
}

/** `--help` was asked for. */
export class HelpRequested extends Error {
  readonly kind = "Help";
}

/** Well-formed but not acceptable: logged, and the process exits with 1. */
export class ConfigError extends Error {
  readonly kind = "Config";
}

/** Throws {@link UsageError}, {@link HelpRequested}, or {@link ConfigError} for a stray argument. */
export function parseArguments(args: readonly string[]): Settings {
  const settings: Settings = new Map();
  for (let i = 0; i < args.length; i++) {
    const argument = args[i]!;
    if (!argument.startsWith("-") || argument === "-") throw new ConfigError(`"${argument}" is not a valid flag`);
    if (argument === "--") {
      if (i + 1 < args.length) throw new ConfigError(`"${args[i + 1]}" is not a valid flag`);
      break;
    }
    const body = argument.startsWith("--") ? argument.slice(2) : argument.slice(1);
    const equals = body.indexOf("=");
    const name = equals < 0 ? body : body.slice(0, equals);
    if (name === "" || name.startsWith("-")) throw new UsageError(`bad flag syntax: ${argument}`);
    if (name === "h" || name === "help") throw new HelpRequested();
    if (IGNORED_FLAGS.has(name)) continue;
    const flag = FLAG_BY_NAME.get(name);
    if (flag === undefined) throw new UsageError(`flag provided but not defined: -${name}`);
    let value: string;
    if (equals >= 0) value = body.slice(equals + 1);
    else if (flag.kind === "boolean") value = "true";
    else if (i + 1 < args.length) value = args[++i]!;
    else throw new UsageError(`flag needs an argument: -${name}`);
    const problem = valueProblem(flag, value);
    if (problem !== null) {
      throw new UsageError(
        flag.kind === "boolean"
          ? `invalid boolean value ${JSON.stringify(value)} for -${name}: ${problem}`
          : `invalid value ${JSON.stringify(value)} for flag -${name}: ${problem}`,
      );
    }
    settings.set(name, value);
  }
  return settings;
}

export interface EnvironmentSettings {
  readonly settings: Settings;
  /** Names used, and ETCD_* names nobody knows: both are logged. */
  readonly recognized: readonly string[];
  readonly unrecognized: readonly string[];
  /** A variable that repeats a flag given on the command line: fatal in etcd, because one of them would silently lose. */
  readonly shadowed: string | null;
}

const ENVIRONMENT_ONLY: ReadonlySet<string> = new Set([
  "ETCD_VERIFY",
  "ETCD_CLIENT_DEBUG",
  "ETCD_UNSUPPORTED_ARCH",
  "ETCD_VERSION",
]);

/** Throws {@link ConfigError} for a value of the wrong kind. An empty variable counts as unset. */
export function parseEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  given: Settings,
): EnvironmentSettings {
  const settings: Settings = new Map();
  const recognized: string[] = [];
  const known = new Set<string>();
  let shadowed: string | null = null;
  for (const flag of FLAGS) {
    const variable = environmentName(flag.name);
    known.add(variable);
    const value = environment[variable];
    if (value === undefined || value === "" || flag.name === "version") continue;
    if (given.has(flag.name)) {
      shadowed ??= variable;
      continue;
    }
    const problem = valueProblem(flag, value);
    if (problem !== null) throw new ConfigError(`invalid value ${JSON.stringify(value)} for ${variable}: ${problem}`);
    settings.set(flag.name, value);
    recognized.push(variable);
  }
  const unrecognized = Object.keys(environment)
    .filter((name) => name.startsWith("ETCD_") && !known.has(name) && !ENVIRONMENT_ONLY.has(name))
    .sort();
  return { settings, recognized, unrecognized, shadowed };
}

/** Throws {@link ConfigError}. `document` is the parsed YAML or JSON; unknown keys are ignored, as etcd does. */
export function settingsOfFile(document: unknown): Settings {
  const settings: Settings = new Map();
  if (document === null || document === undefined) return settings;
  if (typeof document !== "object" || Array.isArray(document)) {
    throw new ConfigError("configuration file: the top level must be a mapping");
  }
  for (const flag of SETTING_BY_NAME.values()) {
    if (flag.fileKey === null) continue;
    const value = at(document, flag.fileKey);
    if (value === undefined || value === null) continue;
    settings.set(flag.name, textOfFileValue(flag, value));
  }
  return settings;
}

function at(document: object, dottedKey: string): unknown {
  let here: unknown = document;
  for (const key of dottedKey.split(".")) {
    if (typeof here !== "object" || here === null) return undefined;
    here = Object.hasOwn(here, key) ? (here as Record<string, unknown>)[key] : undefined;
  }
  return here;
}

function textOfFileValue(flag: Flag, value: unknown): string {
  const refuse = (wanted: string): never => {
    throw new ConfigError(`configuration file: ${flag.fileKey} must be ${wanted}, not ${JSON.stringify(value)}`);
  };
  switch (flag.kind) {
    case "duration":
      if (typeof value !== "number" || !Number.isInteger(value)) return refuse("an integer of nanoseconds");
      return `${value}ns`;
    case "boolean":
      if (typeof value !== "boolean") return refuse("true or false");
      return String(value);
    case "list":
      if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value.join(",");
      if (typeof value === "string") return value;
      return refuse("a list of strings");
    case "integer":
    case "unsigned":
    case "string":
    case "urls": {
      if (typeof value !== "string" && typeof value !== "number") return refuse("a string or a number");
      const text = String(value);
      if (flag.kind === "string") return text;
      const problem = valueProblem(flag, text);
      if (problem !== null && flag.kind === "urls") {
        throw new ConfigError(`unexpected error setting up ${flag.fileKey}: ${problem}`);
      }
      if (problem !== null) refuse(`a number (${problem})`);
      return text;
    }
    default:
      return flag.kind satisfies never;
  }
}

/** Flags that take one of a few words only, on the command line; in a file their value is judged later. */
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  "initial-cluster-state": ["new", "existing"],
  "discovery-fallback": ["exit", "proxy"],
};

/** Why Go would refuse this text for this kind; null if it would not. */
function valueProblem(flag: Flag, text: string): string | null {
  switch (flag.kind) {
    case "boolean":
      return /^(1|0|t|f|T|F|true|false|TRUE|FALSE|True|False)$/.test(text) ? null : "parse error";
    case "integer":
      return /^[+-]?\d+$/.test(text) ? rangeProblem(text, -(2n ** 63n), 2n ** 63n - 1n) : "parse error";
    case "unsigned":
      return /^\d+$/.test(text) ? rangeProblem(text, 0n, unsignedLimit(flag.name)) : "parse error";
    case "duration":
      return parseDurationMs(text) === null ? "parse error" : null;
    case "urls":
      return text === "" ? null : urlListProblem(text);
    case "string":
      if (flag.name === "feature-gates") return gatesProblem(text);
      return CHOICES[flag.name]?.includes(text) === false ? "invalid value" : null;
    case "list":
      return null;
    default:
      return flag.kind satisfies never;
  }
}

function gatesProblem(text: string): string | null {
  try {
    parseFeatureGates(text);
    return null;
  } catch (error) {
    if (error instanceof InvalidFeatureGate) return error.message;
    throw error;
  }
}

/** max-concurrent-streams is a u32 in the protocol; everything else must stay an exact number. */
function unsignedLimit(name: string): bigint {
  return name === "max-concurrent-streams" ? 2n ** 32n - 1n : 2n ** 53n - 1n;
}

function rangeProblem(text: string, least: bigint, most: bigint): string | null {
  const value = BigInt(text.startsWith("+") ? text.slice(1) : text);
  return value >= least && value <= most ? null : "value out of range";
}

export function isTrue(text: string): boolean {
  return /^(1|t|true)$/i.test(text);
}
