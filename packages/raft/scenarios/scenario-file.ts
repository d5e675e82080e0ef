/**
 * Scenario files: a text that tells a story in directives and what each one printed, in the format of
 * cockroachdb/datadriven. Parsing, replaying and rewriting; what a directive does is the business of a {@link Stage}.
 *
 *   # comment
 *   command arg key=value key=(value,value)
 *   input, any number of lines
 *   ----
 *   expected output, up to a blank line (or, after a second "----", up to two of them in a row)
 */

export interface Argument {
  readonly key: string;
  /** Empty for a bare `key`; `key=` has one empty value. */
  readonly values: readonly string[];
}

export interface Directive {
  /** Line number of the command, from 1. */
  readonly line: number;
  readonly command: string;
  readonly args: readonly Argument[];
  /** Trimmed, newlines inside kept. */
  readonly input: string;
  readonly expected: string;
}

/** Plays the directives of one file; what one leaves behind, the next one finds. */
export interface Stage {
  /** Returns what the directive prints. */
  play(directive: Directive): string;
}

export interface Difference {
  readonly directive: Directive;
  readonly actual: string;
}

/** A file that cannot be understood: a fault of its author. */
export class ScenarioError extends Error {
  readonly kind = "ScenarioError";
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ScenarioError";
  }
}

/** Plays a file up to the first output that is not, byte for byte, what the file says; null if there is none. */
export function replay(text: string, stage: Stage): Difference | null {
  for (const directive of parseScenario(text).directives) {
    const actual = playOne(directive, stage);
    if (actual !== directive.expected) return { directive, actual };
  }
  return null;
}

/** The file's text with what it now prints in place of what was expected. */
export function rewrite(text: string, stage: Stage): string {
  const { lines, directives, expectedAt } = parseScenario(text);
  const out: string[] = [];
  let copied = 0;
  directives.forEach((directive, i) => {
    const [start, end] = expectedAt[i]!;
    out.push(...lines.slice(copied, start));
    const actual = playOne(directive, stage);
    if (actual !== "") {
      const body = actual.slice(0, -1).split("\n");
      out.push(...(body.some((line) => line.trim() === "") ? ["----", ...body, "----", "----"] : body));
    }
    copied = end;
  });
  out.push(...lines.slice(copied));
  return out.join("\n");
}

function playOne(directive: Directive, stage: Stage): string {
  const actual = stage.play(directive);
  return actual === "" || actual.endsWith("\n") ? actual : `${actual}\n`;
}

export interface Scenario {
  readonly lines: readonly string[];
  readonly directives: readonly Directive[];
  /** For each directive, the lines [start, end) that hold its expected output. */
  readonly expectedAt: readonly (readonly [number, number])[];
}

export function parseScenario(text: string): Scenario {
  const lines = text.split("\n");
  const directives: Directive[] = [];
  const expectedAt: (readonly [number, number])[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = at + 1;
    let command = lines[at++]!.trim();
    if (command === "" || command.startsWith("#")) continue;
    while (command.endsWith("\\") && at < lines.length) command = `${command.slice(0, -1)} ${lines[at++]!.trim()}`;
    const words = splitArguments(command, line);

    const input: string[] = [];
    while (at < lines.length && lines[at] !== "----") input.push(lines[at++]!);
    if (at === lines.length) throw new ScenarioError(`line ${line}: no "----" follows the directive`);
    at++;

    const start = at;
    const expected: string[] = [];
    if (lines[at] === "----") {
      at++;
      while (at < lines.length && !(lines[at] === "----" && lines[at + 1] === "----")) expected.push(lines[at++]!);
      at += 2;
    } else {
      while (at < lines.length && lines[at]!.trim() !== "") expected.push(lines[at++]!);
    }
    expectedAt.push([start, Math.min(at, lines.length)]);
    directives.push({
      line,
      command: words[0]!,
      args: words.slice(1).map(parseArgument),
      input: input.join("\n").trim(),
      expected: expected.map((text) => `${text}\n`).join(""),
    });
  }
  return { lines, directives, expectedAt };
}

/** Splits at blanks outside parentheses; a blank after a comma inside them goes with the comma. */
function splitArguments(text: string, line: number): string[] {
  const words: string[] = [];
  let depth = 0;
  let word = "";
  for (const character of text) {
    if (character === "(") depth++;
    if (character === ")") depth--;
    if (depth < 0) break;
    if (depth === 0 && /\s/.test(character)) {
      if (word !== "") words.push(word);
      word = "";
    } else {
      word += character;
    }
  }
  if (depth !== 0) throw new ScenarioError(`line ${line}: parentheses do not match`);
  if (word !== "") words.push(word);
  return words;
}

function parseArgument(word: string): Argument {
  const equals = word.indexOf("=");
  if (equals < 0) return { key: word, values: [] };
  const key = word.slice(0, equals);
  const value = word.slice(equals + 1);
  if (!(value.startsWith("(") && value.endsWith(")"))) return { key, values: [value] };
  const list = value.slice(1, -1);
  return { key, values: list === "" ? [] : splitAtCommas(list) };
}

function splitAtCommas(list: string): string[] {
  const values: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < list.length; i++) {
    if (list[i] === "(") depth++;
    else if (list[i] === ")") depth--;
    else if (list[i] === "," && depth === 0) {
      values.push(list.slice(start, i).trim());
      start = i + 1;
    }
  }
  values.push(list.slice(start).trim());
  return values;
}

/** The argument as a non-negative integer. */
export function wholeNumber(text: string, directive: Directive): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new ScenarioError(`line ${directive.line}: "${text}" is not a whole number`);
  }
  return value;
}
