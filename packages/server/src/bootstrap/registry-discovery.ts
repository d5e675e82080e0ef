/**
 * v3 discovery: the members of a new cluster meet in another cluster, under a token.
 *
 *   /_etcd/registry/<token>/_config/size            how many there will be; the operator has put it there
 *   /_etcd/registry/<token>/members/<hex member id>  name=url[,name=url2], one per member
 *
 *   size ─▶ members ─▶ put ourselves ─▶ members again ─▶ watch for the rest ─▶ the first <size> by create revision
 *                └─full─▶ refused          └─full─▶ refused: others were faster
 *
 * What the other cluster does not answer is asked again, for ever and ever slower; the operator sees why in the log.
 */
import { idText } from "@quorate/membership";
import type { Log, Timers } from "@quorate/world";
import { type ClusterMember, parseClusterMap } from "../config/cluster-map.ts";
import { DiscoveryError } from "./bootstrap.ts";
import { type Registry, type RegistryRow, sleep } from "./discovery-world.ts";

const PREFIX = "/_etcd/registry";
/** Tries wait 2, 4, 8 … seconds, up to 2 to the power of this. */
const MAX_BACKOFF_EXPONENT = 8;

export interface RegistryDiscoveryOptions {
  readonly registry: Registry;
  readonly token: string;
  readonly memberId: bigint;
  /** `name=url[,name=url2]`: what the others will know us by. */
  readonly ownNodes: string;
  readonly timers: Timers;
  readonly log: Log;
}

/** Resolves when as many members as expected have registered. Throws {@link DiscoveryError}. */
export async function joinRegistry(options: RegistryDiscoveryOptions): Promise<ClusterMember[]> {
  const discovery = new RegistryDiscovery(options);
  await discovery.check();
  await discovery.registerSelf();
  return discovery.waitForAll();
}

class RegistryDiscovery {
  readonly #options: RegistryDiscoveryOptions;
  readonly #membersKey: string;
  readonly #ownKey: string;
  #size = 0;
  #revision = 0;
  /** By key. */
  #members = new Map<string, RegistryRow>();
  #retries = 0;

  constructor(options: RegistryDiscoveryOptions) {
    this.#options = options;
    this.#membersKey = `${PREFIX}/${options.token}/members`;
    this.#ownKey = `${this.#membersKey}/${idText(options.memberId)}`;
  }

  /** Reads who is there. Refused if the places are taken by others. */
  async check(): Promise<void> {
    const { registry, token } = this.#options;
    await this.#untilAnswered("cluster status check", async () => {
      const { rows } = await registry.range(`${PREFIX}/${token}/_config/size`);
      this.#size = sizeOf(rows[0]);
      const view = await registry.range(this.#membersKey, prefixEnd(this.#membersKey));
      this.#members = new Map();
      this.#revision = view.revision;
      for (const row of view.rows) this.#note(row);
    });
    const ahead = this.#inOrder().findIndex((row) => row.key === this.#ownKey);
    if ((ahead < 0 ? this.#members.size : ahead) >= this.#size) throw refusal("cluster is full");
  }

  async registerSelf(): Promise<void> {
    const { registry, ownNodes, log } = this.#options;
    await this.#untilAnswered("register member itself", () => registry.put(this.#ownKey, ownNodes));
    log.info("register member itself successfully", { memberKey: this.#ownKey, memberInfo: ownNodes });
  }

  async waitForAll(): Promise<ClusterMember[]> {
    await this.check();
    while (this.#members.size < this.#size) {
      // A watch that breaks has told us nothing: what came meanwhile is read before the next one begins.
      if (!(await this.#watchedAll())) await this.check();
    }
    const nodes = this.#inOrder()
      .slice(0, this.#size)
      .map((row) => row.value)
      .join(",");
    try {
      return parseClusterMap(nodes);
    } catch (error) {
      throw refusal("invalid peer URL", error);
    }
  }

  async #watchedAll(): Promise<boolean> {
    const { registry, log } = this.#options;
    log.info("waiting for peers from discovery service", this.#counts());
    const watch = registry.watch(this.#membersKey, prefixEnd(this.#membersKey), this.#revision + 1);
    try {
      while (this.#members.size < this.#size) {
        for (const row of await watch.next()) this.#note(row);
      }
      log.info("found all needed peers from discovery service", this.#counts());
      return true;
    } catch (error) {
      await this.#backOff("watch for peers", error);
      return false;
    } finally {
      watch.cancel();
    }
  }

  #note(row: RegistryRow): void {
    const key = row.key.trim();
    const value = row.value.trim();
    const fields = { memberKey: key, memberInfo: value };
    if (!value.includes("=")) {
      this.#options.log.warn("invalid peer info returned from discovery service", fields);
    } else if (this.#members.has(key)) {
      this.#options.log.warn("found duplicate peer from discovery service", fields);
    } else {
      this.#options.log.info("found peer from discovery service", fields);
      this.#members.set(key, { key, value, createRevision: row.createRevision });
    }
  }

  /** More than there is room for may have registered at once: who came first is in. */
  #inOrder(): RegistryRow[] {
    return [...this.#members.values()].sort((a, b) => a.createRevision - b.createRevision);
  }

  #counts(): { clusterSize: number; "found-peers": number } {
    return { clusterSize: this.#size, "found-peers": this.#members.size };
  }

  async #untilAnswered(step: string, ask: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await ask();
        this.#retries = 0;
        return;
      } catch (error) {
        if (error instanceof DiscoveryError) throw error;
        await this.#backOff(step, error);
      }
    }
  }

  async #backOff(step: string, error: unknown): Promise<void> {
    this.#retries++;
    const seconds = 2 ** Math.min(this.#retries, MAX_BACKOFF_EXPONENT);
    const fields = { reason: step, backoff: `${seconds}s`, error };
    this.#options.log.warn("retry connecting to discovery service", fields);
    await sleep(this.#options.timers, seconds * 1000);
  }
}

function sizeOf(row: RegistryRow | undefined): number {
  if (row === undefined) throw refusal("size key not found");
  const size = /^[+-]?\d{1,19}$/.test(row.value) ? Number(row.value) : 0;
  if (size <= 0) throw refusal("size key is bad");
  return size;
}

function refusal(problem: string, cause?: unknown): DiscoveryError {
  return new DiscoveryError(`failed to join discovery cluster (discovery: ${problem})`, { cause });
}

/** The first key after all that begin with `prefix`, which ends in a letter. */
function prefixEnd(prefix: string): string {
  return prefix.slice(0, -1) + String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1);
}
