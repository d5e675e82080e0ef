/**
 * Replays every scenario file in a folder, recursing: `npm run raft:scenarios -- FOLDER`. Prints for each file that it
 * passed or its first difference, and ends with `N passed, N failed`; the exit code is 1 if any failed.
 *
 * With `--rewrite` the files are rewritten to what they now print, to be reviewed as a diff.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { type Difference, replay, rewrite } from "./scenario-file.ts";
import { stageFor } from "./stages.ts";

/** All `.txt` files but READMEs below a folder, sorted; or the file itself. */
export function scenarioFiles(path: string): string[] {
  if (statSync(path).isFile()) return [path];
  const files: string[] = [];
  for (const name of readdirSync(path).sort()) {
    const inner = join(path, name);
    if (statSync(inner).isDirectory()) files.push(...scenarioFiles(inner));
    else if (name.endsWith(".txt")) files.push(inner);
  }
  return files;
}

/** Null if the file replays exactly, otherwise what went wrong, for people. */
export function firstDifference(file: string): string | null {
  const text = readFileSync(file, "utf8");
  try {
    const difference = replay(text, stageFor(text));
    return difference === null ? null : describeDifference(difference);
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

function describeDifference({ directive, actual }: Difference): string {
  const args = directive.args.map(({ key, values }) => (values.length === 0 ? key : `${key}=(${values.join(",")})`));
  const expected = directive.expected.split("\n");
  const printed = actual.split("\n");
  let at = 0;
  while (expected[at] === printed[at] && at < expected.length) at++;
  return [
    `line ${directive.line}: ${[directive.command, ...args].join(" ")}: output line ${at + 1} differs`,
    `  expected: ${expected[at] ?? "(end)"}`,
    `  printed:  ${printed[at] ?? "(end)"}`,
  ].join("\n");
}

function main(args: readonly string[]): number {
  const isRewrite = args.includes("--rewrite");
  const paths = args.filter((arg) => !arg.startsWith("--"));
  if (paths.length === 0) {
    console.error("usage: npm run raft:scenarios -- [--rewrite] FOLDER...");
    return 2;
  }
  let passed = 0;
  let failed = 0;
  for (const path of paths) {
    for (const file of scenarioFiles(path)) {
      const name = relative(path, file) || file;
      if (isRewrite) {
        const text = readFileSync(file, "utf8");
        writeFileSync(file, rewrite(text, stageFor(text)));
        console.log(`rewritten ${name}`);
        continue;
      }
      const difference = firstDifference(file);
      if (difference === null) {
        passed++;
        console.log(`passed    ${name}`);
      } else {
        failed++;
        console.log(`failed    ${name}\n${difference}`);
      }
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  process.exitCode = main(process.argv.slice(2));
}
