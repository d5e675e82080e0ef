/**
 * Flags as Go's pflag reads and lists them: `--name value`, `--name=value`, `-w json`, `-wjson`, in any order with operands;
 * `--` ends them. Values are read once, here, with Go's words for what is none.
 */
export interface Flag {
  readonly name: string;
  readonly short?: string;
  readonly type: "bool" | "string" | "int" | "uint" | "duration";
  /** As it is shown; "" is not. */
  readonly default: string;
  readonly help: string;
  readonly isRequired?: boolean;
}

/** The arguments make no sense: said together with the command's usage. */
export class FlagError extends Error {
  readonly kind = "Flag";
}

/** What was given, or else the default. */
export class FlagValues {
  readonly #flags: readonly Flag[];
  readonly #given: ReadonlyMap<string, string>;

  constructor(flags: readonly Flag[], given: ReadonlyMap<string, string>) {
    this.#flags = flags;
    this.#given = given;
  }

  isSet(name: string): boolean {
    return this.#given.has(name);
  }

  text(name: string): string {
    return this.#given.get(name) ?? this.#flags.find((flag) => flag.name === name)!.default;
  }

  isTrue(name: string): boolean {
    return TRUE.includes(this.text(name));
  }

  /** Of an int or uint. */
  whole(name: string): bigint {
    return BigInt(this.text(name));
  }
}

const TRUE: readonly string[] = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE: readonly string[] = ["0", "f", "F", "FALSE", "false", "False"];

/** Throws {@link FlagError}. */
export function readFlags(
  flags: readonly Flag[],
  args: readonly string[],
): { readonly values: FlagValues; readonly operands: readonly string[] } {
  const given = new Map<string, string>();
  const operands: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "--") {
      operands.push(...args.slice(i + 1));
      break;
    }
    if (!arg.startsWith("-") || arg === "-") {
      operands.push(arg);
      continue;
    }
    const { flag, written, value } = parted(flags, arg);
    if (value !== null) given.set(flag.name, checked(flag, written, value));
    else if (flag.type === "bool") given.set(flag.name, "true");
    else if (i + 1 < args.length) given.set(flag.name, checked(flag, written, args[++i]!));
    else throw new FlagError(`flag needs an argument: ${arg.startsWith("--") ? arg : `'${flag.short}' in ${arg}`}`);
  }
  return { values: new FlagValues(flags, given), operands };
}

/** The flag an argument names, how that is written in complaints, and a value in the same argument. */
function parted(flags: readonly Flag[], arg: string): { flag: Flag; written: string; value: string | null } {
  if (arg.startsWith("--")) {
    const equals = arg.indexOf("=");
    const name = arg.slice(2, equals < 0 ? undefined : equals);
    const flag = flags.find((each) => each.name === name);
    if (flag === undefined) throw new FlagError(`unknown flag: --${name}`);
    return { flag, written: writtenOf(flag), value: equals < 0 ? null : arg.slice(equals + 1) };
  }
  const short = arg[1]!;
  const flag = flags.find((each) => each.short === short);
  if (flag === undefined) throw new FlagError(`unknown shorthand flag: '${short}' in ${arg}`);
  const rest = arg.slice(2);
  const value = rest === "" ? null : rest.startsWith("=") ? rest.slice(1) : rest;
  return { flag, written: writtenOf(flag), value };
}

function writtenOf({ name, short }: Flag): string {
  return short === undefined ? `--${name}` : `-${short}, --${name}`;
}

function checked(flag: Flag, written: string, value: string): string {
  const problem = problemOf(flag, value);
  if (problem === null) return value;
  throw new FlagError(`invalid argument ${JSON.stringify(value)} for "${written}" flag: ${problem}`);
}

function problemOf({ type }: Flag, value: string): string | null {
  switch (type) {
    case "string":
      return null;
    case "bool":
      return TRUE.includes(value) || FALSE.includes(value) ? null : syntax("Bool", value);
    case "int":
      if (!/^[+-]?\d+$/.test(value)) return syntax("Int", value);
      return BigInt.asIntN(64, BigInt(value)) === BigInt(value) ? null : range("Int", value);
    case "uint":
      if (!/^\d+$/.test(value)) return syntax("Uint", value);
      return BigInt(value) < 2n ** 64n ? null : range("Uint", value);
    case "duration":
      return DURATION.test(value) ? null : `time: invalid duration ${JSON.stringify(value)}`;
    default:
      return type satisfies never;
  }
}

/** Go's; how long it is, is the server room's parser's to say. */
const DURATION = /^[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/u;

function syntax(what: string, value: string): string {
  return `strconv.Parse${what}: parsing ${JSON.stringify(value)}: invalid syntax`;
}

function range(what: string, value: string): string {
  return `strconv.Parse${what}: parsing ${JSON.stringify(value)}: value out of range`;
}

/** One line for each, in order of names, columns aligned. */
export function flagUsages(flags: readonly Flag[]): string {
  const sorted = [...flags].sort((a, b) => (a.name < b.name ? -1 : 1));
  const heads = sorted.map((flag) => {
    const short = flag.short === undefined ? "    " : `-${flag.short}, `;
    return `  ${short}--${flag.name}${flag.type === "bool" ? "" : ` ${flag.type}`}`;
  });
  const width = Math.max(...heads.map((head) => head.length)) + 3;
  return sorted.map((flag, i) => `${heads[i]!.padEnd(width)}${flag.help}${defaultText(flag)}\n`).join("");
}

function defaultText({ type, default: value }: Flag): string {
  if (value === "" || value === "0" || value === "false") return "";
  return type === "string" ? ` (default "${value}")` : ` (default ${value})`;
}
