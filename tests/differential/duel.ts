/**
 * Two servers under the same requests: an etcd, which is right, and ours.
 *
 *   generator ── step ──▶ both, at once ──▶ answers ── compare ──▶ known state ──▶ generator
 *
 * One step at a time, and each change is waited for on a watch of everything on both servers, so that what is known, and
 * with it the whole run, depends on the seed alone.
 */
import assert from "node:assert/strict";
import {
  type CompactionRequest,
  CompactionRequest as CompactionRequestType,
  CompactionResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  type ResponseHeader,
  StatusRequest,
  StatusResponse,
} from "@quorate/api/messages";
import { ServerProcess } from "../harness/processes.ts";
import { type Answer, comparable, comparableHeader, decodeAnswer } from "./answers.ts";
import { Connection, type Stream } from "./connection.ts";
import { askedOfReference, corrected, isBefore, knownDifferences } from "./differences.ts";
import { Generator, type Step } from "./generator.ts";
import { History } from "./history.ts";
import { KnownState } from "./known-state.ts";
import { type Operation, operation, showOperation } from "./operation.ts";
import { Seeded } from "./seeded.ts";
import { show } from "./show.ts";
import { WatchPair } from "./watching.ts";

const COMPACT = "/etcdserverpb.KV/Compact";
const ALARM = "/etcdserverpb.Maintenance/Alarm";
const HASH_KV = "/etcdserverpb.Maintenance/HashKV";
const KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive";
/** Calls that may change the store; their headers tell its revision. */
const WRITES = ["KV/Put", "KV/DeleteRange", "KV/Txn", "Lease/LeaseRevoke"].map((name) => `/etcdserverpb.${name}`);
const SETTLE_EVERY_STEPS = 50;
const REMEMBERED_STEPS = 25;
const PATIENCE_MS = 10_000;

type Pair<T> = readonly [T, T];

export interface DuelOptions {
  readonly seed: number;
  readonly steps: number;
  /** Both servers are stopped and started again after so many steps. Default: never. */
  readonly restartEvery?: number;
}

export class Duel {
  readonly #options: DuelOptions;
  readonly #known = new KnownState();
  readonly #generator: Generator;
  readonly #recent: string[] = [];
  #step = 0;
  #servers: Pair<ServerProcess>;
  /** Those of the first start, to whom the directories belong. */
  readonly #owners: Pair<ServerProcess>;
  #connections!: Pair<Connection>;
  #watching: WatchPair[] = [];
  #history!: History;
  #keepAlive!: Pair<Stream>;

  private constructor(options: DuelOptions, servers: Pair<ServerProcess>) {
    this.#options = options;
    this.#servers = servers;
    this.#owners = servers;
    this.#generator = new Generator(new Seeded(options.seed), this.#known, (stream) => this.#watching[stream]!.ids);
  }

  /** Starts both servers, takes all the steps and compares all the answers. Throws AssertionError at the first that differs. */
  static async fight(options: DuelOptions): Promise<void> {
    const servers = await startBoth(() => [ServerProcess.etcd(), ServerProcess.quorate()]);
    const duel = new Duel(options, servers);
    try {
      await duel.#fight();
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      throw new Error(duel.#describe(problem), { cause: error });
    } finally {
      for (const connection of duel.#connections ?? []) connection.close();
      await both(duel.#servers, (server) => server.dispose());
      await both(duel.#owners, (server) => server.dispose());
    }
  }

  async #fight(): Promise<void> {
    const { steps, restartEvery = Number.POSITIVE_INFINITY } = this.#options;
    let isRestartDue = false;
    await this.#open();
    while (this.#step < steps) {
      this.#step++;
      const step = this.#generator.next();
      this.#remember(step);
      await this.#take(step);
      if (this.#step % SETTLE_EVERY_STEPS === 0) await this.#settle();
      isRestartDue ||= this.#step % restartEvery === 0;
      // Not while an alarm is raised: a server with one is not healthy, and would not be found ready.
      if (isRestartDue && this.#generator.isFree) {
        isRestartDue = false;
        await this.#restart();
      }
    }
    await this.#settle();
    // A watch goes on when the client has nothing more to ask.
    for (const pair of this.#watching) pair.halfClose();
    await this.#call(this.#generator.change());
    await this.#settle();
  }

  async #take(step: Step): Promise<void> {
    switch (step.kind) {
      case "call":
        return this.#call(step.operation);
      case "grantAnyId":
        return this.#grantAnyId(step.ttlSeconds);
      case "keepAlive":
        return this.#renew(step.id);
      case "watchCreate":
        await this.#settleCompaction();
        return this.#watching[step.stream]!.create(step.request);
      case "watchCancel":
        return this.#watching[step.stream]!.cancel(step.id);
      case "watchProgress":
        return this.#watching[step.stream]!.progress();
      case "watchNothing":
        return this.#watching[step.stream]!.sendNothing();
      default:
        return step satisfies never;
    }
  }

  async #call(op: Operation): Promise<void> {
    // What a watcher or a hash finds depends on how far an earlier compaction has come.
    const isCompaction = op.path === COMPACT;
    if (isCompaction) await History.untilWatchersAreSynced(this.#connections, this.#known);
    if (isCompaction) await this.#settle();
    // A compaction under way could not be waited for while an alarm refuses others.
    if (isCompaction || op.path === HASH_KV || op.path === ALARM) await this.#settleCompaction();
    const [theirs, ours] = await this.#ask(op);
    const right = corrected(op, theirs, this.#known.version);
    const [expected, actual] = [comparable(op, right, ours), comparable(op, ours, right)];
    if (expected !== actual && !this.#isKnownDifference(op, theirs, ours)) {
      assert.equal(actual, expected, showOperation(op));
    }
    if (theirs.response !== null) await this.#learn(op, theirs.response);
  }

  async #ask(op: Operation): Promise<Pair<Answer>> {
    const operations = [askedOfReference(op, this.#known.version), op] as const;
    return await both([0, 1] as const, async (side) => {
      const { path, kind, bytes } = operations[side];
      const connection = this.#connections[side];
      const ending = await (kind === "unary" ? connection.unary(path, bytes) : connection.serverStream(path, bytes));
      return decodeAnswer(operations[side], ending);
    });
  }

  #isKnownDifference(op: Operation, theirs: Answer, ours: Answer): boolean {
    return knownDifferences.some(
      (each) => isBefore(this.#known.version, each.before) && each.covers?.(op, theirs, ours),
    );
  }

  async #learn(op: Operation, response: object): Promise<void> {
    const known = this.#known;
    const request = op.requestType.decode(op.bytes);
    const { header } = response as { header?: ResponseHeader };
    if (WRITES.includes(op.path) && header!.revision > known.revision) {
      known.revision = header!.revision;
      await this.#history.reach(known.revision);
    }
    switch (op.responseType as unknown) {
      case CompactionResponse: {
        const { revision, physical } = request as CompactionRequest;
        known.compactRevision = revision;
        known.isCompactionSettled = physical;
        return;
      }
      case LeaseGrantResponse: {
        const { ID: id, TTL: ttlSeconds } = response as LeaseGrantResponse;
        known.leases.push({ id, ttlSeconds });
        return;
      }
      case LeaseRevokeResponse: {
        const { ID } = request as LeaseRevokeRequest;
        known.leases = known.leases.filter((each) => each.id !== ID);
        return;
      }
      default:
    }
  }

  async #grantAnyId(TTL: number): Promise<void> {
    const grant = operation("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest, LeaseGrantResponse, { TTL });
    const answers = await this.#ask(grant);
    const [theirs, ours] = answers.map(({ response, code, message }) => {
      const { ID = 0n, TTL: granted = 0, header } = (response ?? {}) as Partial<LeaseGrantResponse>;
      return show({ code, message, isPositive: ID > 0n, granted, header: comparableHeader(header) });
    });
    assert.equal(ours, theirs, "a lease whose id the server picks");
    await both([0, 1] as const, async (side) => {
      const { ID } = answers[side].response as LeaseGrantResponse;
      const request = LeaseRevokeRequest.encode({ ID });
      const { code } = await this.#connections[side].unary("/etcdserverpb.Lease/LeaseRevoke", request);
      assert.equal(code, 0, "the revoke of a lease whose id the server picked");
    });
  }

  async #renew(ID: bigint): Promise<void> {
    const answers = await both(this.#keepAlive, async (stream) => {
      stream.send(LeaseKeepAliveRequest.encode({ ID }));
      const isThere = await stream.until(() => stream.messages.length > 0, PATIENCE_MS);
      assert.ok(isThere, "a keep-alive is answered");
      const response = LeaseKeepAliveResponse.decode(stream.messages.pop()!);
      return show({ ...response, header: comparableHeader(response.header) });
    });
    assert.equal(answers[1], answers[0], `the keep-alive of lease ${ID}`);
  }

  // --- waiting

  async #settle(): Promise<void> {
    for (const pair of this.#watching) await pair.settle();
  }

  /** A compaction that is refused with `physical` is refused after all earlier ones are done. */
  async #settleCompaction(): Promise<void> {
    const { compactRevision: revision, isCompactionSettled } = this.#known;
    if (isCompactionSettled) return;
    const request = CompactionRequestType.encode({ revision, physical: true });
    await both(this.#connections, (connection) => connection.unary(COMPACT, request));
    this.#known.isCompactionSettled = true;
  }

  // --- the servers

  async #open(): Promise<void> {
    const connections = this.#servers.map((server) => new Connection(server.endpoint)) as unknown as Pair<Connection>;
    this.#connections = connections;
    this.#watching = Array.from({ length: Generator.streams }, () => new WatchPair(connections, this.#known));
    this.#keepAlive = [connections[0].stream(KEEP_ALIVE), connections[1].stream(KEEP_ALIVE)];
    const status = await connections[0].unary("/etcdserverpb.Maintenance/Status", StatusRequest.encode({}));
    this.#known.version = StatusResponse.decode(status.messages[0]!).version;
    this.#history = await History.open(connections, this.#known);
  }

  /**
   * Everything acknowledged is there again, leases begin anew, watchers are gone. Ours is killed; etcd is asked to stop,
   * because a killed 3.4 may apply an entry twice.
   */
  async #restart(): Promise<void> {
    await this.#settle();
    await this.#settleCompaction();
    for (const connection of this.#connections) connection.close();
    this.#recent.push("        both servers are stopped and started again");
    const [theirs, ours] = this.#servers;
    await Promise.all([theirs.kill("SIGTERM"), ours.kill("SIGKILL")]);
    this.#servers = await startBoth(() => [
      ServerProcess.etcd({ directory: theirs.directory, ports: theirs.ports }),
      ServerProcess.quorate({ directory: ours.directory, ports: ours.ports }),
    ]);
    await this.#open();
  }

  // --- for whoever must find out what went wrong

  #remember(step: Step): void {
    const text = step.kind === "call" ? showOperation(step.operation) : show(step);
    this.#recent.push(`${String(this.#step).padStart(6)}  ${text}`);
    if (this.#recent.length > REMEMBERED_STEPS) this.#recent.shift();
  }

  #describe(problem: string): string {
    const { seed } = this.#options;
    return [
      `etcd ${this.#known.version} and Quorate differ at step ${this.#step} of seed ${seed}: ${problem}`,
      "",
      `revision ${this.#known.revision}, compacted ${this.#known.compactRevision}; the last steps were`,
      ...this.#recent,
      "",
      `replay with DIFFERENTIAL_SEED=${seed} DIFFERENTIAL_OPS=${this.#step}`,
    ].join("\n");
  }
}

/** Both or none: a server left behind would outlive the test. */
async function startBoth(start: () => Pair<Promise<ServerProcess>>): Promise<Pair<ServerProcess>> {
  const [theirs, ours] = await Promise.allSettled(start());
  if (theirs.status === "fulfilled" && ours.status === "fulfilled") return [theirs.value, ours.value];
  for (const each of [theirs, ours]) if (each.status === "fulfilled") await each.value.dispose();
  throw theirs.status === "rejected" ? theirs.reason : (ours as PromiseRejectedResult).reason;
}

async function both<From, To>(pair: Pair<From>, ask: (each: From) => Promise<To>): Promise<Pair<To>> {
  return await Promise.all([ask(pair[0]), ask(pair[1])]);
}
