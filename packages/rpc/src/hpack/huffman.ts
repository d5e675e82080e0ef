/**
 * The Huffman code of RFC 7541 Appendix B, used by the decoder and the encoder.
 *
 * The code is canonical (codes of one length count upwards in symbol order), so the lengths alone define it and the
 * tables are built from them when the module loads. Decoding walks a state machine four bits at a time: a state is an
 * inner node of the code tree, and each of its sixteen entries packs
 *
 *     bit 17      16       15..8      7..0
 *     │ failed │ emits │ symbol │ next state │
 *
 * No code is shorter than five bits, so four bits never emit two symbols, and 256 inner nodes number 0..255.
 */

/** Symbols by code length, in code order; 256 is EOS. */
const symbolsByLength: readonly (readonly [bits: number, symbols: readonly number[]])[] = [
  [5, [48, 49, 50, 97, 99, 101, 105, 111, 115, 116]],
  [
    6,
    [32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117],
  ],
  [7, [58, ...span(66, 87), 89, 106, 107, 113, 118, 119, 120, 121, 122]],
  [8, [38, 42, 44, 59, 88, 90]],
  [10, [33, 34, 40, 41, 63]],
  [11, [39, 43, 124]],
  [12, [35, 62]],
  [13, [0, 36, 64, 91, 93, 126]],
  [14, [94, 125]],
  [15, [60, 96, 123]],
  [19, [92, 195, 208]],
  [20, [128, 130, 131, 162, 184, 194, 224, 226]],
  [21, [153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230]],
  [
    22,
    [
      129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198,
      228, 232, 233,
    ],
  ],
  [
    23,
    [
      1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182,
      183, 188, 191, 197, 231, 239,
    ],
  ],
  [24, [9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237]],
  [25, [199, 207, 234, 235]],
  [26, [192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255]],
  [27, [203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254]],
  [28, [...span(2, 8), 11, 12, ...span(14, 21), ...span(23, 31), 127, 220, 249]],
  [30, [10, 13, 22, 256]],
];

const endOfString = 256;
const emits = 1 << 16;
const failed = 1 << 17;

const codes = new Uint32Array(257);
const lengths = new Uint8Array(257);
/** 1 where ending is legal: the root, and up to seven 1-bits below it (a prefix of EOS). */
const mayEnd = new Uint8Array(256);
const transitions: Uint32Array = buildTransitions();

/** Bytes of `text` (one byte per character) once encoded. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += lengths[text.charCodeAt(i)]!;
  return (bits + 7) >>> 3;
}

/** Writes `text` (one byte per character) at `at`; returns the position after it. Needs `huffmanLength` bytes. */
export function huffmanEncode(text: string, into: Uint8Array, at: number): number {
  let pending = 0;
  let pendingBits = 0;
  let position = at;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i);
    let bits = lengths[symbol]!;
    const code = codes[symbol]!;
    // At most 30 code bits on top of 7 pending ones: take them in halves that fit 32-bit arithmetic.
    if (bits > 16) {
      bits -= 16;
      pending = (pending << bits) | (code >>> 16);
      pendingBits += bits;
      while (pendingBits >= 8) {
        pendingBits -= 8;
        into[position++] = pending >>> pendingBits;
      }
      bits = 16;
    }
    pending = ((pending & 0xff) << bits) | (code & ((1 << bits) - 1));
    pendingBits += bits;
    while (pendingBits >= 8) {
      pendingBits -= 8;
      into[position++] = pending >>> pendingBits;
    }
  }
  if (pendingBits > 0) into[position++] = (pending << (8 - pendingBits)) | (0xff >>> pendingBits);
  return position;
}

/**
 * Decodes `from[start, end)` into `into` from position 0; returns the bytes written, or -1 if the code is broken: EOS
 * inside, more than seven bits of padding, or padding that is not EOS's beginning (H2-06). `into` needs 8/5 of the
 * encoded length.
 */
export function huffmanDecode(from: Uint8Array, start: number, end: number, into: Uint8Array): number {
  let state = 0;
  let written = 0;
  for (let i = start; i < end; i++) {
    const byte = from[i]!;
    let entry = transitions[(state << 4) | (byte >>> 4)]!;
    if (entry >= emits) {
      if (entry >= failed) return -1;
      into[written++] = entry >>> 8;
    }
    entry = transitions[((entry & 0xff) << 4) | (byte & 15)]!;
    if (entry >= emits) {
      if (entry >= failed) return -1;
      into[written++] = entry >>> 8;
    }
    state = entry & 0xff;
  }
  return mayEnd[state] === 1 ? written : -1;
}

function span(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

function buildTransitions(): Uint32Array {
  let code = 0;
  let previousBits = 0;
  // The tree: children of node n at [2n] and [2n+1]; an inner node's number, or ~symbol for a leaf.
  const children: number[] = [0, 0];
  let nodes = 1;
  for (const [bits, symbols] of symbolsByLength) {
    code *= 2 ** (bits - previousBits);
    previousBits = bits;
    for (const symbol of symbols) {
      codes[symbol] = code;
      lengths[symbol] = bits;
      let node = 0;
      for (let bit = bits - 1; bit > 0; bit--) {
        const slot = node * 2 + ((code >>> bit) & 1);
        if (children[slot] === 0) {
          children[slot] = nodes;
          children.push(0, 0);
          nodes++;
        }
        node = children[slot]!;
      }
      children[node * 2 + (code & 1)] = ~symbol;
      code++;
    }
  }
  const table = new Uint32Array(nodes * 16);
  for (let state = 0; state < nodes; state++) {
    for (let nibble = 0; nibble < 16; nibble++) table[state * 16 + nibble] = walk(children, state, nibble);
  }
  for (let node = 0, depth = 0; depth < 8; depth++) {
    mayEnd[node] = 1;
    node = children[node * 2 + 1]!;
  }
  return table;
}

function walk(children: readonly number[], from: number, nibble: number): number {
  let node = from;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit--) {
    const next = children[node * 2 + ((nibble >>> bit) & 1)]!;
    if (next >= 0) {
      node = next;
      continue;
    }
    if (~next === endOfString) return failed | emits;
    emitted = emits | (~next << 8);
    node = 0;
  }
  return emitted | node;
}
