/**
 * Peers, names and another cluster for tests: what is not there does not answer. Time passes as fast as nothing else can
 * happen.
 */
import { setImmediate } from "node:timers/promises";
import type { Member } from "@quorate/membership";
import { type Log, type LogFields, silentLog } from "@quorate/world";
import { ManualWorld } from "../../testing/manual-world.ts";
import type {
  DiscoveryWorld,
  NameService,
  PeerQueries,
  Registry,
  RegistryRow,
  RegistryView,
  RegistryWatch,
  ServiceRecord,
} from "../discovery-world.ts";

export interface FakePeer {
  readonly clusterId?: bigint;
  readonly members?: readonly Member[];
  readonly cluster?: string;
  readonly downgrade?: boolean;
}

export class FakeDiscoveryWorld implements DiscoveryWorld {
  /** By URL. */
  readonly fakePeers: Map<string, FakePeer> = new Map();
  readonly hosts: Map<string, readonly string[]> = new Map();
  readonly services: Map<string, readonly ServiceRecord[]> = new Map();
  readonly registry: FakeRegistry = new FakeRegistry();
  readonly clock: ManualWorld = new ManualWorld();
  readonly timers: ManualWorld = this.clock;
  readonly warnings: string[] = [];
  /** Questions to peers: "path url timeoutMs". */
  readonly asked: string[] = [];
  readonly lookedUp: string[] = [];

  readonly log: Log = {
    ...silentLog,
    warn: (message: string, _fields?: LogFields) => void this.warnings.push(message),
  };

  readonly peers: PeerQueries = {
    members: async (url, timeoutMs) => {
      const { clusterId, members } = this.#peer("members", url, timeoutMs);
      if (clusterId === undefined || members === undefined) throw new Error("404 page not found");
      return { clusterId, members };
    },
    version: async (url, timeoutMs) => {
      const { cluster } = this.#peer("version", url, timeoutMs);
      if (cluster === undefined) throw new Error("404 page not found");
      return { server: "3.7.1", cluster };
    },
    downgradeEnabled: async (url, timeoutMs) => {
      const { downgrade } = this.#peer("downgrade", url, timeoutMs);
      if (downgrade === undefined) throw new Error("404 page not found");
      return downgrade;
    },
  };

  readonly names: NameService = {
    services: async (name) => {
      const found = this.services.get(name);
      if (found === undefined) throw new Error(`lookup ${name}: no such host`);
      return found;
    },
    addresses: async (host) => {
      if (/^[\d.]+$/.test(host)) return [host];
      this.lookedUp.push(host);
      const found = this.hosts.get(host);
      if (found === undefined) throw new Error(`lookup ${host}: no such host`);
      return found;
    },
  };

  openRegistry(): Registry {
    return this.registry;
  }

  /** Lets time pass until the work is done. */
  async run<T>(work: Promise<T>): Promise<T> {
    let isDone = false;
    const done = (): void => {
      isDone = true;
    };
    work.then(done, done);
    for (;;) {
      await setImmediate();
      if (isDone) return work;
      this.clock.fireNext(Number.MAX_SAFE_INTEGER);
    }
  }

  #peer(path: string, url: string, timeoutMs: number): FakePeer {
    this.asked.push(`${path} ${url} ${timeoutMs}`);
    const peer = this.fakePeers.get(url);
    if (peer === undefined) throw new Error("connect ECONNREFUSED");
    return peer;
  }
}

/** One revision per put; every call counts as one that can be made to fail. */
export class FakeRegistry implements Registry {
  readonly rows: Map<string, RegistryRow> = new Map();
  revision = 1;
  /** So many calls fail from now on. */
  failures = 0;
  isClosed = false;
  /** Called when somebody waits for puts. */
  onWait: () => void = () => {};
  #watchers: Set<(row: RegistryRow) => void> = new Set();
  #breakers: Set<(error: Error) => void> = new Set();

  async range(key: string, rangeEnd?: string): Promise<RegistryView> {
    this.#mayFail();
    const isIn = (each: string): boolean => (rangeEnd === undefined ? each === key : each >= key && each < rangeEnd);
    return { revision: this.revision, rows: [...this.rows.values()].filter((row) => isIn(row.key)) };
  }

  async put(key: string, value: string): Promise<void> {
    this.#mayFail();
    this.revision++;
    const row = { key, value, createRevision: this.rows.get(key)?.createRevision ?? this.revision };
    this.rows.set(key, row);
    for (const tell of this.#watchers) tell(row);
  }

  watch(key: string, rangeEnd: string, fromRevision: number): RegistryWatch {
    let queue = [...this.rows.values()].filter(
      (row) => row.key >= key && row.key < rangeEnd && row.createRevision >= fromRevision,
    );
    let wake = (): void => {};
    let broken: Error | null = null;
    const tell = (row: RegistryRow): void => {
      queue.push(row);
      wake();
    };
    const fail = (error: Error): void => {
      broken = error;
      wake();
    };
    this.#watchers.add(tell);
    this.#breakers.add(fail);
    return {
      next: async () => {
        if (queue.length === 0) {
          const woken = new Promise<void>((resolve) => {
            wake = resolve;
          });
          this.onWait();
          if (queue.length === 0 && broken === null) await woken;
        }
        if (broken !== null) throw broken;
        const rows = queue;
        queue = [];
        return rows;
      },
      cancel: () => {
        this.#watchers.delete(tell);
        this.#breakers.delete(fail);
      },
    };
  }

  breakWatches(): void {
    for (const fail of this.#breakers) fail(new Error("the watch broke"));
  }

  get watchCount(): number {
    return this.#watchers.size;
  }

  close(): void {
    this.isClosed = true;
  }

  #mayFail(): void {
    if (this.failures > 0) {
      this.failures--;
      throw new Error("connect ECONNREFUSED");
    }
  }
}
