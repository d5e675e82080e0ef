/** Flags are read and listed as Go's tools do it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Flag, FlagError, flagUsages, readFlags } from "./flags.ts";

const FLAGS: readonly Flag[] = [
  { name: "data-dir", type: "string", default: "", help: "where" },
  { name: "force", type: "bool", default: "", help: "whether" },
  { name: "rev", type: "int", default: "0", help: "which" },
  { name: "bump", type: "uint", default: "0", help: "by how much" },
  { name: "timeout", type: "duration", default: "10s", help: "how long" },
  { name: "write-out", short: "w", type: "string", default: "simple", help: "how" },
];

test("values stand behind a flag or with it, short ones too, and flags stand anywhere", () => {
  const written: [string[], string][] = [
    [["-w", "json", "a"], "json"],
    [["a", "-wjson"], "json"],
    [["-w=json", "a"], "json"],
    [["--write-out", "json", "a"], "json"],
    [["--write-out=json", "a"], "json"],
    [["a", "--write-out="], ""],
    [["a"], "simple"],
    [["--", "a"], "simple"],
  ];
  for (const [args, format] of written) {
    const { values, operands } = readFlags(FLAGS, args);
    assert.deepEqual([values.text("write-out"), operands], [format, ["a"]], args.join(" "));
  }
  assert.deepEqual(readFlags(FLAGS, ["--", "--force", "-w"]).operands, ["--force", "-w"]);
});

test("a bool takes a value only with an equals sign, and then Go's words for one", () => {
  assert.equal(readFlags(FLAGS, ["--force", "false"]).values.isTrue("force"), true);
  assert.equal(readFlags(FLAGS, ["--force=false"]).values.isTrue("force"), false);
  assert.equal(readFlags(FLAGS, ["--force=T"]).values.isTrue("force"), true);
  assert.equal(readFlags(FLAGS, []).values.isTrue("force"), false);
});

test("what is none is refused in Go's words", () => {
  const refused: [string[], string][] = [
    [["--nope"], "unknown flag: --nope"],
    [["--nope=1"], "unknown flag: --nope"],
    [["-x"], "unknown shorthand flag: 'x' in -x"],
    [["--data-dir"], "flag needs an argument: --data-dir"],
    [["-w"], "flag needs an argument: 'w' in -w"],
    [["--rev", "x"], 'invalid argument "x" for "--rev" flag: strconv.ParseInt: parsing "x": invalid syntax'],
    [
      ["--rev=9223372036854775808"],
      'invalid argument "9223372036854775808" for "--rev" flag: strconv.ParseInt: parsing "9223372036854775808": value out of range',
    ],
    [["--bump=-1"], 'invalid argument "-1" for "--bump" flag: strconv.ParseUint: parsing "-1": invalid syntax'],
    [["--force=2"], 'invalid argument "2" for "--force" flag: strconv.ParseBool: parsing "2": invalid syntax'],
    [["--timeout=1"], 'invalid argument "1" for "--timeout" flag: time: invalid duration "1"'],
  ];
  for (const [args, message] of refused) {
    assert.throws(
      () => readFlags(FLAGS, args),
      (error) => error instanceof FlagError && error.message === message,
      args.join(" "),
    );
  }
  assert.equal(readFlags(FLAGS, ["--rev=-5", "--timeout=1h30m"]).values.whole("rev"), -5n);
});

test("the list is in order of names, with what stands if a flag is not given", () => {
  assert.equal(
    flagUsages(FLAGS),
    [
      "      --bump uint          by how much",
      "      --data-dir string    where",
      "      --force              whether",
      "      --rev int            which",
      "      --timeout duration   how long (default 10s)",
      '  -w, --write-out string   how (default "simple")',
      "",
    ].join("\n"),
  );
});
