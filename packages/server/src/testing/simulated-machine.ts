/**
 * One machine of a simulation: its disk and database survive, and `open` starts a whole member over them, as the start of
 * a process does: the real code from the services down to the log and the store. Who drives the time, the disk and the
 * storage is the caller's choice: by hand (simulated-member.ts), or a whole cluster from one seed (packages/sim).
 *
 *   send() ──▶ services ──▶ Member ──┬─▶ Wal ──▶ SimDisk ──▶ defer
 *                                    └─▶ Backend ──▶ MemoryStorage ──▶ schedule
 */
import { Buffer } from "node:buffer";
import type { Init, MessageType } from "@quorate/api/messages";
import { SimpleTokens } from "@quorate/auth";
import { clusterIdOf, memberIdOf } from "@quorate/membership";
import type { MemoryImage, MemoryStorage } from "@quorate/mvcc";
import type { Method, StreamHandler } from "@quorate/rpc";
import { Wal } from "@quorate/wal";
import { SimDisk } from "@quorate/wal/testing";
import { assert, type Clock, type Log, type Random, silentLog, type Timers } from "@quorate/world";
import type { Bootstrap } from "../bootstrap/bootstrap.ts";
import { type Config, configOf } from "../config/config.ts";
import { Member } from "../member/member.ts";
import { type MemberOptions, memberOptionsOf } from "../member/member-options.ts";
import { createLog, type MemberParts, openMember, type World } from "../member/open-member.ts";
import { Counter } from "../metrics/exposition.ts";
import type { PeerNetwork } from "../peers/peer-network.ts";
import { allMethods } from "../services/all.ts";
import { type LeaderLink, NO_LEADER_LINK } from "../services/leader-link.ts";
import { FakeCall } from "./fake-call.ts";
import { plainPasswords } from "./plain-passwords.ts";
import { SimulatedDatabases } from "./simulated-databases.ts";

export const MEMBER_DIRECTORY = "/data/member";

const TOKEN_TTL_MS = 300_000;

export interface SimulatedMachineOptions {
  readonly random: Random;
  /** Over the defaults of the flags. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Default 2 MiB: an entry may take half of one. */
  readonly segmentBytes?: number;
  /** Takes the end of each durable write. Default: kept until `disk.runPending`. */
  readonly defer?: (run: () => void) => void;
}

/** What one run of the process gets of the world. */
export interface ProcessWorld {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Default: silent. */
  readonly log?: Log;
  /** Decides when a commit of storage ends. Default: `storage.step`. */
  readonly schedule?: (complete: () => void) => void;
  /** Sees the parts before the member is built of them. */
  readonly opened?: (parts: MemberParts) => void;
  /** Who the member is when it has no log yet. Default: a member of the new cluster that the settings describe. */
  readonly identity?: Bootstrap;
  /** The way of services to the leader. Default: none. */
  readonly leaderLink?: LeaderLink;
  /** Over the options that follow from the settings. */
  readonly memberOptions?: Partial<MemberOptions>;
}

export class SimulatedMachine {
  readonly disk: SimDisk;
  readonly databases: SimulatedDatabases;
  readonly config: Config;
  readonly #random: Random;
  readonly #segmentBytes: number;
  member: Member = null as never;
  parts: MemberParts = null as never;
  /** What the member reported as the reason to end the process. */
  failure: Error | null = null;
  isReady = false;
  /** The member has learnt that it is none any more. */
  isRemoved = false;
  /** Which run of the process this is. */
  #run = 0;
  #methods: ReadonlyMap<string, Method> = new Map();

  constructor(options: SimulatedMachineOptions) {
    this.#random = options.random;
    this.#segmentBytes = options.segmentBytes ?? 2 * 1024 * 1024;
    this.disk = new SimDisk({
      random: options.random,
      ...(options.defer === undefined ? {} : { defer: options.defer }),
    });
    this.disk.makeDirectory("/data");
    this.disk.makeDirectory(MEMBER_DIRECTORY);
    this.databases = new SimulatedDatabases(this.disk, MEMBER_DIRECTORY);
    this.disk.syncDirectory("/");
    this.disk.syncDirectory("/data");
    const settings = { name: "m", "data-dir": "/data", ...options.settings };
    this.config = configOf(new Map(Object.entries(settings)), true);
  }

  get image(): MemoryImage {
    return this.databases.image;
  }

  /** The database in use. */
  get storage(): MemoryStorage {
    return this.member.backend.storage as MemoryStorage;
  }

  worldOf(process: ProcessWorld): World {
    const log = process.log ?? silentLog;
    return {
      disk: this.disk,
      clock: process.clock,
      timers: process.timers,
      random: this.#random,
      log,
      raftLog: log,
      segmentBytes: this.#segmentBytes,
    };
  }

  /**
   * Opens the parts over what is there, the log made first if there is none. Resolves to null if the process has ended
   * meanwhile, and never if that ended a write it waits for.
   */
  async openOver(process: ProcessWorld): Promise<Member | null> {
    const run = ++this.#run;
    const world = this.worldOf(process);
    const identify = (): Promise<Bootstrap> => Promise.resolve(process.identity ?? identityOf(this.config));
    const directory = this.config.walDirectory;
    if (!Wal.exists({ disk: this.disk, directory })) createLog(await identify(), directory, world);
    this.failure = null;
    this.isReady = false;
    const parts = await openMember({
      config: this.config,
      storages: this.databases.open(process.schedule),
      databases: this.databases,
      indexPath: `${MEMBER_DIRECTORY}/index`,
      world,
      identify,
    });
    if (run !== this.#run) return null;
    process.opened?.(parts);
    this.parts = parts;
    const tokens = new SimpleTokens({ clock: world.clock, random: this.#random, ttlMs: TOKEN_TTL_MS });
    const credentials = { tokens, passwords: plainPasswords };
    const options = { ...memberOptionsOf(this.config, world, ALONE, credentials), ...process.memberOptions };
    this.member = new Member(parts, options, {
      flush: () => {},
      failed: (error) => {
        if (run === this.#run) this.failure ??= error;
      },
      ready: () => {
        this.isReady = true;
      },
      removed: () => {
        if (run === this.#run) this.isRemoved = true;
      },
      resting: () => {},
    });
    this.#methods = new Map(
      allMethods(this.member, {
        ...this.config,
        leaderLink: process.leaderLink ?? NO_LEADER_LINK,
        clientRequests: () => new Counter(),
      }),
    );
    return this.member;
  }

  /** Power fails: the disk forgets what was not synced. */
  crash(): void {
    this.#run++;
    this.disk.crash();
    this.databases.crash();
  }

  /** kill -9: the system keeps what was written. */
  kill(): void {
    this.#run++;
    this.disk.kill();
    this.databases.crash();
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

  openStream(path: string, call: FakeCall = new FakeCall(path)): FakeStream {
    const method = this.#methods.get(path)!;
    assert(method !== undefined && method.kind === "stream", "the method is a stream");
    return new FakeStream(call, method.open(call));
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

/** A member of a new cluster, as the settings describe it. */
export function identityOf(config: Config): Bootstrap {
  const members = config.initialCluster.map(({ name, peerUrls }) => {
    const id = memberIdOf(peerUrls, config.initialClusterToken);
    return { id, peerUrls, isLearner: false, name, clientUrls: [] };
  });
  const own = members.find((each) => each.name === config.name);
  assert(own !== undefined, "the settings describe the member itself");
  const clusterId = clusterIdOf(members.map(({ id }) => id));
  return { kind: "new", memberId: own.id, clusterId, members, token: config.initialClusterToken };
}

/** A machine without others. */
const ALONE = {
  network: (): PeerNetwork => ({
    send: () => {},
    flush: () => {},
    addPeer: () => {},
    addRemote: () => {},
    removePeer: () => {},
    activeSinceMs: () => null,
    stop: () => {},
  }),
  askVersions: () => {},
};
