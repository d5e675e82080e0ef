/** Commands are found, refused and described as etcdutl's are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Command, CommandError, type CommandGroup, runCommand } from "./command-tree.ts";
import type { Flag } from "./flags.ts";

const GLOBAL: readonly Flag[] = [{ name: "write-out", short: "w", type: "string", default: "simple", help: "how" }];

function command(name: string, run: Command["run"], more: Partial<Command> = {}): Command {
  return { name, operands: "<file>", summary: `Does ${name}`, flags: [], operandCount: null, run, ...more };
}

const calls: string[] = [];
const ROOT: CommandGroup = {
  name: "utl",
  summary: "",
  commands: [
    {
      name: "snapshot",
      summary: "Snapshots",
      commands: [
        command("status", (values, operands) => void calls.push(`status ${values.text("write-out")} ${operands}`)),
        command("restore", () => void calls.push("restore")),
      ],
    },
    command("hash", () => void calls.push("hash"), { operandCount: 1 }),
    command("halt", () => {
      throw new CommandError(128, "no");
    }),
    command("needs", () => void calls.push("needs"), {
      flags: [{ name: "dir", type: "string", default: "", help: "where", isRequired: true }],
    }),
  ],
};

async function run(...args: string[]): Promise<{ code: number; out: string; error: string; calls: string[] }> {
  calls.length = 0;
  let out = "";
  let error = "";
  const output = {
    stdout: (text: string): void => {
      out += text;
    },
    stderr: (text: string): void => {
      error += text;
    },
  };
  const code = await runCommand(ROOT, "q utl", GLOBAL, args, output);
  return { code, out, error, calls: [...calls] };
}

test("a command is found by its name or the beginning of it, between flags", async () => {
  for (const args of [
    ["snapshot", "status", "f", "-w", "json"],
    ["-w", "json", "snap", "st", "f"],
    ["s", "--write-out=json", "status", "f"],
  ]) {
    assert.deepEqual(await run(...args), { code: 0, out: "", error: "", calls: ["status json f"] }, args.join(" "));
  }
  // Two begin so.
  assert.match((await run("ha", "f")).error, /unknown command "ha" for "q utl"/);
});

test("what cannot be done is one line and etcd's exit code; what makes no sense comes with the usage, said twice", async () => {
  assert.deepEqual(await run("halt"), { code: 128, out: "", error: "Error: no\n", calls: [] });
  const { code, error } = await run("hash");
  const usage = "Usage:\n  q utl hash <file> [flags]\n\nFlags:\n  -h, --help   help for hash\n";
  assert.equal(code, 1);
  assert.ok(error.startsWith(`Error: accepts 1 arg(s), received 0\n${usage}\nGlobal Flags:\n`), error);
  assert.ok(error.endsWith("\n\nError: accepts 1 arg(s), received 0\n"), error);
  assert.match((await run("needs")).error, /^Error: required flag\(s\) "dir" not set\n/);
  assert.deepEqual((await run("needs", "--dir=x")).calls, ["needs"]);
});

test("a mistake of ours is not said as if it were the operator's", async () => {
  const broken: CommandGroup = { ...ROOT, commands: [command("bad", () => void (null as never as string).length)] };
  const output = { stdout: () => {}, stderr: () => {} };
  await assert.rejects(runCommand(broken, "q utl", GLOBAL, ["bad"], output), TypeError);
});

test("help lists what there is, of a group, of a command, and of everything", async () => {
  const { out, code } = await run();
  assert.equal(code, 0);
  assert.match(out, /^Usage:\n {2}q utl \[command\]\n\nAvailable Commands:\n {2}halt {8}Does halt\n/);
  assert.match(out, /Use "q utl \[command\] --help" for more information about a command\.\n$/);
  assert.equal((await run("help")).out, out);
  const group = await run("snapshot");
  assert.match(group.out, /^Usage:\n {2}q utl snapshot \[command\]/);
  assert.equal((await run("snapshot", "nosuch")).out, group.out);
  const one = await run("snapshot", "status", "--help");
  assert.deepEqual([one.code, one.calls], [0, []]);
  assert.equal((await run("help", "snapshot", "status")).out, one.out);
  assert.equal((await run("--nope")).code, 1);
});
