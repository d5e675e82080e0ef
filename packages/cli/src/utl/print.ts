/** The formats of --write-out for what utl's commands find: one row of named values. */
import { CommandError, EXIT } from "./command-tree.ts";

export interface Printed {
  /** Column by column, for people. */
  readonly headings: readonly string[];
  readonly cells: readonly string[];
  /** Name by name, for scripts. */
  readonly fields: readonly (readonly [string, string | number])[];
  readonly json: Readonly<Record<string, string | number>>;
}

/** Throws CommandError for a format that there is not. Called before the work, because etcdutl's is. */
export function checkFormat(format: string): void {
  if (!FORMATS.includes(format)) throw new CommandError(EXIT.badFeature, "unsupported output format");
}

const FORMATS: readonly string[] = ["simple", "fields", "json", "protobuf", "table"];

/** Throws CommandError for protobuf, for which there is no message. */
export function printed(format: string, { headings, cells, fields, json }: Printed): string {
  switch (format) {
    case "simple":
      return `${cells.join(", ")}\n`;
    case "fields":
      return fields.map(([name, value]) => `"${name}" : ${value}\n`).join("");
    case "json":
      return `${JSON.stringify(json)}\n`;
    case "table":
      return tableOf(headings, cells);
    default:
      throw new CommandError(EXIT.badFeature, `${format} not supported as output format`);
  }
}

/** As etcd 3.7 frames its tables: headings centred, cells to the right. */
function tableOf(headings: readonly string[], cells: readonly string[]): string {
  const widths = headings.map((heading, i) => Math.max(heading.length, cells[i]!.length) + 2);
  const rule = (left: string, middle: string, right: string): string =>
    `${left}${widths.map((width) => "─".repeat(width)).join(middle)}${right}\n`;
  const row = (texts: readonly string[]): string => `│${texts.join("│")}│\n`;
  const centred = headings.map((heading, i) => {
    const left = Math.floor((widths[i]! - heading.length) / 2);
    return `${" ".repeat(left)}${heading.toUpperCase()}`.padEnd(widths[i]!);
  });
  const right = cells.map((cell, i) => `${cell} `.padStart(widths[i]!));
  return rule("┌", "┬", "┐") + row(centred) + rule("├", "┼", "┤") + row(right) + rule("└", "┴", "┘");
}

/** "75 MB", "8.2 kB": steps of a thousand, one decimal below ten of them, as etcd's tools say sizes. */
export function sizeText(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  const step = Math.floor(Math.log(bytes) / Math.log(1000));
  const value = Math.floor((bytes / 1000 ** step) * 10 + 0.5) / 10;
  return `${value < 10 ? value.toFixed(1) : halfToEven(value)} ${UNITS[step]}`;
}

/** As Go prints without decimals. */
function halfToEven(value: number): number {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

const UNITS: readonly string[] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
