/**
 * Where an interaction writes: one text that handlers and the nodes' log lines share, in the order things happened.
 * Levels select log lines; level "none" silences everything.
 */
import type { Log, LogLevel } from "@quorate/world";
import { ScenarioError } from "./scenario-file.ts";

const LEVELS: readonly string[] = ["debug", "info", "warn", "error", "fatal", "none"];

export class Output implements Log {
  #text = "";
  #level = 0;

  get level(): number {
    return this.#level;
  }

  /** A number that `level` gave, or a name in any case. */
  setLevel(level: number | string): void {
    const number = typeof level === "number" ? level : LEVELS.indexOf(level.toLowerCase());
    if (number < 0) throw new ScenarioError(`log levels must be either of ${LEVELS.join(", ")}`);
    this.#level = number;
  }

  isQuiet(): boolean {
    return this.#level === LEVELS.indexOf("none");
  }

  write(text: string): void {
    if (!this.isQuiet()) this.#text += text;
  }

  /** Everything `body` writes is indented by two blanks. */
  indented(body: () => void): void {
    const outer = this.#text;
    this.#text = "";
    body();
    const inner = this.#text.split("\n");
    if (inner.at(-1) === "") inner.pop();
    this.#text = outer + inner.map((line) => `  ${line}\n`).join("");
  }

  /** What was written since the last take. */
  take(): string {
    const text = this.#text;
    this.#text = "";
    return text;
  }

  isEnabled(level: LogLevel): boolean {
    return this.#level <= LEVELS.indexOf(level);
  }

  debug(message: string): void {
    this.#line("debug", message);
  }

  info(message: string): void {
    this.#line("info", message);
  }

  warn(message: string): void {
    this.#line("warn", message);
  }

  error(message: string): void {
    this.#line("error", message);
  }

  #line(level: LogLevel, message: string): void {
    if (this.isEnabled(level)) this.write(`${level.toUpperCase()} ${message}\n`);
  }
}
