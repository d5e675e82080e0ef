import assert from "node:assert/strict";
import { test } from "node:test";
import { commonNameOf } from "./common-name.ts";
import { element, elementAt, elementsOf, objectId, Tag } from "./der.ts";

const TAG_OF_UNIVERSAL_STRING = 0x1c;

/** As much of a certificate as has a subject: the given relative names, each a list of attributes. */
function certificate(
  subject: readonly (readonly (readonly [id: string, tag: number, value: Buffer])[])[],
  version = true,
) {
  const none = element(Tag.Sequence);
  const names = subject.map((attributes) =>
    element(Tag.Set, ...attributes.map(([id, tag, value]) => element(Tag.Sequence, objectId(id), element(tag, value)))),
  );
  const body = [element(Tag.Integer, Buffer.from([1])), none, none, none, element(Tag.Sequence, ...names), none];
  const explicit = element(Tag.Explicit0, element(Tag.Integer, Buffer.from([2])));
  return element(Tag.Sequence, element(Tag.Sequence, ...(version ? [explicit] : []), ...body), none, none);
}

const CN = "2.5.4.3";
const O = "2.5.4.10";
const utf8 = (text: string): Buffer => Buffer.from(text);

test("the last common name counts, in every encoding Go reads", () => {
  assert.equal(commonNameOf(certificate([])), "");
  assert.equal(commonNameOf(certificate([[[O, Tag.Utf8String, utf8("org")]]])), "");
  assert.equal(commonNameOf(certificate([[[CN, Tag.Utf8String, utf8("a")]], [[CN, Tag.Utf8String, utf8("b")]]])), "b");
  assert.equal(commonNameOf(certificate([[[CN, Tag.PrintableString, utf8("root")]]], false)), "root");
  assert.equal(commonNameOf(certificate([[[CN, Tag.Ia5String, utf8("a@b")]]])), "a@b");
  assert.equal(commonNameOf(certificate([[[CN, Tag.TeletexString, Buffer.from("é", "latin1")]]])), "é");
  assert.equal(commonNameOf(certificate([[[CN, Tag.BmpString, Buffer.from([0, 0x61, 0x20, 0xac])]]])), "a€");
  assert.equal(commonNameOf(certificate([[[CN, Tag.BmpString, Buffer.from([0, 0x61, 0x20])]]])), "");
  assert.equal(commonNameOf(certificate([[[CN, TAG_OF_UNIVERSAL_STRING, utf8("root")]]])), "");
});

test("nothing beside the common name, and nothing within it, makes somebody out of another", () => {
  const attributes = [
    [CN, Tag.Utf8String, utf8("user")],
    [O, Tag.Utf8String, utf8("x")],
  ] as const;
  assert.equal(commonNameOf(certificate([attributes])), "user");
  assert.equal(commonNameOf(certificate([[[O, Tag.Utf8String, utf8("x\nCN=root")]]])), "");
  for (const name of ["root\0.example", "a\nCN=root", "a + CN=root", 'a"', "ünï", "x".repeat(300)]) {
    assert.equal(commonNameOf(certificate([[[CN, Tag.Utf8String, utf8(name)]]])), name);
  }
});

test("a certificate cut short at any byte is nobody's", () => {
  const whole = certificate([[[CN, Tag.Utf8String, utf8("root")]]]);
  for (let length = 0; length < whole.length; length++) {
    assert.equal(commonNameOf(whole.subarray(0, length)), "");
  }
});

test("elements of every length are read back as they were written", () => {
  for (const length of [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000]) {
    const contents = Buffer.alloc(length, 7);
    const bytes = element(Tag.OctetString, contents);
    const { tag, start, end } = elementAt(bytes, 0);
    assert.equal(tag, Tag.OctetString);
    assert.deepEqual(bytes.subarray(start, end), contents);
    assert.equal(end, bytes.length);
    const twice = element(Tag.Sequence, bytes, bytes);
    assert.equal(elementsOf(twice, elementAt(twice, 0)).length, 2);
  }
  assert.deepEqual(objectId("1.2.840.10045.4.3.4"), Buffer.from("06082a8648ce3d040304", "hex"));
});
