/**
 * Where the members of a test cluster live: on ports of 127.0.0.1, or each in a Linux network namespace of its own, where
 * what one sends another can be dropped, delayed and lost. The test itself reaches every member in any case.
 *
 *      the test                     10.x.y.254
 *         └───────────── bridge ───────┬────────────┬────────────┐
 *                                    eth0         eth0         eth0
 *                                  10.x.y.1     10.x.y.2     10.x.y.3       a namespace each
 *
 * To cut a to b, a is told a hardware address for b that nobody has: its packets leave and never arrive, and no error
 * tells anyone. That needs no packet filter in the kernel, and it cuts one direction only.
 */
import { execFileSync } from "node:child_process";
import { freePort } from "../../packages/server/src/testing/ports.ts";

export interface Network {
  addHost(): Promise<Host>;
  dispose(): void;
}

/** A place for one member. */
export interface Host {
  readonly address: string;
  /** `peer` is where the others reach it; it listens on `peerListen`. */
  readonly ports: { readonly client: number; readonly peer: number; readonly peerListen: number };
  /** What runs a program there. */
  command(program: string, args: readonly string[]): [program: string, args: readonly string[]];
}

export class LoopbackNetwork implements Network {
  async addHost(): Promise<Host> {
    const [client, peer] = [await freePort(), await freePort()];
    const ports = { client, peer, peerListen: peer };
    return { address: "127.0.0.1", ports, command: (program, args) => [program, args] };
  }

  dispose(): void {}
}

const NOBODY = "02:00:00:00:00:01";

export class NamespacedNetwork implements Network {
  readonly #name: string;
  readonly #subnet: string;
  readonly #hosts: NamespacedHost[] = [];
  static #count = 0;
  readonly #atExit = (): void => this.dispose();

  /** Throws if this may not be done here. */
  constructor() {
    // No two networks share a name or a subnet, not even of two test files that run at once: what is deleted may linger.
    const number = NamespacedNetwork.#count++;
    // Interface names have room for 15 characters.
    this.#name = `qf${process.pid.toString(36)}x${number}`;
    this.#subnet = `10.${200 + (process.pid % 50)}.${number % 250}`;
    process.once("exit", this.#atExit);
    ip("link", "add", this.#name, "type", "bridge");
    ip("addr", "add", `${this.#subnet}.254/24`, "dev", this.#name);
    ip("link", "set", this.#name, "up");
  }

  async addHost(): Promise<NamespacedHost> {
    const number = this.#hosts.length + 1;
    const host = new NamespacedHost(`${this.#name}n${number}`, `${this.#subnet}.${number}`);
    this.#hosts.push(host);
    const cable = this.#cable(number);
    ip("netns", "add", host.namespace);
    ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", host.namespace);
    ip("link", "set", cable, "master", this.#name, "up");
    ip("-n", host.namespace, "addr", "add", `${host.address}/24`, "dev", "eth0");
    ip("-n", host.namespace, "link", "set", "eth0", "up");
    ip("-n", host.namespace, "link", "set", "lo", "up");
    return host;
  }

  /** Whatever `from` sends to `to` is lost from now on. */
  cut(from: Host, to: Host): void {
    ip("-n", namespaceOf(from), "neigh", "replace", to.address, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent");
  }

  cutBothWays(a: Host, b: Host): void {
    this.cut(a, b);
    this.cut(b, a);
  }

  /** Everything each host sends takes `delayMs` more or less, and of a hundred packets `lossPercent` are lost. */
  disturb(options: { readonly delayMs: number; readonly jitterMs: number; readonly lossPercent: number }): void {
    for (const { namespace } of this.#hosts) {
      const delay = ["delay", `${options.delayMs}ms`, `${options.jitterMs}ms`, "loss", `${options.lossPercent}%`];
      run("tc", ["-n", namespace, "qdisc", "replace", "dev", "eth0", "root", "netem", ...delay]);
    }
  }

  /** Undoes all cuts and disturbances. */
  heal(): void {
    for (const { namespace } of this.#hosts) {
      ip("-n", namespace, "neigh", "flush", "dev", "eth0", "nud", "permanent");
      try {
        run("tc", ["-n", namespace, "qdisc", "del", "dev", "eth0", "root"]);
      } catch {
        // There was no disturbance.
      }
    }
  }

  dispose(): void {
    process.off("exit", this.#atExit);
    this.#hosts.forEach(({ namespace }, i) => {
      attempt("ip", ["link", "del", this.#cable(i + 1)]);
      attempt("ip", ["netns", "del", namespace]);
    });
    attempt("ip", ["link", "del", this.#name]);
  }

  /** The end of a host's cable that is in the bridge. */
  #cable(number: number): string {
    return `${this.#name}v${number}`;
  }
}

class NamespacedHost implements Host {
  readonly namespace: string;
  readonly address: string;
  readonly ports: Host["ports"] = { client: 2379, peer: 2380, peerListen: 2380 };

  constructor(namespace: string, address: string) {
    this.namespace = namespace;
    this.address = address;
  }

  command(program: string, args: readonly string[]): [string, readonly string[]] {
    return ["ip", ["netns", "exec", this.namespace, program, ...args]];
  }
}

/** Whether namespaces can be made here; says so loudly where not. */
export function hasNamespaces(): boolean {
  try {
    new NamespacedNetwork().dispose();
    return true;
  } catch (error) {
    console.error(`\n*** SKIPPED: no network namespaces here, partitions were not tested: ${error} ***\n`);
    return false;
  }
}

/** Whether the kernel can delay and lose packets; says so loudly where not. Call only where there are namespaces. */
export async function hasDisturbance(): Promise<boolean> {
  const network = new NamespacedNetwork();
  try {
    await network.addHost();
    network.disturb({ delayMs: 1, jitterMs: 0, lossPercent: 0 });
    return true;
  } catch (error) {
    console.error(`\n*** SKIPPED: the kernel has no netem, packets were not delayed or lost: ${error} ***\n`);
    return false;
  } finally {
    network.dispose();
  }
}

function namespaceOf(host: Host): string {
  if (!(host instanceof NamespacedHost)) throw new Error(`${host.address} is not in a namespace`);
  return host.namespace;
}

function ip(...args: readonly string[]): void {
  run("ip", args);
}

function run(program: string, args: readonly string[]): void {
  execFileSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
}

function attempt(program: string, args: readonly string[]): void {
  try {
    run(program, args);
  } catch {
    // It was not there.
  }
}
