import assert from "node:assert/strict";
import { test } from "node:test";
import { BboltDamagedError } from "./errors.ts";
import { META_END, PageFlag, readMeta, viewOf } from "./page.ts";
import { BboltReader } from "./reader.ts";
import { PAGE_RUN_BYTES_MAX } from "./source.ts";
import { type Contents, contentsOf, fileOf, MemoryFile, numberedPairs, readAll } from "./testing/files.ts";
import { Forge, oneBucket } from "./testing/forge.ts";

// covers: WA-03 WA-14 SN-09

/** The first 80 bytes of a file that etcd 3.7 wrote. */
const REAL_META =
  "00000000000000000400000000000000edda0ced02000000001000000000000008000000000000000000000000000000" +
  "ffffffffffffffff0900000000000000200000000000000012eddc8b49686781";

const refused =
  (text: RegExp, page?: number) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof BboltDamagedError, String(error));
    assert.equal(error.kind, "BboltDamaged");
    assert.match(error.message, text);
    if (page !== undefined) assert.equal(error.page, page, error.message);
    return true;
  };

function small(): Contents {
  return [
    ["alarm", []],
    ["auth", numberedPairs(3, (i) => `a${i}`)],
    ["key", numberedPairs(400, (i) => (i === 200 ? "v".repeat(9000) : `value ${i}`))],
    ["meta", numberedPairs(30, (i) => "m".repeat(i * 5))],
  ];
}

test("the meta of a real file is read as it was written", () => {
  const bytes = Buffer.from(REAL_META, "hex");
  assert.equal(bytes.length, META_END);
  assert.deepEqual(readMeta(viewOf(bytes), 0), { pageBytes: 4096, root: 8, freelist: null, pageCount: 9, txid: 32n });
  for (let at = 16; at < META_END; at++) {
    const altered = Buffer.from(bytes);
    altered[at]! ^= 4;
    assert.equal(readMeta(viewOf(altered), 0), null, `byte ${at}`);
  }
});

test("an empty inline bucket is written as bbolt writes it", () => {
  const file = fileOf([["b", []]]);
  const value = file.bytes.subarray(2 * 4096 + 16 + 16 + 1, 2 * 4096 + 16 + 16 + 1 + 32);
  assert.equal(value.toString("hex"), `${"0".repeat(48)}0200000000000000`);
});

test("the newer of two intact metas counts, the other one if it is damaged, and none is refused", () => {
  const forge = new Forge();
  const old = forge.leaf([["b", [["k", "old"]]]]);
  const now = forge.leaf([["b", [["k", "new"]]]]);
  const value = (file: MemoryFile): string => {
    return Buffer.from(new BboltReader(file).get(Buffer.from("b"), Buffer.from("k"))!).toString();
  };
  const both = () => forge.file(old, {}, { root: now });
  assert.equal(value(both()), "new");
  assert.equal(value(forge.file(now, { txid: 8n }, { root: old, txid: 7n })), "new");
  const spoilt = (...ats: number[]): MemoryFile => {
    const file = both();
    for (const at of ats) file.bytes[at]! ^= 1;
    return file;
  };
  assert.equal(value(spoilt(4096 + 40)), "old");
  assert.equal(value(spoilt(40)), "new");
  assert.throws(() => value(spoilt(40, 4096 + 40)), refused(/neither meta page is intact/));
});

test("a file with a spoilt first meta is read whatever its page size is", () => {
  for (const pageBytes of [2048, 4096, 16_384, 65_536]) {
    const file = fileOf(small(), { pageBytes });
    file.bytes[30]! ^= 0xff;
    assert.deepEqual(readAll(file), small());
  }
});

test("a file may be longer than its pages, and a digest may follow", () => {
  const file = fileOf(small());
  const sizeBytes = file.bytes.length;
  const longer = new MemoryFile(Buffer.concat([file.bytes, Buffer.alloc(32, 7)]));
  assert.equal(new BboltReader(longer).sizeBytes, sizeBytes);
  assert.deepEqual(readAll(longer), small());
});

test("a file cut short anywhere is refused", () => {
  const whole = fileOf(small()).bytes;
  for (let length = 0; length < whole.length; length += length < 8192 ? 61 : 509) {
    assert.throws(() => readAll(new MemoryFile(whole.subarray(0, length))), refused(/short|intact|ends here/));
  }
  assert.throws(() => readAll(new MemoryFile(whole.subarray(0, -1))), refused(/the file ends here/));
});

test("a file that shrinks while it is read is refused", () => {
  const file = fileOf(small());
  const reader = new BboltReader(file);
  file.bytes = file.bytes.subarray(0, 3 * 4096);
  assert.throws(() => contentsOf(reader), refused(/the file ends here/));
});

test("one altered byte ends in a refusal, or in pairs that ascend, and in nothing else", () => {
  const contents: Contents = [
    ["alarm", []],
    ["auth", numberedPairs(2, (i) => `a${i}`)],
    ["key", numberedPairs(70, (i) => (i === 20 ? "v".repeat(2100) : `value ${i}`))],
  ];
  const whole = fileOf(contents, { pageBytes: 2048 });
  const masks = [0x01, 0x80, 0xff, 0x10];
  let refusals = 0;
  for (let at = 0; at < whole.bytes.length; at++) {
    const file = new MemoryFile(whole.bytes);
    file.bytes[at]! ^= masks[at % masks.length]!;
    try {
      assertAscending(readAll(file));
    } catch (error) {
      if (!(error instanceof BboltDamagedError)) throw new Error(`byte ${at}`, { cause: error });
      refusals++;
    }
    assert.ok(file.longestRead <= whole.bytes.length);
  }
  assert.ok(refusals > 1000, `${refusals} refusals`);
});

test("what lies between pages' contents does not matter", () => {
  const file = fileOf(small());
  file.bytes.fill(0xaa, META_END, 4096);
  file.bytes.fill(0xaa, 4096 + META_END, 8192);
  assert.deepEqual(readAll(file), small());
});

function assertAscending(contents: Contents): void {
  for (const [, pairs] of contents) {
    for (let i = 1; i < pairs.length; i++) assert.ok(Buffer.compare(pairs[i - 1]![0], pairs[i]![0]) < 0);
  }
}

const b = Buffer.from("b");
const visitB = (file: MemoryFile): void => new BboltReader(file).visit(b, { visit: () => true });

/** Files that break one rule each, and what is said of it. */
const forgeries: Record<string, readonly [make: (forge: Forge) => MemoryFile, text: RegExp]> = {
  "a branch that is its own child": [
    (forge) => oneBucket(forge, forge.branch([["a", forge.nextPage]])),
    /referred to twice/,
  ],
  "two branches in a circle": [
    (forge) => oneBucket(forge, forge.branch([["a", forge.branch([["a", forge.nextPage + 1]])]])),
    /referred to twice/,
  ],
  "a leaf below two branches": [
    (forge) => {
      const leaf = forge.leaf([]);
      return oneBucket(
        forge,
        forge.branch([
          ["a", leaf],
          ["b", leaf],
        ]),
      );
    },
    /referred to twice/,
  ],
  "a chain of branches without end": [
    (forge) => {
      let root = forge.leaf([["k", "v"]]);
      for (let i = 0; i < 40; i++) root = forge.branch([["k", root]]);
      return oneBucket(forge, root);
    },
    /more than 32 levels/,
  ],
  "a child beyond the file": [(forge) => oneBucket(forge, forge.branch([["a", 2 ** 52]])), /no such page/],
  "a child that is a meta page": [(forge) => oneBucket(forge, forge.branch([["a", 1]])), /no such page/],
  "a bucket beyond the file": [(forge) => oneBucket(forge, 77), /no such page/],
  "a page marked with another number": [(forge) => oneBucket(forge, forge.leaf([], { id: 9 })), /marked as page 9/],
  "a page of no kind": [(forge) => oneBucket(forge, forge.leaf([], { flag: 3 })), /kind 3/],
  "a list of free pages in a tree": [(forge) => oneBucket(forge, forge.freelist([])), /kind 16/],
  "more elements than the page holds": [
    (forge) => oneBucket(forge, forge.leaf([], { count: 256 })),
    /more than the page holds/,
  ],
  "elements of nothing": [(forge) => oneBucket(forge, forge.leaf([], { count: 3 })), /a key of 0 bytes/],
  "a branch of nothing": [(forge) => oneBucket(forge, forge.branch([])), /without children/],
  "more pages than there are": [
    (forge) => oneBucket(forge, forge.leaf([], { overflow: 2 ** 32 - 1 })),
    /beyond the last page/,
  ],
  "a key twice": [
    (forge) =>
      oneBucket(
        forge,
        forge.leaf([
          ["a", ""],
          ["a", ""],
        ]),
      ),
    /not greater/,
  ],
  "keys that descend": [
    (forge) =>
      oneBucket(
        forge,
        forge.leaf([
          ["b", ""],
          ["a", ""],
        ]),
      ),
    /not greater/,
  ],
  "branches that descend": [
    (forge) =>
      oneBucket(
        forge,
        forge.branch([
          ["b", forge.leaf([])],
          ["a", forge.leaf([])],
        ]),
      ),
    /not greater/,
  ],
  "a key before its branch's": [
    (forge) => oneBucket(forge, forge.branch([["b", forge.leaf([["a", ""]])]])),
    /smaller than its branch/,
  ],
  "a key of the branch behind": [
    (forge) =>
      oneBucket(
        forge,
        forge.branch([
          [
            "a",
            forge.leaf([
              ["a", ""],
              ["c", ""],
            ]),
          ],
          ["c", forge.leaf([["d", ""]])],
        ]),
      ),
    /not smaller than the branch behind/,
  ],
  "a key of the branch behind its branch": [
    (forge) => {
      const low = forge.branch([
        [
          "a",
          forge.leaf([
            ["a", ""],
            ["c", ""],
          ]),
        ],
      ]);
      const high = forge.branch([["c", forge.leaf([["d", ""]])]]);
      return oneBucket(
        forge,
        forge.branch([
          ["a", low],
          ["c", high],
        ]),
      );
    },
    /not smaller than the branch behind/,
  ],
  "a bucket in a bucket, where none may be": [
    (forge) => oneBucket(forge, forge.leaf([["n", []]])),
    /a bucket where a pair/,
  ],
  "a pair among the buckets": [(forge) => forge.file(forge.leaf([["b", "value"]])), /a pair where a bucket/],
};

for (const [name, [make, text]] of Object.entries(forgeries)) {
  test(`refused: ${name}`, () => {
    assert.throws(() => visitB(make(new Forge())), refused(text));
  });
}

test("refused: metas that lead outside", () => {
  const forge = new Forge();
  const root = forge.leaf([]);
  const say = (meta: object): MemoryFile => forge.file(root, meta);
  assert.throws(() => new BboltReader(say({ pageCount: 2 ** 40 })), refused(/in use/));
  assert.throws(() => new BboltReader(say({ root: 3 })), refused(/start at page 3 of 3/));
  assert.throws(() => new BboltReader(say({ root: 1 })), refused(/start at page 1/));
  assert.throws(() => new BboltReader(say({ freelist: 3 })), refused(/listed in page 3/));
  for (const pageBytes of [0, 1, 512, 4095, 2 ** 31]) {
    assert.throws(() => new BboltReader(say({ pageBytes })), refused(/pages of|in use/));
  }
});

test("refused: an element reaching out of its page, or into what lies before it", () => {
  const forge = new Forge();
  const leaf = forge.leaf([
    ["a", "1"],
    ["b", "2"],
  ]);
  const whole = oneBucket(forge, leaf);
  const altered = (field: number, value: number): MemoryFile => {
    const file = new MemoryFile(whole.bytes);
    file.bytes.writeUInt32LE(value, leaf * 4096 + 16 + 16 + field);
    return file;
  };
  assert.throws(() => visitB(altered(0, 2)), refused(/flags 2/, leaf));
  assert.throws(() => visitB(altered(4, 15)), refused(/inside what lies before/, leaf));
  assert.throws(() => visitB(altered(4, 17)), refused(/inside what lies before/, leaf));
  assert.throws(() => visitB(altered(4, 2 ** 32 - 1)), refused(/outside its page/, leaf));
  assert.throws(() => visitB(altered(8, 2 ** 32 - 1)), refused(/a key of/, leaf));
  assert.throws(() => visitB(altered(8, 0)), refused(/a key of 0/, leaf));
  assert.throws(() => visitB(altered(12, 2 ** 32 - 1)), refused(/outside its page/, leaf));
  assert.throws(() => visitB(altered(12, 4096)), refused(/outside its page/, leaf));
});

test("refused: a page longer than any value may be, without asking for the memory", () => {
  const pageBytes = 16 * 1024 * 1024;
  const forge = new Forge(pageBytes);
  const overflow = PAGE_RUN_BYTES_MAX / pageBytes;
  const file = forge.file(forge.leaf([], { overflow }), { pageCount: 4 + overflow });
  const claimed = { sizeBytes: () => 2 ** 40, read: file.read.bind(file) };
  assert.throws(() => new BboltReader(claimed), refused(/allowed are/, 2));
  assert.ok(file.longestRead <= pageBytes);
});

test("refused: inline buckets that are cut short or no leaf", () => {
  const forge = new Forge();
  const root = forge.leaf([["b", [["k", "v"]]]]);
  const whole = forge.file(root);
  // The element, its key, the bucket's header, then the image.
  const image = root * 4096 + 16 + 16 + 1 + 16;
  const altered = (at: number, value: number): MemoryFile => {
    const file = new MemoryFile(whole.bytes);
    file.bytes[at] = value;
    return file;
  };
  assert.deepEqual(new BboltReader(whole).get(b, Buffer.from("k")), Uint8Array.from(Buffer.from("v")));
  assert.throws(() => visitB(altered(image, 1)), refused(/no leaf/, root));
  assert.throws(() => visitB(altered(image + 8, PageFlag.branch)), refused(/no leaf/, root));
  assert.throws(() => visitB(altered(image + 10, 9)), refused(/more than the page holds/, root));
  assert.throws(() => visitB(altered(root * 4096 + 16 + 12, 31)), refused(/cut short/, root));
  assert.throws(() => visitB(altered(root * 4096 + 16 + 12, 15)), refused(/a bucket of 15 bytes/, root));
  const paged = oneBucket(new Forge(), 2);
  paged.bytes[2 * 4096 + 16 + 12] = 17;
  assert.throws(() => new BboltReader(paged), refused(/a bucket of 17 bytes/, 2));
});

test("an empty leaf below a branch is skipped", () => {
  const forge = new Forge();
  const root = forge.branch([
    ["a", forge.leaf([])],
    ["b", forge.leaf([["b", "1"]])],
    ["c", forge.leaf([])],
  ]);
  assert.deepEqual(
    readAll(oneBucket(forge, root))[0]![1].map(([key]) => Buffer.from(key).toString()),
    ["b"],
  );
});

test("the check goes into buckets in buckets, down to a bound", () => {
  const forge = new Forge();
  const inner = forge.leaf([["k", "v"]]);
  const good = forge.file(
    forge.leaf([
      [
        "a",
        forge.leaf([
          ["n", inner],
          ["o", [["p", []]]],
        ]),
      ],
    ]),
  );
  new BboltReader(good).check();
  const twice = forge.file(
    forge.leaf([
      ["a", forge.leaf([["n", inner]])],
      ["b", inner],
    ]),
  );
  assert.throws(() => new BboltReader(twice).check(), refused(/referred to twice/));
  let nested = forge.leaf([]);
  for (let i = 0; i < 20; i++) nested = forge.leaf([["n", nested]]);
  assert.throws(() => new BboltReader(forge.file(nested)).check(), refused(/buckets inside each other/));
});

test("the check accounts for every page where free pages are listed", () => {
  const check = (free: (unused: number) => number[], count?: number): void => {
    const forge = new Forge();
    const leaf = forge.leaf([["k", "v"]]);
    const unused = forge.leaf([]);
    const freelist = forge.freelist(free(unused), count);
    const root = forge.leaf([["b", leaf]]);
    new BboltReader(forge.file(root, { freelist })).check();
  };
  check((unused) => [unused]);
  check((unused) => [1, unused], 0xffff);
  assert.throws(() => check(() => []), refused(/neither in use nor listed as free/, 3));
  assert.throws(() => check((unused) => [unused - 1, unused]), refused(/in use and listed as free/, 2));
  assert.throws(() => check((unused) => [unused, unused]), refused(/free page 3 after 3/));
  assert.throws(() => check((unused) => [unused, 1000]), refused(/free page 1000/));
  assert.throws(() => check((unused) => [unused], 600), refused(/more than the list holds/));
  assert.throws(() => check(() => [2 ** 40], 0xffff), refused(/more than the list holds/));
});

test("the check refuses a list of free pages that is none", () => {
  const forge = new Forge();
  const leaf = forge.leaf([]);
  const root = forge.leaf([]);
  assert.throws(() => new BboltReader(forge.file(root, { freelist: leaf })).check(), refused(/kind 2/, leaf));
});

test("what the source throws goes through unchanged", () => {
  const file = fileOf(small());
  const reader = new BboltReader(file);
  const cause = Object.assign(new Error("i/o error, read"), { code: "EIO" });
  file.read = () => {
    throw cause;
  };
  assert.throws(
    () => contentsOf(reader),
    (error) => error === cause,
  );
});
