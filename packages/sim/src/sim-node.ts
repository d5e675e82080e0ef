/**
 * One member with its machine, across all runs of its program.
 *
 *   down ──start──▶ opening ──opened──▶ up ──stop──▶ stopping ──▶ down        any ──crash, kill, failure──▶ down
 *                                                                             any ──retire──▶ retired, for good
 */
import type { NodeId } from "@quorate/raft";
import {
  type Bootstrap,
  type LeaderLink,
  MEMBER_DIRECTORY,
  type Member,
  type MemberParts,
  type PeerNetwork,
  type PeerNetworkOwner,
  type PeerRequests,
  peerRequestsOf,
  SimulatedMachine,
} from "@quorate/server/testing";
import { SeededRandom } from "@quorate/wal/testing";
import type { Random } from "@quorate/world";
import type { Served } from "./clients.ts";
import type { Host } from "./sim-network.ts";
import { type MachinePace, SimProcess } from "./sim-process.ts";
import type { SimTime } from "./sim-time.ts";

export interface SimNodeOptions {
  readonly name: string;
  readonly id: NodeId;
  readonly settings: Readonly<Record<string, string>>;
  readonly segmentBytes: number;
  /** For a member that joins a running cluster. */
  readonly identity?: Bootstrap;
  readonly pace: MachinePace;
  /** Of this machine's clock. */
  readonly rate: number;
}

export interface SimNodeOwner {
  /** The parts are open and nothing has been done with them. */
  opened(node: SimNode, parts: MemberParts): void;
  /** The member is built and about to start. */
  starting(node: SimNode, member: Member, parts: MemberParts): void;
  /** It could not be opened. */
  openFailed(node: SimNode, error: unknown): void;
  network(id: NodeId, host: Host, owner: PeerNetworkOwner): PeerNetwork;
  /** Never answers at once. */
  askVersions(node: SimNode, ids: readonly NodeId[], done: (versions: readonly (string | null)[]) => void): void;
  leaderLink(node: SimNode, process: SimProcess): LeaderLink;
  ended(node: SimNode, process: SimProcess): void;
}

export class SimNode implements Host, Served {
  readonly name: string;
  readonly id: NodeId;
  readonly machine: SimulatedMachine;
  readonly pace: MachinePace;
  readonly snapshotDirectory: string = `${MEMBER_DIRECTORY}/snap`;
  state: "down" | "opening" | "up" | "stopping" | "retired" = "down";
  /** Of the member that runs; what others ask it. */
  requests: PeerRequests | null = null;
  process: SimProcess;
  readonly #time: SimTime;
  readonly #random: Random;
  readonly #rate: number;
  readonly #identity: Bootstrap | undefined;
  readonly #owner: SimNodeOwner;

  constructor(options: SimNodeOptions, time: SimTime, random: Random, owner: SimNodeOwner) {
    this.name = options.name;
    this.id = options.id;
    this.pace = options.pace;
    this.#rate = options.rate;
    this.#identity = options.identity;
    this.#time = time;
    this.#random = random;
    this.#owner = owner;
    this.process = this.#newProcess();
    this.process.end();
    this.machine = new SimulatedMachine({
      random: new SeededRandom(random.below(2 ** 32)),
      settings: options.settings,
      segmentBytes: options.segmentBytes,
      defer: (run) => this.process.diskDone(run),
    });
  }

  get disk(): SimulatedMachine["disk"] {
    return this.machine.disk;
  }

  start(): void {
    this.state = "opening";
    const process = this.#newProcess();
    this.process = process;
    // The directories of a machine come back empty if they were made and lost; a start makes them again.
    if (!this.disk.exists(this.snapshotDirectory)) {
      this.disk.makeDirectory(this.snapshotDirectory);
      this.disk.syncDirectory(MEMBER_DIRECTORY);
    }
    const host: Host = { name: this.name, process, disk: this.disk, snapshotDirectory: this.snapshotDirectory };
    let parts: MemberParts | null = null;
    this.machine
      .openOver({
        clock: process,
        timers: process,
        schedule: (complete) => process.storageDone(complete),
        leaderLink: this.#owner.leaderLink(this, process),
        ...(this.#identity === undefined ? {} : { identity: this.#identity }),
        memberOptions: {
          network: (owner) => this.#owner.network(this.id, host, owner),
          askVersions: (members, done) =>
            this.#owner.askVersions(
              this,
              members.map(({ id }) => id),
              done,
            ),
        },
        opened: (opened) => {
          parts = opened;
          this.#owner.opened(this, opened);
        },
      })
      .then((member) => {
        if (member === null || process.isEnded) return;
        this.state = "up";
        this.requests = peerRequestsOf(member, this.machine.config);
        this.#owner.starting(this, member, parts!);
        process.deliver(() => member.start());
      })
      .catch((error: unknown) => {
        if (!process.isEnded) this.#owner.openFailed(this, error);
      });
  }

  /** Power fails. */
  crash(): void {
    this.machine.crash();
    this.#end();
  }

  /** kill -9. */
  kill(): void {
    this.machine.kill();
    this.#end();
  }

  get isServing(): boolean {
    return this.state === "up";
  }

  /** Asks for a clean stop, clients being cut off first; `done` when the process has ended, unless something else ended it first. */
  stop(done: (error: Error | null) => void): void {
    const { process } = this;
    this.state = "stopping";
    process.deliver(() => {
      this.machine.member.stop((error) => {
        process.deliver(() => {
          this.kill();
          done(error);
        });
      });
    });
  }

  /** The machine is scrapped. */
  retire(): void {
    if (this.process.isEnded) this.#owner.ended(this, this.process);
    else this.kill();
    this.state = "retired";
  }

  #end(): void {
    this.process.end();
    this.state = "down";
    this.#owner.ended(this, this.process);
  }

  #newProcess(): SimProcess {
    return new SimProcess(this.#time, this.#random, { pace: this.pace, rate: this.#rate });
  }
}

export function peerUrlOf(name: string): string {
  return `http://${name}:2380`;
}
