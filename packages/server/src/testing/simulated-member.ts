/**
 * A simulated machine with one member, driven by hand: nothing happens until the test says so, and time stands still.
 *
 *   put() ──▶ services ──▶ Member ──┬─▶ Wal ──▶ SimDisk ─ ─ ─ runPending      (happen: one of these)
 *                                   └─▶ Backend ──▶ MemoryStorage ─ ─ step
 *
 * `settle` runs everything that can run without time passing; the finer methods stop in between.
 */
import type { Init, MessageType } from "@quorate/api/messages";
import { SeededRandom } from "@quorate/wal/testing";
import { assert } from "@quorate/world";
import type { MemberOptions } from "../member/member-options.ts";
import type { World } from "../member/open-member.ts";
import { ManualWorld } from "./manual-world.ts";
import { SimulatedMachine } from "./simulated-machine.ts";

export { FakeStream, MEMBER_DIRECTORY } from "./simulated-machine.ts";

export interface SimulatedMemberOptions {
  readonly seed?: number;
  /** Default 2 MiB: an entry may take half of one. */
  readonly segmentBytes?: number;
  /** Over the defaults of the flags. */
  readonly settings?: Readonly<Record<string, string>>;
}

export class SimulatedMember extends SimulatedMachine {
  readonly world: ManualWorld = new ManualWorld();

  constructor(options: SimulatedMemberOptions = {}) {
    super({ ...options, random: new SeededRandom(options.seed ?? 1) });
  }

  /** A member that serves. */
  static async serving(options: SimulatedMemberOptions = {}): Promise<SimulatedMember> {
    const simulated = new SimulatedMember(options);
    await simulated.boot();
    return simulated;
  }

  get directories(): World {
    return this.worldOf({ clock: this.world, timers: this.world });
  }

  /** Opens the parts over what is there, the log made first if there is none. Options come over those of the settings. */
  async open(memberOptions: Partial<MemberOptions> = {}): Promise<void> {
    const opening = this.openOver({ clock: this.world, timers: this.world, memberOptions });
    let isOpen = false;
    const opened = opening.finally(() => {
      isOpen = true;
    });
    opened.catch(() => {});
    for (let i = 0; i < 100 && !isOpen; i++) {
      this.disk.runPending();
      await Promise.resolve();
    }
    await opened;
  }

  /** Opens, starts, and settles: ready to serve. */
  async boot(memberOptions: Partial<MemberOptions> = {}): Promise<void> {
    await this.open(memberOptions);
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
      if (this.databases.step()) isBusy = true;
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
        this.databases.step();
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

  /** Open again with {@link boot}. */
  override crash(): void {
    super.crash();
    this.world.forget();
  }

  override kill(): void {
    super.kill();
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
