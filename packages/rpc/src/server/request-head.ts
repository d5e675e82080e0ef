/**
 * The head of a request: a header block checked against RFC 9113 §8 and the gRPC rules, and turned into the few facts a
 * call needs. Made once per *different* block: clients repeat themselves, and a block whose bytes were seen before,
 * with the same dynamic table and without changing it, has the same head (speed: one comparison of some ten bytes).
 *
 * Heads are shared between calls and never changed.
 */
import { isGrpcContentType } from "../grpc/content-type.ts";
import { decodeBinaryValue } from "../grpc/metadata.ts";
import { StatusCode } from "../grpc/status.ts";
import { parseTimeout, quoted } from "../grpc/timeout.ts";
import type { FieldSink, HpackDecoder } from "../hpack/decoder.ts";
import { FieldKind, type HeaderField } from "../hpack/header-field.ts";
import type { RpcLimits } from "../limits.ts";
import { failureOnly } from "./answers.ts";
import type { PlainRequest } from "./plain-exchange.ts";
import { Route, type Router } from "./router.ts";

export class RequestHead {
  readonly route: Route;
  /** Infinity if the client set none. */
  readonly timeoutMs: number;
  /** The grpc-encoding of its messages, "" if none. */
  readonly encoding: string;
  /** -1 if none was declared. */
  readonly contentLength: number;
  /** All fields but those dealt with above. */
  readonly metadata: readonly HeaderField[];
  /** Against HTTP/2: to be reset with PROTOCOL_ERROR. */
  readonly isMalformed: boolean;
  /** The decoded size of the list, as SETTINGS_MAX_HEADER_LIST_SIZE counts it; beyond the limit the rest is empty. */
  readonly listBytes: number;
  readonly isTooLarge: boolean;
  /** Against gRPC: the answer to give at once. */
  readonly refusal: Buffer | null;
  /** Not gRPC, and not pretending to be: for whoever serves plain requests. Has a refusal too, if nobody does. */
  readonly plain: PlainRequest | null;

  constructor(
    route: Route,
    timeoutMs: number,
    encoding: string,
    contentLength: number,
    metadata: readonly HeaderField[],
    isMalformed: boolean,
    listBytes: number,
    isTooLarge: boolean,
    refusal: Buffer | null,
    plain: PlainRequest | null,
  ) {
    this.route = route;
    this.timeoutMs = timeoutMs;
    this.encoding = encoding;
    this.contentLength = contentLength;
    this.metadata = metadata;
    this.isMalformed = isMalformed;
    this.listBytes = listBytes;
    this.isTooLarge = isTooLarge;
    this.refusal = refusal;
    this.plain = plain;
  }
}

/** Reads the heads of one connection's requests. */
export class HeadReader implements FieldSink {
  readonly #router: Router;
  readonly #limits: RpcLimits;
  readonly #decoder: HpackDecoder;
  readonly #seen: SeenBlock[] = [];
  #nextSeen = 0;

  // The block being read.
  #method = "";
  #scheme = "";
  #authority: HeaderField | null = null;
  #path: HeaderField | null = null;
  #contentType = "";
  #isGrpc = false;
  #timeoutMs = 0;
  #encoding = "";
  #contentLength = -1;
  #metadata: HeaderField[] = [];
  #isMalformed = false;
  #isPastPseudo = false;
  #listBytes = 0;
  #fieldCount = 0;
  #problem = "";

  constructor(router: Router, decoder: HpackDecoder, limits: RpcLimits) {
    this.#router = router;
    this.#decoder = decoder;
    this.#limits = limits;
  }

  /** Decodes a block. Throws HpackError. */
  read(block: Buffer, start: number, end: number): RequestHead {
    const version = this.#decoder.tableVersion;
    const length = end - start;
    for (let i = 0; i < this.#seen.length; i++) {
      const seen = this.#seen[i]!;
      if (seen.length !== length || seen.tableVersion !== version) continue;
      const bytes = seen.bytes;
      let same = 0;
      while (same < length && bytes[same] === block[start + same]) same++;
      if (same === length) return seen.head;
    }
    this.#begin();
    this.#decoder.decode(block, start, end, this);
    const head = this.#finish();
    if (this.#decoder.tableVersion === version && length <= seenBlockBytes && !head.isTooLarge) {
      const seen = { bytes: Uint8Array.prototype.slice.call(block, start, end), length, tableVersion: version, head };
      if (this.#seen.length < seenBlocks) this.#seen.push(seen);
      else this.#seen[this.#nextSeen++ % seenBlocks] = seen;
    }
    return head;
  }

  field(field: HeaderField): void {
    this.#listBytes += field.sizeBytes;
    this.#fieldCount++;
    if (this.#listBytes > this.#limits.maxHeaderListBytes || this.#fieldCount > this.#limits.maxHeaderFields) return;
    if (!field.isWellFormed) {
      this.#isMalformed = true;
      return;
    }
    const kind = field.kind;
    if (kind >= FieldKind.Method && kind <= FieldKind.UnknownPseudo) {
      this.#pseudo(field);
      return;
    }
    this.#isPastPseudo = true;
    switch (kind) {
      case FieldKind.ContentType:
        if (isGrpcContentType(field.value)) this.#isGrpc = true;
        else this.#contentType = field.value;
        break;
      case FieldKind.ContentLength:
        this.#declareLength(field.value);
        break;
      case FieldKind.Te:
        if (field.value !== "trailers") this.#isMalformed = true;
        break;
      case FieldKind.ConnectionSpecific:
        this.#isMalformed = true;
        break;
      case FieldKind.GrpcTimeout: {
        const timeout = parseTimeout(field.value);
        if (typeof timeout === "number") this.#timeoutMs = timeout;
        else this.#problem = `malformed grpc-timeout: ${timeout}`;
        break;
      }
      case FieldKind.GrpcEncoding:
        this.#encoding = field.value;
        break;
      default:
        if (field.name.endsWith("-bin") && decodeBinaryValue(field.value) === undefined) {
          this.#problem = `malformed binary metadata ${quoted(field.value)} in header ${quoted(field.name)}: illegal base64 data`;
        }
        this.#metadata.push(field);
    }
  }

  #begin(): void {
    this.#method = "";
    this.#scheme = "";
    this.#authority = null;
    this.#path = null;
    this.#contentType = "";
    this.#isGrpc = false;
    this.#timeoutMs = Number.POSITIVE_INFINITY;
    this.#encoding = "";
    this.#contentLength = -1;
    this.#metadata = [];
    this.#isMalformed = false;
    this.#isPastPseudo = false;
    this.#listBytes = 0;
    this.#fieldCount = 0;
    this.#problem = "";
  }

  /** RFC 9113 §8.3: before all others, each at most once, none that is not a request's. */
  #pseudo(field: HeaderField): void {
    if (this.#isPastPseudo) this.#isMalformed = true;
    switch (field.kind) {
      case FieldKind.Method:
        if (this.#method !== "") this.#isMalformed = true;
        this.#method = field.value;
        break;
      case FieldKind.Scheme:
        if (this.#scheme !== "") this.#isMalformed = true;
        this.#scheme = field.value;
        break;
      case FieldKind.Authority:
        if (this.#authority !== null) this.#isMalformed = true;
        this.#authority = field;
        this.#metadata.push(field);
        break;
      case FieldKind.Path:
        if (this.#path !== null) this.#isMalformed = true;
        this.#path = field;
        break;
      default:
        this.#isMalformed = true;
    }
  }

  #declareLength(value: string): void {
    const length = /^[0-9]{1,15}$/.test(value) ? Number(value) : -1;
    if (length < 0 || (this.#contentLength >= 0 && this.#contentLength !== length)) this.#isMalformed = true;
    this.#contentLength = length;
  }

  #finish(): RequestHead {
    const isTooLarge =
      this.#listBytes > this.#limits.maxHeaderListBytes || this.#fieldCount > this.#limits.maxHeaderFields;
    const path = this.#path;
    // CONNECT has no path and no scheme, and no place in gRPC (H2-25).
    if (this.#method === "" || this.#scheme === "" || path === null || path.value === "") this.#isMalformed = true;
    return new RequestHead(
      path === null || isTooLarge || this.#isMalformed ? noRoute : this.#routeOf(path),
      this.#timeoutMs,
      this.#encoding,
      this.#contentLength,
      this.#metadata,
      this.#isMalformed && !isTooLarge,
      this.#listBytes,
      isTooLarge,
      isTooLarge || this.#isMalformed ? null : this.#refusal(),
      isTooLarge || this.#isMalformed ? null : this.#plain(),
    );
  }

  /** A POST is a gRPC call or a mistaken one. */
  #plain(): PlainRequest | null {
    if (this.#isGrpc || this.#method === "POST") return null;
    return {
      method: this.#method,
      path: this.#path!.value,
      authority: this.#authority?.value ?? "",
      origin: this.#metadata.find((field) => field.name === "origin")?.value ?? "",
      scheme: this.#scheme,
    };
  }

  #routeOf(path: HeaderField): Route {
    const known = path.memo;
    if (known instanceof Route) return known;
    const route = this.#router.resolve(path.value);
    // Only methods are remembered: so the static table's own paths never carry a memo.
    if (route.method !== null) path.memo = route;
    return route;
  }

  /** In grpc-go's order, with its texts. */
  #refusal(): Buffer | null {
    if (!this.#isGrpc) {
      const problem = `invalid gRPC request content-type ${quoted(this.#contentType)}`;
      return failureOnly(StatusCode.InvalidArgument, problem, "415");
    }
    if (this.#problem !== "") return failureOnly(StatusCode.Internal, this.#problem, "400");
    if (this.#method !== "POST") {
      const problem = `Received a HEADERS frame with :method ${quoted(this.#method)} which should be POST`;
      return failureOnly(StatusCode.Internal, problem, "405");
    }
    if (this.#timeoutMs <= 0) return failureOnly(StatusCode.DeadlineExceeded, "context deadline exceeded");
    return null;
  }
}

/** Trailers of a request carry nothing for us, but may not be malformed either. */
export class TrailerCheck implements FieldSink {
  isMalformed = false;
  field(field: HeaderField): void {
    if (!field.isWellFormed || (field.kind >= FieldKind.Method && field.kind <= FieldKind.UnknownPseudo)) {
      this.isMalformed = true;
    }
    if (field.kind === FieldKind.ConnectionSpecific) this.isMalformed = true;
  }
}

interface SeenBlock {
  readonly bytes: Uint8Array;
  readonly length: number;
  readonly tableVersion: number;
  readonly head: RequestHead;
}

const seenBlocks = 4;
const seenBlockBytes = 256;
const noRoute = new Route("", null, "");
