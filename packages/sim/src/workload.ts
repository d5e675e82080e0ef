/** All clients of one simulation, and what they were told. */
import { Calls, type ClientWorld } from "./clients.ts";
import { History } from "./history.ts";
import { KvClient } from "./kv-client.ts";
import type { Scenario } from "./scenario.ts";
import type { SimProcess } from "./sim-process.ts";
import type { Verdict } from "./violation.ts";
import { WatchClient } from "./watch-client.ts";

export class Workload {
  readonly history: History;
  readonly calls: Calls;
  readonly #clients: KvClient[] = [];
  readonly #watchers: WatchClient[] = [];
  readonly #probed: Set<string> = new Set();

  constructor(world: ClientWorld, verdict: Verdict, scenario: Scenario) {
    this.history = new History(verdict);
    this.calls = new Calls(world);
    for (let i = 0; i < scenario.kvClients; i++) {
      const options = { number: i + 1, keyCount: scenario.keyCount, thinkMs: scenario.thinkMs };
      this.#clients.push(new KvClient(world, this.calls, this.history, options));
    }
    for (let i = 0; i < scenario.watchClients; i++) {
      this.#watchers.push(new WatchClient(`w${i + 1}`, world, this.history, verdict, scenario.electionMs * 20));
    }
  }

  processEnded(process: SimProcess): void {
    this.calls.processEnded(process);
    for (const watcher of this.#watchers) watcher.processEnded(process);
  }

  /** From now on it is noted which members take writes. */
  probe(): void {
    for (const client of this.#clients) client.onWrite = (member) => this.#probed.add(member);
  }

  /** It has taken a write since `probe`. */
  isProbed(member: string): boolean {
    return this.#probed.has(member);
  }

  /** No new calls. */
  stop(): void {
    for (const client of this.#clients) client.stop();
  }

  /** Nobody waits for an answer, and the watchers have seen everything that anybody was told. */
  get isAtRest(): boolean {
    return (
      this.#clients.every((each) => !each.isWaiting) &&
      this.#watchers.every((each) => each.nextRevision > this.history.floor)
    );
  }

  /** Throws a Violation. */
  verify(): void {
    this.history.verify();
  }

  counts(): Record<string, number> {
    return {
      ...this.history.counts,
      reconnects: this.#watchers.reduce((sum, each) => sum + each.counts.reconnects, 0),
    };
  }
}
