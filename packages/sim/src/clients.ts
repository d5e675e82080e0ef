/**
 * What clients of all kinds share: which members they may turn to, and how one call runs. A call reaches its member as
 * the member's process takes it (not while that is suspended), and ends with the answer, with the client's patience, or
 * with the member's process; after the last two nobody knows what became of it.
 */
import type { Init, MessageType } from "@quorate/api/messages";
import { FakeCall, type SimulatedMachine } from "@quorate/server/testing";
import type { Random } from "@quorate/world";
import type { SimProcess } from "./sim-process.ts";
import type { SimTime } from "./sim-time.ts";
import type { Trace } from "./trace.ts";

/** A member that clients can reach. */
export interface Served {
  readonly name: string;
  readonly process: SimProcess;
  readonly machine: SimulatedMachine;
  /** Takes calls. */
  readonly isServing: boolean;
}

export interface ClientWorld {
  readonly time: SimTime;
  readonly random: Random;
  readonly trace: Trace;
  /** Those that serve now, in a fixed order. */
  served(): readonly Served[];
}

/** An answer's bytes, or why there is none; `error` null with no bytes: the client lost patience or the member. */
export type CallResult =
  | { readonly bytes: Buffer; readonly error: null }
  | { readonly bytes: null; readonly error: { readonly code: number; readonly message: string } | null };

export class Calls {
  readonly #world: ClientWorld;
  readonly #waiting: Map<SimProcess, Set<(result: CallResult) => void>> = new Map();

  constructor(world: ClientWorld) {
    this.#world = world;
  }

  /** `done` once, never synchronously. */
  call<Request extends object>(
    at: Served,
    path: string,
    type: MessageType<Request>,
    request: Init<Request>,
    patienceMs: number,
    done: (result: CallResult) => void,
  ): void {
    const { time } = this.#world;
    const call = new FakeCall(path);
    let waiting = this.#waiting.get(at.process);
    if (waiting === undefined) {
      waiting = new Set();
      this.#waiting.set(at.process, waiting);
    }
    const calls = waiting;
    const end = (result: CallResult): void => {
      if (!calls.delete(end)) return;
      patience.isCancelled = true;
      time.after(0, () => done(result));
    };
    calls.add(end);
    const patience = time.after(patienceMs, () => {
      end({ bytes: null, error: null });
      at.process.deliver(() => call.cancel("deadline"));
    });
    call.onEnd = () => {
      const { code, message } = call.status!;
      if (code === 0) end({ bytes: call.messages[0]!, error: null });
      else end({ bytes: null, error: { code, message } });
    };
    at.process.deliver(() => {
      if (at.isServing) at.machine.send(path, type, request, call);
      else end({ bytes: null, error: null });
    });
  }

  /** The connections to it break. */
  processEnded(process: SimProcess): void {
    const waiting = this.#waiting.get(process);
    this.#waiting.delete(process);
    for (const end of [...(waiting ?? [])]) end({ bytes: null, error: null });
  }
}
