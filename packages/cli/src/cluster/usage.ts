/**
 * How the cluster commands read their arguments: Node's own parser, with its complaints cut to one sentence, and values
 * that become typed here, once. (`quorate serve` has a parser of its own because it must accept Go's syntax.)
 */
import { type ParseArgsConfig, parseArgs } from "node:util";

/** The arguments make no sense: said together with the usage; the process exits with 2. */
export class UsageError extends Error {
  readonly kind = "Usage";
}

export type OptionTable = NonNullable<ParseArgsConfig["options"]>;
export type OptionValues = Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>;

/** Throws {@link UsageError} for an unknown option, a missing value or a stray argument. */
export function readOptions(args: readonly string[], options: OptionTable): OptionValues {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    const [sentence] = (error as Error).message.split(/\.\s|\n/);
    throw new UsageError(sentence!, { cause: error });
  }
}

/** Throws {@link UsageError}. Undefined if the option was not given. */
export function wholeNumber(values: OptionValues, name: string, least: number, most: number): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = typeof text === "string" && /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new UsageError(`--${name} must be a whole number from ${least} to ${most}, not ${JSON.stringify(text)}`);
  }
  return value;
}

/** The text of an option given at most once; an empty one counts as not given. */
export function textOf(values: OptionValues, name: string): string | undefined {
  const value = values[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}
