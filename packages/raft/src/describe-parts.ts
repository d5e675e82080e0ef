/** Renderings the node itself needs for its log lines. Whole messages and entries are rendered by describe.ts. */
import { ConfChangeType, type ConfChangeV2 } from "./conf-change.ts";
import type { NodeId } from "./types.ts";

/** An id as etcd prints it: hexadecimal, without padding. */
export function hex(id: NodeId): string {
  return id.toString(16);
}

const TRANSITIONS = [
  "ConfChangeTransitionAuto",
  "ConfChangeTransitionJointImplicit",
  "ConfChangeTransitionJointExplicit",
] as const;

/** The change in protocol-buffer text format. */
export function describeConfChange(change: ConfChangeV2): string {
  let text = `transition:${TRANSITIONS[change.transition]}`;
  for (const { type, nodeId } of change.changes) {
    text += ` changes:{type:${confChangeTypeName(type)} node_id:${nodeId}}`;
  }
  if (change.context.length > 0) text += ` context:${quote(change.context)}`;
  return text;
}

function confChangeTypeName(type: ConfChangeType): string {
  const name = Object.entries(ConfChangeType).find(([, value]) => value === type)?.[0];
  return `ConfChange${name}`;
}

/** Bytes as a double-quoted string with Go's escapes: UTF-8 where it is valid and printable, \x.. otherwise. */
export function quote(bytes: Uint8Array): string {
  let text = '"';
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      text += hexEscape(bytes[at]!);
      at++;
      continue;
    }
    text += quoteCharacter(new TextDecoder().decode(bytes.subarray(at, at + length)));
    at += length;
  }
  return `${text}"`;
}

/** Bytes of the valid UTF-8 sequence at `at`; 0 if there is none. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  const length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length < 2) return length;
  if (at + length > bytes.length) return 0;
  try {
    new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(at, at + length));
    return length;
  } catch {
    return 0;
  }
}

const NAMED_ESCAPES: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\",
  '"': '\\"',
};

function quoteCharacter(character: string): string {
  const named = NAMED_ESCAPES[character];
  if (named !== undefined) return named;
  const code = character.codePointAt(0)!;
  if (code < 0x20 || code === 0x7f) return hexEscape(code);
  if (code === 0x20 || /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(character)) return character;
  return code < 0x1_0000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

function hexEscape(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}
