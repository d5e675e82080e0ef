/** Header blocks as a client receives them: the head of an answer, its trailers, or both in one. */
import { decodeStatusMessage, StatusCode } from "../grpc/status.ts";
import type { FieldSink } from "../hpack/decoder.ts";
import { FieldKind, type HeaderField } from "../hpack/header-field.ts";
import type { RpcLimits } from "../limits.ts";

/** Collects one block; read its fields after decoding, then `begin` again. */
export class ResponseHead implements FieldSink {
  httpStatus = "";
  contentType = "";
  encoding = "";
  /** -1 if there is none, Unknown if it is no number. */
  grpcStatus = -1;
  grpcMessage = "";
  isMalformed = false;
  isTooLarge = false;
  /** All other fields; the first of a name counts. */
  metadata: Map<string, string> = new Map();
  readonly #limits: RpcLimits;
  #listBytes = 0;
  #isPastPseudo = false;

  constructor(limits: RpcLimits) {
    this.#limits = limits;
  }

  begin(): void {
    this.httpStatus = "";
    this.contentType = "";
    this.encoding = "";
    this.grpcStatus = -1;
    this.grpcMessage = "";
    this.isMalformed = false;
    this.isTooLarge = false;
    this.metadata = new Map();
    this.#listBytes = 0;
    this.#isPastPseudo = false;
  }

  field(field: HeaderField): void {
    this.#listBytes += field.sizeBytes;
    if (this.#listBytes > this.#limits.maxHeaderListBytes) {
      this.isTooLarge = true;
      return;
    }
    if (!field.isWellFormed) {
      this.isMalformed = true;
      return;
    }
    if (field.kind === FieldKind.Status) {
      if (this.#isPastPseudo || this.httpStatus !== "") this.isMalformed = true;
      this.httpStatus = field.value;
      return;
    }
    this.#isPastPseudo = true;
    switch (field.kind) {
      case FieldKind.Method:
      case FieldKind.Scheme:
      case FieldKind.Authority:
      case FieldKind.Path:
      case FieldKind.UnknownPseudo:
      case FieldKind.ConnectionSpecific:
        this.isMalformed = true;
        break;
      case FieldKind.ContentType:
        this.contentType = field.value;
        break;
      case FieldKind.GrpcEncoding:
        this.encoding = field.value;
        break;
      case FieldKind.GrpcStatus:
        this.grpcStatus = /^[0-9]{1,9}$/.test(field.value) ? Number(field.value) : StatusCode.Unknown;
        break;
      case FieldKind.GrpcMessage:
        this.grpcMessage = decodeStatusMessage(field.value);
        break;
      default:
        if (!this.metadata.has(field.name)) this.metadata.set(field.name, field.value);
    }
  }
}
