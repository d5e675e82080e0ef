/**
 * Calls that a service makes to other services of its own member on behalf of a client's call: locks and elections are
 * made of transactions, ranges, watches and leases (semantics §8). They go through the same gate as a client's own calls,
 * and carry its metadata, its connection and its deadline, so that whatever is decided by these (who the user is, what a
 * learner serves) is decided for them too.
 *
 *   client's call ─▶ lock.ts ─▶ LocalMethods ─▶ gate ─▶ the method
 *                       ▲                                  │ respond, send, fail
 *                       └──────── next turn ◀── LocalCall ◀┘
 *
 * Answers arrive in a turn of their own, never inside the call that gives them: services answer in the middle of applying
 * an entry, where nothing new may be begun.
 *
 * The inner call ends when its owner abandons it, which the owner of the client's call does when that is cancelled; what
 * must be done nevertheless, such as giving a place in a queue up, simply is not abandoned.
 */
import { type ErrorKind, errors } from "@quorate/api";
import type { Init, MessageType } from "@quorate/api/messages";
import type { BodySource, CallOwner, Method, ServerCall, ServerPeer, StreamHandler } from "@quorate/rpc";
import { assert, type Timers } from "@quorate/world";

/** A unary method with the types of its messages. */
export interface LocalMethod<Request extends object, Response extends object> {
  readonly path: string;
  readonly request: MessageType<Request>;
  readonly response: MessageType<Response>;
}

/** The status an inner call ended with. */
export interface LocalFailure {
  readonly code: number;
  readonly message: string;
}

/** Who made an inner call. */
export interface LocalCaller {
  /** One whole message, the caller's to keep. */
  received(message: Buffer): void;
  /** The last thing heard of the call; null: it ended well. */
  ended(failure: LocalFailure | null): void;
}

/** `send` answers false from here on, as on a connection. */
const HIGH_WATER_BYTES = 256 * 1024;
const PIECE_BYTES = 64 * 1024;
/** Answered at the gate of the client's call already; a watch within it goes on without a leader as in etcd. */
const REQUIRE_LEADER = "hasleader";

/** The methods of a member, as other services of it call them. */
export class LocalMethods {
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #timers: Timers;

  /** `methods` are those behind the gate. */
  constructor(methods: readonly (readonly [string, Method])[], timers: Timers) {
    this.#methods = new Map(methods);
    this.#timers = timers;
  }

  /** `done` hears once what became of it, in another turn, unless the call is abandoned. */
  unary<Request extends object, Response extends object>(
    outer: ServerCall,
    { path, request: requestType, response: responseType }: LocalMethod<Request, Response>,
    request: Init<Request>,
    done: (failure: LocalFailure | null, response: Response | null) => void,
  ): LocalCall {
    const method = this.#methods.get(path);
    assert(method !== undefined && method.kind === "unary", "services call unary methods that exist");
    let answer: Response | null = null;
    const call = new LocalCall(path, outer, this.#timers, {
      received: (message) => {
        answer = responseType.decode(message, 0, message.length);
      },
      ended: (failure) => done(failure, answer),
    });
    const bytes = requestType.encode(request);
    method.handle(call, bytes, 0, bytes.length);
    return call;
  }

  /** Opens a stream and sends its first message. */
  open<Request extends object>(
    outer: ServerCall,
    path: string,
    requestType: MessageType<Request>,
    requests: readonly Init<Request>[],
    caller: LocalCaller,
  ): LocalCall {
    const method = this.#methods.get(path);
    assert(method !== undefined && method.kind === "stream", "services open streams that exist");
    const call = new LocalCall(path, outer, this.#timers, caller);
    const handler: StreamHandler = method.open(call);
    for (const request of requests) {
      const bytes = requestType.encode(request);
      if (call.isOpen) handler.message(call, bytes, 0, bytes.length);
    }
    return call;
  }
}

/** One inner call, as the service that answers it sees it. Made by {@link LocalMethods}. */
export class LocalCall implements ServerCall {
  readonly path: string;
  readonly connection: ServerPeer;
  /** The client's; when it passes, the client's call ends, and with it this one. */
  readonly deadlineMs: number;
  owner: CallOwner | null = null;
  state: unknown = undefined;
  readonly #outer: ServerCall;
  readonly #timers: Timers;
  readonly #caller: LocalCaller;
  #messages: Buffer[] = [];
  #queuedBytes = 0;
  #failure: LocalFailure | null = null;
  #isAnswered = false;
  #isOver = false;
  #isAbandoned = false;
  #isPaused = false;
  #isScheduled = false;
  #isOwnerWaiting = false;
  #body: { readonly source: BodySource; readonly pieces: Buffer[]; leftBytes: number } | null = null;

  constructor(path: string, outer: ServerCall, timers: Timers, caller: LocalCaller) {
    this.path = path;
    this.connection = outer.connection;
    this.deadlineMs = outer.deadlineMs;
    this.#outer = outer;
    this.#timers = timers;
    this.#caller = caller;
  }

  // --- the caller's side

  /** Nothing more is wanted: the service hears that its client has gone, the caller hears nothing any more. */
  abandon(): void {
    if (this.#isAbandoned) return;
    const wasOpen = this.isOpen;
    this.#isAbandoned = true;
    this.#messages = [];
    this.#releaseBody();
    if (wasOpen) this.owner?.cancelled(this, "cancelled");
  }

  /** Messages wait from now on, and the service slows down as for a client that does not read. */
  pause(): void {
    this.#isPaused = true;
  }

  unpause(): void {
    this.#isPaused = false;
    this.#deliverLater();
  }

  // --- the service's side

  get peerCommonName(): string | null {
    return this.#outer.peerCommonName;
  }

  get isOpen(): boolean {
    return !this.#isAnswered && !this.#isAbandoned;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  metadata(name: string): string | undefined {
    return name === REQUIRE_LEADER ? undefined : this.#outer.metadata(name);
  }

  metadataBytes(name: string): Uint8Array | undefined {
    return name === REQUIRE_LEADER ? undefined : this.#outer.metadataBytes(name);
  }

  respond(buffer: Uint8Array, start: number, end: number): void {
    if (!this.isOpen) return;
    this.#queue(Buffer.from(buffer.subarray(start, end)));
    this.end();
  }

  respondFrom(totalBytes: number, source: BodySource): void {
    if (!this.isOpen) {
      source.released?.();
      return;
    }
    this.#body = { source, pieces: [], leftBytes: totalBytes };
    this.resume();
  }

  /** In memory there is nobody to wait for: the body is read at once. */
  resume(): void {
    const body = this.#body;
    while (body !== null && this.#body === body && body.leftBytes > 0) {
      const piece = body.source.read(Math.min(PIECE_BYTES, body.leftBytes));
      if (piece === null) return;
      body.pieces.push(Buffer.from(piece));
      body.leftBytes -= piece.length;
    }
    if (body === null || this.#body !== body) return;
    this.#releaseBody();
    if (!this.isOpen) return;
    this.#queue(Buffer.concat(body.pieces));
    this.end();
  }

  /** As a client takes such a reset. */
  cutOff(): void {
    this.#releaseBody();
    this.fail(errors.LeaderChanged.code, errors.LeaderChanged.message);
  }

  send(buffer: Uint8Array, start: number, end: number): boolean {
    if (!this.isOpen) return false;
    return this.#queue(Buffer.from(buffer.subarray(start, end)));
  }

  sendShared(head: Uint8Array, headStart: number, headEnd: number, tail: Uint8Array): boolean {
    if (!this.isOpen) return false;
    return this.#queue(Buffer.concat([head.subarray(headStart, headEnd), tail]));
  }

  end(): void {
    if (!this.isOpen) return;
    this.#isAnswered = true;
    this.#deliverLater();
  }

  fail(code: number, message: string): void {
    if (!this.isOpen) return;
    this.#failure = { code, message };
    this.end();
  }

  /** The client's call holds its slot until all that was begun for it has ended: its service sees to that. */
  holdSlot(): void {}
  releaseSlot(): void {}

  #queue(message: Buffer): boolean {
    this.#messages.push(message);
    this.#queuedBytes += message.length;
    this.#deliverLater();
    if (this.#queuedBytes < HIGH_WATER_BYTES) return true;
    this.#isOwnerWaiting = true;
    return false;
  }

  #deliverLater(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#timers.nextTurn(() => this.#deliver());
  }

  #deliver(): void {
    this.#isScheduled = false;
    while (this.#messages.length > 0) {
      if (this.#isPaused || this.#isAbandoned) return;
      const message = this.#messages.shift()!;
      this.#queuedBytes -= message.length;
      this.#caller.received(message);
    }
    if (this.#isAbandoned || this.#isPaused || this.#isOver) return;
    if (this.#isAnswered) {
      this.#isOver = true;
      this.#caller.ended(this.#failure);
    } else if (this.#isOwnerWaiting) {
      this.#isOwnerWaiting = false;
      this.owner?.drained?.(this);
    }
  }

  #releaseBody(): void {
    const body = this.#body;
    this.#body = null;
    body?.source.released?.();
  }
}

/**
 * Ends a client's call with what an inner call ended with. Only the caller's own end of patience keeps its code; of
 * everything else etcd's lock and election services tell the text and lose the code.
 */
export function failOuter(outer: ServerCall, { message }: LocalFailure): void {
  for (const kind of KEPT) if (message === errors[kind].message) return outer.fail(errors[kind].code, message);
  outer.fail(errors.ElectionNoLeader.code, message);
}

const KEPT: readonly ErrorKind[] = ["ContextCanceled", "ContextDeadlineExceeded"];
