import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Entry,
  EntryType,
  encodeMessage,
  type Index,
  MalformedMessage,
  Message,
  MessageType,
  type Term,
} from "@quorate/raft";
import fc from "fast-check";
import { AppendDecoder, AppendEncoder, EncodedEntries, MalformedFrame } from "./append-frames.ts";
import {
  encodeFrame,
  type FrameDecoder,
  type FrameEncoder,
  isLinkHeartbeat,
  MessageDecoder,
  MessageEncoder,
} from "./message-frames.ts";
import { FrameTooLarge } from "./received-bytes.ts";

const LOCAL = 2n;
const REMOTE = 1n;

function append(term: number, logTerm: number, index: number, commit: number, sizes: readonly number[]): Message {
  const message = new Message(MessageType.App, LOCAL, REMOTE);
  message.term = term as Term;
  message.logTerm = logTerm as Term;
  message.index = index as Index;
  message.commit = commit as Index;
  message.entries = sizes.map(
    (size, i) => new Entry(EntryType.Normal, term as Term, (index + 1 + i) as Index, Buffer.alloc(size, i + 1)),
  );
  return message;
}

function encodeAll(encoder: FrameEncoder, messages: readonly Message[]): Buffer {
  return Buffer.concat(
    messages.map((message) => {
      const into = Buffer.alloc(encoder.mostBytes(message, encodeMessage(message).length));
      return into.subarray(0, encoder.write(message, into, 0));
    }),
  );
}

function decodeAll(decoder: FrameDecoder, bytes: Buffer, cuts: readonly number[]): Message[] {
  const messages: Message[] = [];
  let start = 0;
  for (const end of [...cuts, bytes.length]) {
    // A chunk of its own, as from the network.
    decoder.push(Buffer.from(bytes.subarray(start, end)));
    start = end;
    for (let message = decoder.next(); message !== null; message = decoder.next()) messages.push(message);
  }
  return messages;
}

/** Comparable: entries whose data is a view and entries that own theirs are the same. */
function shown(messages: readonly Message[]): string[] {
  return messages.map((each) => Buffer.from(encodeMessage(each)).toString("hex"));
}

test("the frames are those captured from etcd", () => {
  const message = new MessageEncoder();
  assert.equal(message.linkHeartbeat.toString("hex"), "00000000000000020808");
  const appends = new AppendEncoder(new EncodedEntries());
  assert.equal(appends.linkHeartbeat.toString("hex"), "00");
  const first = encodeAll(appends, [append(3, 2, 6131, 6130, [])]);
  assert.equal(first.toString("hex").slice(0, 18), `02${(first.length - 9).toString(16).padStart(16, "0")}`);
  // logTerm is not the stream's term yet, so that is spelled out, too; then one continues.
  encodeAll(appends, [append(3, 3, 6131, 6130, [])]);
  assert.equal(
    encodeAll(appends, [append(3, 3, 6131, 6131, [])]).toString("hex"),
    "01000000000000000000000000000017f3",
  );
});

test("an older member's heartbeat, its zeros spelled out, is one", () => {
  const old = Buffer.from("0808100018002000280030004000500058006200", "hex");
  const decoder = new MessageDecoder();
  decoder.push(Buffer.concat([Buffer.from("0000000000000014", "hex"), old]));
  assert.ok(isLinkHeartbeat(decoder.next()!));
  assert.equal(decoder.next(), null);
});

const someAppends = fc
  .array(
    fc.record({
      continues: fc.boolean(),
      termGrows: fc.boolean(),
      skips: fc.nat(3),
      commit: fc.nat(1000),
      sizes: fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 4 }),
    }),
    { maxLength: 8 },
  )
  .map((steps) => {
    let term = 1;
    let index = 0;
    return steps.map(({ continues, termGrows, skips, commit, sizes }) => {
      const logTerm = term;
      if (!continues) {
        index += skips;
        if (termGrows) term++;
      }
      const message = append(term, continues ? term : logTerm, index, commit, sizes);
      index += sizes.length;
      return message;
    });
  });

test("a msgapp stream cut anywhere gives back the messages that were put in", () => {
  fc.assert(
    fc.property(someAppends, fc.array(fc.nat(), { maxLength: 6 }), (messages, points) => {
      const bytes = encodeAll(new AppendEncoder(new EncodedEntries()), messages);
      const cuts = points.map((each) => each % (bytes.length + 1)).sort((a, b) => a - b);
      assert.deepEqual(shown(decodeAll(new AppendDecoder(LOCAL, REMOTE), bytes, cuts)), shown(messages));
    }),
  );
});

test("both framings survive a cut at every byte", () => {
  const messages = [
    append(1, 0, 0, 0, [3, 0]),
    append(1, 1, 2, 1, [5]),
    append(1, 1, 3, 3, []),
    append(2, 1, 3, 3, [1]),
  ];
  for (const [encoder, decoder] of [
    [new AppendEncoder(new EncodedEntries()), () => new AppendDecoder(LOCAL, REMOTE)],
    [new MessageEncoder(), () => new MessageDecoder()],
  ] as const) {
    const bytes = encodeAll(encoder, messages);
    for (let cut = 0; cut <= bytes.length; cut++) {
      assert.deepEqual(shown(decodeAll(decoder(), bytes, [cut])), shown(messages));
    }
    assert.deepEqual(shown(decodeAll(decoder(), bytes, [...bytes.keys()])), shown(messages));
  }
});

test("entries that several followers get are encoded once, and others are not mistaken for them", () => {
  const encoded = new EncodedEntries();
  const [one, two] = [new AppendEncoder(encoded), new AppendEncoder(encoded)];
  const opening = append(1, 1, 0, 0, []);
  encodeAll(one, [opening]);
  encodeAll(two, [opening]);
  const shared = append(1, 1, 0, 0, [10, 20]);
  const bytes = encodeAll(one, [shared]);
  assert.ok(encoded.of(shared.entries) !== null);
  assert.ok(encoded.of([...shared.entries]) !== null, "another list of the same entries is the same");
  assert.deepEqual(encodeAll(two, [shared]), bytes);
  assert.equal(encoded.of(shared.entries.slice(1)), null);
  assert.equal(encoded.of(append(1, 1, 0, 0, [10, 20]).entries), null);
  encoded.forget();
  assert.equal(encoded.of(shared.entries), null);
});

for (const [what, make, hex, error] of [
  ["a message longer than the limit", () => new MessageDecoder(100), "0000000000000065", FrameTooLarge],
  ["a length beyond 2^53", () => new MessageDecoder(), "ffffffffffffffff", FrameTooLarge],
  ["a message that is none", () => new MessageDecoder(), "0000000000000002ffff", MalformedMessage],
  ["more entries than fit", () => new AppendDecoder(LOCAL, REMOTE), "010000000020000000", FrameTooLarge],
  [
    "an entry that is too long",
    () => new AppendDecoder(LOCAL, REMOTE),
    "0100000000000000010000000040000000",
    FrameTooLarge,
  ],
  [
    "an entry that is none",
    () => new AppendDecoder(LOCAL, REMOTE),
    "0100000000000000010000000000000001ff",
    MalformedMessage,
  ],
  ["a message that is too long", () => new AppendDecoder(LOCAL, REMOTE), "020000000040000000", FrameTooLarge],
  ["a frame of no known type", () => new AppendDecoder(LOCAL, REMOTE), "03", MalformedFrame],
] as const) {
  test(`${what} is refused by name`, () => {
    const decoder = make();
    decoder.push(Buffer.from(hex, "hex"));
    assert.throws(() => decoder.next(), error);
  });
}

test("a length that promises much costs nothing until it comes", () => {
  const decoder = new MessageDecoder();
  const before = process.memoryUsage().arrayBuffers;
  decoder.push(Buffer.from("000000001fffffff", "hex"));
  assert.equal(decoder.next(), null);
  assert.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024);
});

test("what follows a message can be taken as it came", () => {
  const decoder = new MessageDecoder();
  const message = append(1, 0, 0, 0, [4]);
  decoder.push(Buffer.concat([encodeFrame(message), Buffer.from("rest")]));
  decoder.push(Buffer.from("more"));
  assert.deepEqual(shown([decoder.next()!]), shown([message]));
  assert.equal(Buffer.concat(decoder.takeRest()).toString(), "restmore");
  assert.ok(decoder.isEmpty);
});
