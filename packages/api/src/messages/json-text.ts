/**
 * Reads JSON text, keeping what JSON.parse throws away: the digits of a number (int64 does not fit a JavaScript number) and
 * keys given twice (which protobuf's JSON refuses).
 *
 * Who calls: ./json.ts. Reads one value and says where it ends: what follows is the caller's to judge.
 */

/** The text is not JSON, or not JSON of the message asked for. The message begins as Go's does; its rest is ours. */
export class MalformedJson extends Error {
  readonly kind = "MalformedJson";
  /** Where in the text, in UTF-16 units; -1 where only the value is known. */
  readonly offset: number;
  constructor(reason: string, offset: number) {
    super(`proto: ${offset < 0 ? "" : `(offset ${offset}): `}${reason}`);
    this.name = "MalformedJson";
    this.offset = offset;
  }
}

export type JsonValue =
  | { readonly kind: "null" }
  | { readonly kind: "bool"; readonly value: boolean }
  | { readonly kind: "string"; readonly value: string }
  /** The digits as they stood. */
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "array"; readonly elements: readonly JsonValue[] }
  /** In the order given; a key may stand twice. */
  | { readonly kind: "object"; readonly members: readonly (readonly [string, JsonValue])[] };

/** Deep enough for transactions of any use (each level takes three), shallow enough for the stack. */
const DEPTH_MAX = 300;

const WHITESPACE = /[ \t\r\n]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;

export interface ParsedJson {
  readonly value: JsonValue;
  /** The offset after the value. */
  readonly end: number;
}

/** The first JSON value of `text` from `start` on. Throws {@link MalformedJson}. */
export function parseJson(text: string, start = 0): ParsedJson {
  const cursor = new Cursor(text, start);
  const value = cursor.value(0);
  return { value, end: cursor.position };
}

class Cursor {
  position: number;
  readonly #text: string;

  constructor(text: string, start: number) {
    this.#text = text;
    this.position = start;
  }

  value(depth: number): JsonValue {
    if (depth > DEPTH_MAX) throw new MalformedJson("nested too deeply", this.position);
    this.#skipWhitespace();
    const text = this.#text;
    switch (text[this.position]) {
      case "{":
        return this.#object(depth);
      case "[":
        return this.#array(depth);
      case '"':
        return { kind: "string", value: this.#string() };
      case "t":
        return this.#word("true", { kind: "bool", value: true });
      case "f":
        return this.#word("false", { kind: "bool", value: false });
      case "n":
        return this.#word("null", { kind: "null" });
      case undefined:
        throw new MalformedJson("unexpected end of text", this.position);
      default: {
        const digits = this.#match(NUMBER);
        if (digits === "") throw new MalformedJson("invalid value", this.position);
        return { kind: "number", text: digits };
      }
    }
  }

  #object(depth: number): JsonValue {
    const members: (readonly [string, JsonValue])[] = [];
    this.position++;
    if (this.#take("}")) return { kind: "object", members };
    for (;;) {
      this.#skipWhitespace();
      const key = this.#string();
      if (!this.#take(":")) throw new MalformedJson("missing colon after a key", this.position);
      members.push([key, this.value(depth + 1)]);
      if (this.#take("}")) return { kind: "object", members };
      if (!this.#take(",")) throw new MalformedJson("missing comma or closing brace", this.position);
    }
  }

  #array(depth: number): JsonValue {
    const elements: JsonValue[] = [];
    this.position++;
    if (this.#take("]")) return { kind: "array", elements };
    for (;;) {
      elements.push(this.value(depth + 1));
      if (this.#take("]")) return { kind: "array", elements };
      if (!this.#take(",")) throw new MalformedJson("missing comma or closing bracket", this.position);
    }
  }

  #string(): string {
    const at = this.position;
    if (this.#text[at] !== '"') throw new MalformedJson("expected a string", at);
    // By indexOf rather than a pattern: a value may be megabytes long, and a pattern keeps a way back from every character.
    let close = this.#text.indexOf('"', at + 1);
    while (close >= 0 && this.#isEscaped(close)) close = this.#text.indexOf('"', close + 1);
    if (close < 0) throw new MalformedJson("unterminated string", at);
    this.position = close + 1;
    try {
      return JSON.parse(this.#text.slice(at, close + 1)) as string;
    } catch {
      throw new MalformedJson("invalid string", at);
    }
  }

  /** Whether an odd number of backslashes stands before `at`. */
  #isEscaped(at: number): boolean {
    let first = at;
    while (this.#text[first - 1] === "\\") first--;
    return (at - first) % 2 === 1;
  }

  #word(word: string, value: JsonValue): JsonValue {
    if (!this.#text.startsWith(word, this.position)) throw new MalformedJson("invalid value", this.position);
    this.position += word.length;
    return value;
  }

  #take(mark: string): boolean {
    this.#skipWhitespace();
    if (this.#text[this.position] !== mark) return false;
    this.position++;
    return true;
  }

  #skipWhitespace(): void {
    this.#match(WHITESPACE);
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.position;
    const found = pattern.exec(this.#text)?.[0] ?? "";
    this.position += found.length;
    return found;
  }
}
