/**
 * A whole member on a simulated world: the real code from the services down to the log and the store, over a disk that
 * forgets, storage that ends its commits when told, and time that stands still. What a machine would keep survives in
 * `disk` and `image`; `boot` opens a member over it, as a start of the process does.
 *
 *   put() ──▶ services ──▶ Member ──┬─▶ Wal ──▶ SimDisk ─ ─ ─ runPending      (step: one of these)
 *                                   └─▶ Backend ──▶ MemoryStorage ─ ─ step
 *
 * `settle` runs everything that can run without time passing; the finer methods stop in between.
 */
import { Buffer } from "node:buffer";
import type { Init, MessageType } from "@quorate/api/messages";
import { MemoryImage, MemoryStorage } from "@quorate/mvcc";
import type { Method, StreamHandler } from "@quorate/rpc";
import { Wal } from "@quorate/wal";
import { SeededRandom, SimDisk } from "@quorate/wal/testing";
import { assert, silentLog } from "@quorate/world";
import { type Config, configOf } from "../config/config.ts";
import { Member } from "../member/member.ts";
import { memberOptionsOf } from "../member/member-options.ts";
import { createLog, openMember, type World } from "../member/open-member.ts";
import { allMethods } from "../services/all.ts";
import { FakeCall } from "./fake-call.ts";
import { ManualWorld } from "./manual-world.ts";

export const MEMBER_DIRECTORY = "/data/member";

export interface SimulatedMemberOptions {
  readonly seed?: number;
  /** Default 2 MiB: an entry may take half of one. */
  readonly segmentBytes?: number;
  /** Over the defaults of the flags. */
  readonly settings?: Readonly<Record<string, string>>;
}

export class SimulatedMember {
  readonly disk: SimDisk;
  readonly image: MemoryImage = new MemoryImage();
  readonly world: ManualWorld = new ManualWorld();
  readonly config: Config;
  readonly #random: SeededRandom;
  readonly #segmentBytes: number;
  member: Member = null as never;
  storage: MemoryStorage = new MemoryStorage();
  /** What the member reported as the reason to end the process. */
  failure: Error | null = null;
  isReady = false;
  #methods: ReadonlyMap<string, Method> = new Map();

  constructor(options: SimulatedMemberOptions = {}) {
    this.#random = new SeededRandom(options.seed ?? 1);
    this.#segmentBytes = options.segmentBytes ?? 2 * 1024 * 1024;
    this.disk = new SimDisk({ random: this.#random });
    this.disk.makeDirectory("/data");
    this.disk.makeDirectory(MEMBER_DIRECTORY);
    this.disk.syncDirectory("/");
    this.disk.syncDirectory("/data");
    const settings = { name: "m", "data-dir": "/data", ...options.settings };
    this.config = configOf(new Map(Object.entries(settings)), true);
  }

  /** A member that serves. */
  static async serving(options: SimulatedMemberOptions = {}): Promise<SimulatedMember> {
    const simulated = new SimulatedMember(options);
    await simulated.boot();
    return simulated;
  }

  get directories(): World {
    return {
      disk: this.disk,
      clock: this.world,
      timers: this.world,
      random: this.#random,
      log: silentLog,
      raftLog: silentLog,
      segmentBytes: this.#segmentBytes,
    };
  }

  /** Opens the parts over what is there, the log made first if there is none. */
  async open(): Promise<void> {
    const world = this.directories;
    if (!Wal.exists({ disk: this.disk, directory: this.config.walDirectory })) createLog(this.config, world);
    this.storage = new MemoryStorage({ image: this.image });
    this.failure = null;
    this.isReady = false;
    const opening = openMember(this.config, this.storage, `${MEMBER_DIRECTORY}/index`, world);
    let isOpen = false;
    const opened = opening.finally(() => {
      isOpen = true;
    });
    opened.catch(() => {});
    for (let i = 0; i < 100 && !isOpen; i++) {
      this.disk.runPending();
      await Promise.resolve();
    }
    const parts = await opened;
    this.member = new Member(parts, memberOptionsOf(this.config, world), {
      flush: () => {},
      failed: (error) => {
        this.failure ??= error;
      },
      ready: () => {
        this.isReady = true;
      },
      resting: () => {},
    });
    this.#methods = new Map(allMethods(this.member));
  }

  /** Opens, starts, and settles: ready to serve. */
  async boot(): Promise<void> {
    await this.open();
    this.member.start();
    this.settle();
    assert(this.isReady, "a member without others becomes ready by itself");
  }

  /** Runs turns and ends writes and commits until nothing is left that does not wait for time. */
  settle(): void {
    for (let i = 0; i < 10_000; i++) {
      let isBusy = this.world.runTurn();
      if (this.disk.pendingCount > 0) {
        this.disk.runPending(1);
        isBusy = true;
      }
      if (this.storage.step()) isBusy = true;
      if (!isBusy) return;
    }
    throw new Error("the member does not come to rest");
  }

  /** Lets the log come to rest, and what follows from that; storage stands still. */
  saveLog(): void {
    this.runTurns();
    while (this.disk.pendingCount > 0) {
      this.disk.runPending(1);
      this.runTurns();
    }
  }

  runTurns(): void {
    while (this.world.runTurn()) {
      // What a turn puts off comes in the next.
    }
  }

  /** The next thing to happen, of what can: a turn, the end of a write or of a commit, a timer. */
  happen(choice: number): void {
    switch (choice % 4) {
      case 0:
        this.world.runTurn();
        return;
      case 1:
        this.disk.runPending(1);
        return;
      case 2:
        this.storage.step();
        return;
      default:
        this.world.fireNext(this.world.nowMs + 60);
    }
  }

  /** Lets time pass; everything settles at each timer. */
  advance(ms: number): void {
    const untilMs = this.world.nowMs + ms;
    while (this.world.fireNext(untilMs)) this.settle();
    this.settle();
  }

  /** Lets time pass while disk and storage stand still. */
  advanceStalled(ms: number): void {
    const untilMs = this.world.nowMs + ms;
    while (this.world.fireNext(untilMs)) this.runTurns();
  }

  /** Power fails. Open again with {@link boot}. */
  crash(): void {
    this.disk.crash();
    this.storage.crash();
    this.world.forget();
  }

  /** kill -9: the system keeps what was written. */
  kill(): void {
    this.disk.kill();
    this.storage.crash();
    this.world.forget();
  }

  /** A clean stop. */
  stop(): Error | null {
    let ended: { readonly error: Error | null } | null = null;
    this.member.stop((error) => {
      ended = { error };
    });
    this.settle();
    const result = ended as { readonly error: Error | null } | null;
    assert(result !== null, "a stop comes to its end");
    this.world.forget();
    return result.error;
  }

  /** Hands a request to its service. The call may still wait when this returns. */
  send<Request extends object>(
    path: string,
    type: MessageType<Request>,
    request: Init<Request>,
    call: FakeCall = new FakeCall(path),
  ): FakeCall {
    return this.sendBytes(path, type.encode(request), call);
  }

  sendBytes(path: string, bytes: Uint8Array, call: FakeCall = new FakeCall(path)): FakeCall {
    const method = this.#methods.get(path)!;
    assert(method !== undefined && method.kind !== "stream", "the method takes one message");
    // Borrowed until return: overwritten afterwards, as the connection's buffer is.
    const borrowed = Buffer.from(bytes);
    method.handle(call, borrowed, 0, borrowed.length);
    borrowed.fill(0xee);
    return call;
  }

  openStream(path: string): FakeStream {
    const method = this.#methods.get(path)!;
    assert(method !== undefined && method.kind === "stream", "the method is a stream");
    const call = new FakeCall(path);
    return new FakeStream(call, method.open(call));
  }

  /** Sends, settles, and decodes the one answer. Throws if the call failed or waits. */
  call<Request extends object, Response extends object>(
    path: string,
    requestType: MessageType<Request>,
    request: Init<Request>,
    responseType: MessageType<Response>,
  ): Response {
    const call = this.send(path, requestType, request);
    this.settle();
    if (call.status === null) throw new Error(`${path} waits`);
    if (call.status.code !== 0) throw new Error(call.status.message);
    return responseType.decode(call.messages[0]!, 0, call.messages[0]!.length);
  }
}

/** The client's side of a bidirectional call. */
export class FakeStream {
  readonly call: FakeCall;
  readonly #handler: StreamHandler;
  #taken = 0;

  constructor(call: FakeCall, handler: StreamHandler) {
    this.call = call;
    this.#handler = handler;
  }

  send<Request extends object>(type: MessageType<Request>, request: Init<Request>): void {
    this.sendBytes(type.encode(request));
  }

  sendBytes(bytes: Uint8Array): void {
    if (!this.call.isOpen) return;
    const borrowed = Buffer.from(bytes);
    this.#handler.message(this.call, borrowed, 0, borrowed.length);
    borrowed.fill(0xee);
  }

  halfClose(): void {
    this.#handler.halfClosed(this.call);
  }

  /** What came since the last time. */
  received<Response extends object>(type: MessageType<Response>): Response[] {
    const messages = this.call.messages.slice(this.#taken);
    this.#taken = this.call.messages.length;
    return messages.map((each) => type.decode(each, 0, each.length));
  }
}
