/**
 * What stands before every method: which calls a learner serves, who the client says it is, what `hasleader: true` asks for
 * (semantics §2.1, §11.5), and who may call it. One place, so that no method can forget it; a leader's calls pass by one
 * comparison and one count.
 *
 *   call ─▶ learner? ─▶ client's version is text? ─▶ requires a leader and none is known? ─▶ gate.ts: may the caller? ─▶ method
 *                                 └ a stream that goes on ─▶ watched: three election timeouts without a leader end it
 *
 * Order and texts are etcd's.
 */
import { RangeView } from "@quorate/api";
import { MalformedMessage } from "@quorate/api/wire";
import { NO_NODE } from "@quorate/raft";
import type { Method, ServerCall, StreamHandler } from "@quorate/rpc";
import { failWith } from "../answer.ts";
import type { Member } from "../member/member.ts";
import { type CallType, type ClientRequestCounter, ClientVersions } from "./client-versions.ts";
import { Gate } from "./gate.ts";
import { LeaderMonitor } from "./leader-monitor.ts";

const STATUS = "/etcdserverpb.Maintenance/Status";
const RANGE = "/etcdserverpb.KV/Range";
const SNAPSHOT = "/etcdserverpb.Maintenance/Snapshot";
const REQUIRE_LEADER = "hasleader";

export interface AdmissionOptions {
  /** Where calls are counted, by the version their client tells. */
  readonly clientRequests: ClientRequestCounter;
}

/** The methods, behind the gate. */
export function admitted(
  member: Member,
  options: AdmissionOptions,
  methods: readonly [string, Method][],
): [string, Method][] {
  const admission = new Admission(member, options);
  const gate = new Gate(member);
  return methods.map(([path, method]) => [path, admission.guard(path, gate.guard(path, method))]);
}

class Admission {
  readonly #member: Member;
  readonly #monitor: LeaderMonitor;
  readonly #clients: ClientVersions;
  readonly #range = new RangeView();

  constructor(member: Member, { clientRequests }: AdmissionOptions) {
    this.#member = member;
    this.#clients = new ClientVersions(clientRequests);
    this.#monitor = new LeaderMonitor(member);
  }

  guard(path: string, method: Method): Method {
    switch (method.kind) {
      case "unary":
        return {
          kind: "unary",
          handle: (call, buffer, start, end) => {
            if (this.#admitsUnary(path, call, buffer, start, end)) method.handle(call, buffer, start, end);
          },
        };
      case "serverStream":
        return {
          kind: "serverStream",
          handle: (call, buffer, start, end) => {
            if (this.#admitsStream(path, call)) method.handle(call, buffer, start, end);
          },
        };
      case "stream":
        return { kind: "stream", open: (call) => (this.#admitsStream(path, call) ? method.open(call) : REFUSED) };
      default:
        return method satisfies never;
    }
  }

  /** Hot. Who leads is no learner and has a leader. */
  #admitsUnary(path: string, call: ServerCall, buffer: Uint8Array, start: number, end: number): boolean {
    const member = this.#member;
    if (member.isLeader) return this.#isCounted(call, "unary");
    if (member.isLearner && path !== STATUS && !(path === RANGE && this.#isSerializable(buffer, start, end))) {
      failWith(call, "NotSupportedForLearner");
      return false;
    }
    return this.#isCounted(call, "unary") && this.#hasLeader(call);
  }

  #admitsStream(path: string, call: ServerCall): boolean {
    if (this.#member.isLearner && path !== SNAPSHOT) {
      failWith(call, "NotSupportedForLearner");
      return false;
    }
    if (!this.#isCounted(call, "stream") || !this.#hasLeader(call)) return false;
    if (requiresLeader(call)) this.#monitor.watch(call);
    return true;
  }

  #isCounted(call: ServerCall, type: CallType): boolean {
    const isText = this.#clients.admits(call, type);
    if (!isText) failWith(call, "InvalidClientApiVersion");
    return isText;
  }

  #hasLeader(call: ServerCall): boolean {
    if (this.#member.leader !== NO_NODE || !requiresLeader(call)) return true;
    failWith(call, "NoLeader");
    return false;
  }

  /** What cannot be read is for the method to refuse. */
  #isSerializable(buffer: Uint8Array, start: number, end: number): boolean {
    try {
      this.#range.decode(buffer, start, end);
      return this.#range.serializable;
    } catch (error) {
      if (error instanceof MalformedMessage) return true;
      throw error;
    }
  }
}

function requiresLeader(call: ServerCall): boolean {
  return call.metadata(REQUIRE_LEADER) === "true";
}

/** Of a call that has been answered. */
const REFUSED: StreamHandler = { message: () => {}, halfClosed: () => {} };
