/**
 * One header field as the decoder hands it out. It is made once, when its literal arrives, and from then on stands in
 * the dynamic table, so everything that can be known about a field alone is worked out at that moment: what it is
 * (`kind`), whether its bytes are legal, and, by whoever receives it, a memo such as the method a `:path` names.
 *
 * Names and values hold one character per byte on the wire (latin1): nothing is lost, and text that must be UTF-8 is
 * the reader's to decode.
 */
export class HeaderField {
  readonly name: string;
  readonly value: string;
  /** Which header this is, so that receivers switch on a small integer instead of comparing names. */
  readonly kind: FieldKind;
  readonly isNameWellFormed: boolean;
  /** Name and value hold only what RFC 9113 §8.2.1 allows. */
  readonly isWellFormed: boolean;
  /** RFC 7541 §4.1: what the field counts for in tables and header lists. */
  readonly sizeBytes: number;
  /** The receiver's own; null until it leaves something. Never set on fields of the static table. */
  memo: object | null = null;

  /** `named`: a field of the same name whose findings about the name can be taken over. */
  constructor(name: string, value: string, named: HeaderField | null) {
    this.name = name;
    this.value = value;
    this.sizeBytes = name.length + value.length + 32;
    this.kind = named === null ? kindOf(name) : named.kind;
    this.isNameWellFormed = named === null ? isName(name) : named.isNameWellFormed;
    this.isWellFormed = this.isNameWellFormed && isValue(value);
  }
}

export const FieldKind = {
  Other: 0,
  Method: 1,
  Scheme: 2,
  Authority: 3,
  Path: 4,
  Status: 5,
  /** A name beginning with ":" that no rule knows. */
  UnknownPseudo: 6,
  ContentType: 7,
  ContentLength: 8,
  Te: 9,
  /** connection, keep-alive, proxy-connection, transfer-encoding, upgrade: forbidden in HTTP/2. */
  ConnectionSpecific: 10,
  GrpcTimeout: 11,
  GrpcEncoding: 12,
  GrpcAcceptEncoding: 13,
  GrpcStatus: 14,
  GrpcMessage: 15,
  Host: 16,
} as const;
export type FieldKind = (typeof FieldKind)[keyof typeof FieldKind];

const kinds: ReadonlyMap<string, FieldKind> = new Map<string, FieldKind>([
  [":method", FieldKind.Method],
  [":scheme", FieldKind.Scheme],
  [":authority", FieldKind.Authority],
  [":path", FieldKind.Path],
  [":status", FieldKind.Status],
  ["content-type", FieldKind.ContentType],
  ["content-length", FieldKind.ContentLength],
  ["te", FieldKind.Te],
  ["connection", FieldKind.ConnectionSpecific],
  ["keep-alive", FieldKind.ConnectionSpecific],
  ["proxy-connection", FieldKind.ConnectionSpecific],
  ["transfer-encoding", FieldKind.ConnectionSpecific],
  ["upgrade", FieldKind.ConnectionSpecific],
  ["grpc-timeout", FieldKind.GrpcTimeout],
  ["grpc-encoding", FieldKind.GrpcEncoding],
  ["grpc-accept-encoding", FieldKind.GrpcAcceptEncoding],
  ["grpc-status", FieldKind.GrpcStatus],
  ["grpc-message", FieldKind.GrpcMessage],
  ["host", FieldKind.Host],
]);

function kindOf(name: string): FieldKind {
  return kinds.get(name) ?? (name.startsWith(":") ? FieldKind.UnknownPseudo : FieldKind.Other);
}

/** RFC 9113 §8.2.1: no control characters, no upper case, nothing above 0x7e; a colon only in front. */
function isName(name: string): boolean {
  if (name.length === 0) return false;
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (c <= 0x20 || c >= 0x7f || (c >= 0x41 && c <= 0x5a) || (c === 0x3a && i > 0)) return false;
  }
  return true;
}

/** RFC 9113 §8.2.1: no NUL, CR or LF anywhere, no space or tab at either end. */
function isValue(value: string): boolean {
  const length = value.length;
  if (length === 0) return true;
  const first = value.charCodeAt(0);
  const last = value.charCodeAt(length - 1);
  if (first === 0x20 || first === 0x09 || last === 0x20 || last === 0x09) return false;
  for (let i = 0; i < length; i++) {
    const c = value.charCodeAt(i);
    if (c === 0 || c === 0x0a || c === 0x0d) return false;
  }
  return true;
}
