/** A table in plain text, framed as etcdctl frames its own, with every column as wide as its widest cell. */
export function tableText(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((column, i) => Math.max(column.length, ...rows.map((row) => row[i]!.length)));
  const rule = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+`;
  const line = (cells: readonly string[]): string =>
    `|${cells.map((cell, i) => ` ${cell.padEnd(widths[i]!)} `).join("|")}|`;
  return [rule, line(columns), rule, ...rows.map(line), rule].join("\n");
}
