/** HPACK against the vectors of RFC 7541 appendix C, against itself, and against what an attacker would send. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { HpackDecoder, HpackError } from "./decoder.ts";
import { type EncodableField, HpackEncoder, literalBlock, writeInteger } from "./encoder.ts";
import type { HeaderField } from "./header-field.ts";
import { huffmanDecode, huffmanEncode, huffmanLength } from "./huffman.ts";

function decode(decoder: HpackDecoder, hex: string): string[] {
  return decodeBytes(decoder, Buffer.from(hex.replace(/\s/g, ""), "hex"));
}

function decodeBytes(decoder: HpackDecoder, block: Buffer): string[] {
  const fields: string[] = [];
  decoder.decode(block, 0, block.length, {
    field(field: HeaderField) {
      fields.push(`${field.name}: ${field.value}`);
    },
  });
  return fields;
}

test("integers are written as in RFC 7541 C.1", () => {
  const into = Buffer.alloc(8);
  const written = (value: number, mask: number) => into.toString("hex", 0, writeInteger(into, 0, value, 0, mask));
  assert.equal(written(10, 0x1f), "0a");
  assert.equal(written(1337, 0x1f), "1f9a0a");
  assert.equal(written(42, 0xff), "2a");
});

test("single fields are decoded as in RFC 7541 C.2", () => {
  assert.deepEqual(decode(new HpackDecoder(), "400a637573746f6d2d6b65790d637573746f6d2d686561646572"), [
    "custom-key: custom-header",
  ]);
  const decoder = new HpackDecoder();
  assert.deepEqual(decode(decoder, "040c2f73616d706c652f70617468"), [":path: /sample/path"]);
  assert.deepEqual(decode(decoder, "100870617373776f726406736563726574"), ["password: secret"]);
  assert.deepEqual(decode(decoder, "82"), [":method: GET"]);
  assert.equal(decoder.tableEntries, 0);
});

const requests = [
  [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
  [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
  [":method: GET", ":scheme: https", ":path: /index.html", ":authority: www.example.com", "custom-key: custom-value"],
];

for (const [name, blocks] of [
  [
    "C.3 (plain)",
    [
      "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      "8286 84be 5808 6e6f 2d63 6163 6865",
      "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ],
  ],
  [
    "C.4 (Huffman)",
    [
      "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
      "8286 84be 5886 a8eb 1064 9cbf",
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ],
  ],
] as const) {
  test(`requests on one connection are decoded as in RFC 7541 ${name}`, () => {
    const decoder = new HpackDecoder();
    const sizes = [57, 110, 164];
    blocks.forEach((block, i) => {
      assert.deepEqual(decode(decoder, block), requests[i]);
      assert.equal(decoder.tableSizeBytes, sizes[i]);
    });
  });
}

test("our encoder writes the requests of RFC 7541 C.4 as the RFC does", () => {
  const encoder = new HpackEncoder();
  const into = Buffer.alloc(256);
  const encoded = requests.map((fields) => {
    const split = fields.map((field) => {
      const at = field.indexOf(": ");
      return { name: field.slice(0, at), value: field.slice(at + 2) };
    });
    return into.toString("hex", 0, encoder.encode(split, into, 0));
  });
  assert.deepEqual(encoded, [
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
  ]);
});

const responses = [
  [
    ":status: 302",
    "cache-control: private",
    "date: Mon, 21 Oct 2013 20:13:21 GMT",
    "location: https://www.example.com",
  ],
  [
    ":status: 307",
    "cache-control: private",
    "date: Mon, 21 Oct 2013 20:13:21 GMT",
    "location: https://www.example.com",
  ],
  [
    ":status: 200",
    "cache-control: private",
    "date: Mon, 21 Oct 2013 20:13:22 GMT",
    "location: https://www.example.com",
    "content-encoding: gzip",
    "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
  ],
];

for (const [name, blocks] of [
  [
    "C.5 (plain)",
    [
      "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      "4803 3330 37c1 c0bf",
      "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ],
  ],
  [
    "C.6 (Huffman)",
    [
      "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
      "4883 640e ffc1 c0bf",
      "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ],
  ],
] as const) {
  test(`responses with eviction are decoded as in RFC 7541 ${name}`, () => {
    const decoder = new HpackDecoder(256);
    const sizes = [222, 222, 215];
    blocks.forEach((block, i) => {
      assert.deepEqual(decode(decoder, block), responses[i]);
      assert.equal(decoder.tableSizeBytes, sizes[i]);
    });
  });
}

test("every byte survives the Huffman code", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = Buffer.from(bytes).toString("latin1");
      const encoded = Buffer.alloc(huffmanLength(text));
      assert.equal(huffmanEncode(text, encoded, 0), encoded.length);
      const decoded = Buffer.alloc(encoded.length * 2 + 1);
      const length = huffmanDecode(encoded, 0, encoded.length, decoded);
      assert.deepEqual(decoded.subarray(0, length), Buffer.from(bytes));
    }),
    { seed: 7541, numRuns: 300 },
  );
});

test("broken Huffman codes are refused: EOS, long padding, padding of zeroes", () => {
  // covers: H2-06
  const into = Buffer.alloc(64);
  for (const hex of ["ffffffff", "ff", "1fff", "07ffff", "00", "f8ff", "fffffffc"]) {
    const bytes = Buffer.from(hex, "hex");
    assert.equal(huffmanDecode(bytes, 0, bytes.length, into), -1, hex);
  }
  // "0" with its three bits of padding, and nothing at all, are fine.
  assert.equal(huffmanDecode(Buffer.from("07", "hex"), 0, 1, into), 1);
  assert.equal(huffmanDecode(into, 0, 0, into), 0);
});

test("whatever an encoder with a table says, the decoder understands, through every change of table size", () => {
  const name = fc.constantFrom(":path", "x", "content-type", "token", "a-rather-long-name", "grpc-timeout");
  const field = fc.record({ name, value: fc.string({ maxLength: 400 }), sensitive: fc.boolean() });
  const latin1 = (text: string) => Buffer.from(text, "utf8").toString("latin1");
  const step = fc.oneof(fc.array(field, { maxLength: 8 }), fc.integer({ min: 0, max: 4096 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const encoder = new HpackEncoder();
      const decoder = new HpackDecoder();
      const into = Buffer.alloc(64 * 1024);
      for (const next of steps) {
        if (typeof next === "number") {
          encoder.setPeerTableSize(next);
          continue;
        }
        const fields: EncodableField[] = next.map((one) => ({ ...one, value: latin1(one.value) }));
        const length = encoder.encode(fields, into, 0);
        const expected = fields.map((one) => `${one.name}: ${one.value}`);
        assert.deepEqual(decodeBytes(decoder, into.subarray(0, length)), expected);
        assert.equal(encoder.tableSizeBytes, decoder.tableSizeBytes);
      }
    }),
    { seed: 1, numRuns: 200 },
  );
});

test("the decoder's ring agrees with a naive table", () => {
  // The twin: an array of fields, newest first.
  let seed = 99;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const decoder = new HpackDecoder();
  let twin: string[] = [];
  let limit = 4096;
  const sizeOf = (field: string) => field.length - 2 + 32;
  const trim = (to: number) => {
    while (twin.reduce((sum, field) => sum + sizeOf(field), 0) > to) twin.pop();
  };
  for (let step = 0; step < 5000; step++) {
    const into = Buffer.alloc(2048);
    const roll = random(10);
    if (roll === 0) {
      limit = random(4097);
      trim(limit);
      assert.deepEqual(decodeBytes(decoder, into.subarray(0, writeInteger(into, 0, limit, 0x20, 0x1f))), []);
    } else if (roll < 5) {
      const value = "v".repeat(random(roll === 1 ? 1500 : 90));
      const field = `n${random(50)}: ${value}`;
      const block = Buffer.concat([
        Buffer.from([0x40, field.indexOf(":")]),
        Buffer.from(field.slice(0, field.indexOf(":"))),
        into.subarray(0, writeInteger(into, 0, value.length, 0, 0x7f)),
        Buffer.from(value),
      ]);
      if (sizeOf(field) > limit) twin = [];
      else {
        trim(limit - sizeOf(field));
        twin.unshift(field);
      }
      assert.deepEqual(decodeBytes(decoder, block), [field]);
    } else {
      const index = random(twin.length + 2);
      const block = into.subarray(0, writeInteger(into, 0, 62 + index, 0x80, 0x7f));
      if (index < twin.length) assert.deepEqual(decodeBytes(decoder, block), [twin[index]!]);
      else assert.throws(() => decodeBytes(decoder, block), HpackError);
    }
    assert.equal(decoder.tableEntries, twin.length);
  }
});

test("broken blocks are refused, each for its own reason", () => {
  // covers: H2-05, H2-06
  for (const [hex, reason] of [
    ["80", /index 0/],
    ["be", /beyond the table/],
    ["ff8080808080808001", /longer than five bytes/],
    ["ffffffffff7f", /above 2147483647|beyond the table/],
    ["ff80808080", /cut short/],
    ["7f", /cut short/],
    ["40", /cut short/],
    ["4001", /cut short/],
    ["400161", /cut short/],
    ["4001610562", /cut short/],
    ["400161ffffffffff0f62", /cut short|above/],
    ["008161", /Huffman/],
    ["3fe21f", /above the announced/],
    ["202020", /more than two/],
    ["8220", /after a field/],
  ] as const) {
    assert.throws(
      () => decode(new HpackDecoder(), hex),
      (error) => error instanceof HpackError && reason.test(error.message),
      hex,
    );
  }
});

test("random bytes never do worse than an HpackError", () => {
  // covers: H2-06
  let seed = 4711;
  const random = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed >>> 24;
  };
  const good = literalBlock([
    [":method", "POST"],
    [":path", "/etcdserverpb.KV/Range"],
    ["x-long", "y".repeat(200)],
  ]);
  for (let round = 0; round < 20_000; round++) {
    const bytes = round % 2 === 0 ? Buffer.alloc(1 + (random() % 60)) : Buffer.from(good);
    if (round % 2 === 0) for (let i = 0; i < bytes.length; i++) bytes[i] = random();
    else for (let i = 0; i < 3; i++) bytes[random() % bytes.length] = random();
    const decoder = new HpackDecoder();
    try {
      for (let again = 0; again < 3; again++) decodeBytes(decoder, bytes);
    } catch (error) {
      assert.ok(error instanceof HpackError, String(error));
    }
    assert.ok(decoder.tableSizeBytes <= 4096);
  }
});

test("a path literal is recognised by its bytes, and a longer or cut one is not mistaken for it", () => {
  const decoder = new HpackDecoder();
  const block = (path: string) => literalBlock([[":path", path]]);
  const fields: HeaderField[] = [];
  const sink = { field: (field: HeaderField) => void fields.push(field) };
  for (const path of ["/a/b", "/a/b", "/a/bc", "/a/b"]) decoder.decode(block(path), 0, block(path).length, sink);
  assert.equal(fields[0], fields[1]);
  assert.equal(fields[0], fields[3]);
  assert.equal(fields[2]!.value, "/a/bc");
  assert.throws(() => decoder.decode(block("/a/b"), 0, block("/a/b").length - 1, sink), HpackError);
  // More paths than are remembered.
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 40; i++) assert.deepEqual(decodeBytes(decoder, block(`/p/${i}`)), [`:path: /p/${i}`]);
  }
});

test("fields are checked once, where they are made", () => {
  // covers: H2-07
  const decoder = new HpackDecoder();
  const check = (name: string, value: string): boolean => {
    const fields: HeaderField[] = [];
    const block = literalBlock([[name, value]]);
    decoder.decode(block, 0, block.length, { field: (field) => void fields.push(field) });
    return fields[0]!.isWellFormed;
  };
  for (const name of ["", "Upper", "with space", "co:lon", "tab\t", "nul\0", "high\x80", "del\x7f"]) {
    assert.equal(check(name, "v"), false, JSON.stringify(name));
  }
  for (const value of ["a\rb", "a\nb", "a\0b", " lead", "trail ", "\ttab"]) {
    assert.equal(check("x", value), false, JSON.stringify(value));
  }
  assert.equal(check("x-ok.1_2", "any \xff value"), true);
  assert.equal(check(":path", "/x"), true);
});
