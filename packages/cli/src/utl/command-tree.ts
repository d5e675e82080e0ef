/**
 * Commands as etcd's tools have them: words that may be cut short, flags anywhere, and pages of help made of one description.
 * Texts and exit codes are those of etcdutl, so that scripts cannot tell the two apart.
 *
 *   utl ─┬─ snapshot ─┬─ status <filename>
 *        │            └─ restore <filename> [flags]
 *        └─ hashkv, defrag, migrate, ...
 */
import { type Flag, FlagError, type FlagValues, flagUsages, readFlags } from "./flags.ts";

/** Exit codes of etcd's tools. */
export const EXIT = { ok: 0, error: 1, badFeature: 4, badArguments: 128 } as const;

/** A command that cannot be carried out: said in one line, and the process exits with the code. */
export class CommandError extends Error {
  readonly kind = "Command";
  readonly code: number;
  constructor(code: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export interface Command {
  readonly name: string;
  /** What follows the name in its usage: "<filename>". */
  readonly operands: string;
  readonly summary: string;
  readonly flags: readonly Flag[];
  /** Its usage does not say that there are flags. */
  readonly hidesFlags?: boolean;
  /** Checked before anything else; null: the command itself looks at how many there are. */
  readonly operandCount: number | null;
  /** Resolves when it is done. Throws CommandError, or an error whose message is all that is said, with exit code 1. */
  run(values: FlagValues, operands: readonly string[]): Promise<void> | void;
}

/** Commands under one word. */
export interface CommandGroup {
  readonly name: string;
  readonly summary: string;
  readonly commands: readonly (Command | CommandGroup)[];
}

export interface Output {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
}

/** Finds the command the arguments name under `root`, called `path` by people, and runs it. Resolves with the exit code. */
export async function runCommand(
  root: CommandGroup,
  path: string,
  globalFlags: readonly Flag[],
  args: readonly string[],
  output: Output,
): Promise<number> {
  let group = root;
  let words = path;
  let rest = [...args];
  const asksForHelp = rest[0] === "help";
  if (asksForHelp) rest = rest.slice(1);
  for (;;) {
    const at = firstWord(rest, globalFlags);
    const word = rest[at];
    if (word === undefined) break;
    const found = findCommand(group, word);
    if (found === null) {
      // A group under the root shows its help instead.
      if (group !== root) break;
      return asksForHelp ? unknownTopic(root, path, globalFlags, rest, output) : unknownCommand(word, path, output);
    }
    words += ` ${found.name}`;
    rest.splice(at, 1);
    if (!("commands" in found)) {
      return asksForHelp
        ? help(output, commandUsage(found, words, globalFlags))
        : runOne(found, words, globalFlags, rest, output);
    }
    group = found;
  }
  return showGroup(group, words, globalFlags, rest, group === root, output);
}

/** Where the first argument is that is neither a flag nor a flag's value; behind the last one if there is none. */
function firstWord(args: readonly string[], flags: readonly Flag[]): number {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (!arg.startsWith("-")) return i;
    const flag = flags.find(({ name, short }) => arg === `--${name}` || arg === `-${short}`);
    if (flag !== undefined && flag.type !== "bool") i++;
  }
  return args.length;
}

function unknownCommand(word: string, path: string, output: Output): number {
  const text = `Error: unknown command ${JSON.stringify(word)} for ${JSON.stringify(path)}\n`;
  output.stderr(`${text}Run '${path} --help' for usage.\n${text}`);
  return EXIT.error;
}

function unknownTopic(
  root: CommandGroup,
  path: string,
  globalFlags: readonly Flag[],
  words: readonly string[],
  output: Output,
): number {
  const topics = words.map((word) => `\`${word}\``).join(" ");
  output.stderr(`Unknown help topic [${topics}]\n${groupUsage(root, path, globalFlags, true)}`);
  return EXIT.ok;
}

function showGroup(
  group: CommandGroup,
  path: string,
  globalFlags: readonly Flag[],
  args: readonly string[],
  isRoot: boolean,
  output: Output,
): number {
  const usage = groupUsage(group, path, globalFlags, isRoot);
  try {
    readFlags([...globalFlags, HELP], args);
  } catch (error) {
    if (!(error instanceof FlagError)) throw error;
    return complain(output, error, usage);
  }
  return help(output, usage);
}

/** Said twice: once by the reader of flags, once by the tool's end. */
function complain(output: Output, error: FlagError, usage: string): number {
  output.stderr(`Error: ${error.message}\n${usage}\nError: ${error.message}\n`);
  return EXIT.error;
}

function help(output: Output, text: string): number {
  output.stdout(text);
  return EXIT.ok;
}

/** By its name, or by the beginning of it if no other begins so. */
function findCommand(group: CommandGroup, word: string): Command | CommandGroup | null {
  const exact = group.commands.find(({ name }) => name === word);
  if (exact !== undefined) return exact;
  const begun = group.commands.filter(({ name }) => name.startsWith(word));
  return begun.length === 1 ? begun[0]! : null;
}

async function runOne(
  command: Command,
  path: string,
  globalFlags: readonly Flag[],
  args: readonly string[],
  output: Output,
): Promise<number> {
  const usage = commandUsage(command, path, globalFlags);
  try {
    const { values, operands } = readFlags([...command.flags, ...globalFlags, HELP], args);
    if (values.isSet("help")) return help(output, usage);
    checkOperandCount(command, operands.length);
    checkRequired(command, values);
    await command.run(values, operands);
    return EXIT.ok;
  } catch (error) {
    if (error instanceof FlagError) return complain(output, error, usage);
    // A mistake of ours has no kind.
    if (typeof (error as { kind?: unknown } | null)?.kind !== "string" && !isPlainRefusal(error)) throw error;
    output.stderr(`Error: ${(error as Error).message}\n`);
    return error instanceof CommandError ? error.code : EXIT.error;
  }
}

/** What is said of a URL is an Error and nothing more. */
function isPlainRefusal(error: unknown): boolean {
  return error instanceof Error && error.constructor === Error;
}

function checkOperandCount({ operandCount }: Command, count: number): void {
  if (operandCount === null || count === operandCount) return;
  throw new FlagError(`accepts ${operandCount} arg(s), received ${count}`);
}

function checkRequired({ flags }: Command, values: FlagValues): void {
  const missing = flags.filter(({ name, isRequired }) => isRequired === true && !values.isSet(name));
  if (missing.length === 0) return;
  throw new FlagError(`required flag(s) ${missing.map(({ name }) => `"${name}"`).join(", ")} not set`);
}

const HELP: Flag = { name: "help", short: "h", type: "bool", default: "", help: "" };

function helpFlagOf(name: string): Flag {
  return { ...HELP, help: `help for ${name}` };
}

function commandUsage(command: Command, path: string, globalFlags: readonly Flag[]): string {
  const operands = command.operands === "" ? "" : ` ${command.operands}`;
  const flags = command.hidesFlags === true ? "" : " [flags]";
  const own = flagUsages([...command.flags, helpFlagOf(command.name)]);
  return `Usage:\n  ${path}${operands}${flags}\n\nFlags:\n${own}\nGlobal Flags:\n${flagUsages(globalFlags)}`;
}

function groupUsage(group: CommandGroup, path: string, globalFlags: readonly Flag[], isRoot: boolean): string {
  const listed = isRoot ? [...group.commands, { name: "help", summary: "Help about any command" }] : group.commands;
  const width = Math.max(11, ...listed.map(({ name }) => name.length));
  const lines = [...listed]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, summary }) => `  ${name.padEnd(width)} ${summary}\n`);
  const flags = isRoot
    ? `Flags:\n${flagUsages([helpFlagOf(group.name), ...globalFlags])}`
    : `Flags:\n${flagUsages([helpFlagOf(group.name)])}\nGlobal Flags:\n${flagUsages(globalFlags)}`;
  const more = `Use "${path} [command] --help" for more information about a command.\n`;
  return `Usage:\n  ${path} [command]\n\nAvailable Commands:\n${lines.join("")}\n${flags}\n${more}`;
}
