/** Results are printed as etcdutl prints them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checkFormat, printed, sizeText } from "./print.ts";

const FOUND = {
  headings: ["hash", "total keys"],
  cells: ["cb16a71e", "7"],
  fields: [
    ["Hash", 3407259422],
    ["Keys", 7],
  ],
  json: { hash: 3407259422, totalKey: 7 },
} as const;

test("one result in every format", () => {
  assert.equal(printed("simple", FOUND), "cb16a71e, 7\n");
  assert.equal(printed("fields", FOUND), '"Hash" : 3407259422\n"Keys" : 7\n');
  assert.equal(printed("json", FOUND), '{"hash":3407259422,"totalKey":7}\n');
  const table = [
    "┌──────────┬────────────┐",
    "│   HASH   │ TOTAL KEYS │",
    "├──────────┼────────────┤",
    "│ cb16a71e │          7 │",
    "└──────────┴────────────┘",
    "",
  ];
  assert.equal(printed("table", FOUND), table.join("\n"));
  assert.throws(() => printed("protobuf", FOUND), { code: 4, message: "protobuf not supported as output format" });
  assert.throws(() => checkFormat("xml"), { code: 4, message: "unsupported output format" });
});

test("sizes are said as Go's tools say them", () => {
  const said: [number, string][] = [
    [0, "0 B"],
    [9, "9 B"],
    [10, "10 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [8192, "8.2 kB"],
    [20_480, "20 kB"],
    [24_500, "24 kB"],
    [25_500, "26 kB"],
    [999_960, "1000 kB"],
    [1_000_000, "1.0 MB"],
    [75_177_984, "75 MB"],
    [2_147_483_648, "2.1 GB"],
  ];
  for (const [bytes, text] of said) assert.equal(sizeText(bytes), text);
});
