/**
 * The small requests we make to other members: who is in the cluster, which versions, hashes of the store, and what only a
 * leader can do for a follower's clients (raft-and-peers.md §4.9). Each takes a connection of its own, but for keep-alives.
 *
 * Several URLs of one member are tried in turn until one answers. Nothing follows a redirect (MB-18), and no answer is read
 * beyond its limit. What went wrong is a value, never a rejection.
 */
import type { Agent, OutgoingHttpHeaders } from "node:http";
import {
  LeaseInternalRequest,
  LeaseInternalResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
} from "@quorate/api/messages";
import { decodeMember, idText, type Member } from "@quorate/membership";
import type { Timers } from "@quorate/world";
import { parseUrls, type ServiceUrl } from "../config/urls.ts";
import type { Credentials } from "../tls/credentials.ts";
import { headerOf, idOf } from "./compatibility.ts";
import { Dialer } from "./dialer.ts";
import type { FollowedRequests } from "./peer-observer.ts";
import {
  type DowngradeOutcome,
  type HashKvOutcome,
  type KeepAliveOutcome,
  PEER_TEXTS,
  type PromoteOutcome,
  type TimeToLiveOutcome,
} from "./peer-requests.ts";
import { readSmallBody } from "./small-body.ts";

/** No member answered: refused, timed out, or something that is not what was asked for. */
export interface Unreachable {
  readonly kind: "unreachable";
  /** Of the last URL tried. */
  readonly message: string;
}

export type MembersOutcome =
  | { readonly kind: "answered"; readonly clusterId: bigint; readonly members: readonly Member[] }
  | Unreachable;

export type VersionOutcome =
  | {
      readonly kind: "answered";
      readonly server: string;
      /** null: not decided yet. */
      readonly cluster: string | null;
      /** null: not known to the member, or too old a member. */
      readonly storage: string | null;
    }
  | Unreachable;

export interface PeerClientOptions {
  readonly tls: Credentials;
  readonly electionTimeoutMs: number;
  readonly timers: Timers;
  /** Default: nobody follows them. */
  readonly followed?: FollowedRequests;
}

interface Answer {
  readonly status: number;
  readonly clusterId: bigint | null;
  readonly body: Buffer;
}

interface Ask {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Uint8Array;
  readonly limitMs: number;
  readonly limitBytes?: number;
  /** Asked often: the connection is kept for the next one. */
  readonly isFrequent?: boolean;
}

/** Thousands of members, or a version with a long suffix. */
const ANSWER_SILENCE_MS = 5_000;
const ANSWER_BYTES = 4 * 1024 * 1024;
/** Keep-alives of a follower's clients that are under way to the leader at once; the others wait their turn. */
const FREQUENT_CONNECTIONS = 16;
/** All keys of a lease; etcd's limit. */
const LEASE_ANSWER_BYTES = 100 * 1024 * 1024;

export class PeerClient {
  readonly #dialer: Dialer;
  readonly #timers: Timers;
  /** Of the URL asked frequently, the leader's. */
  #agent: { readonly url: string; readonly agent: Agent } | null = null;

  constructor({ tls, electionTimeoutMs, timers, followed }: PeerClientOptions) {
    this.#dialer = new Dialer(tls, electionTimeoutMs, timers, followed);
    this.#timers = timers;
  }

  /** The first of the URLs to name a cluster with members is believed. */
  members(urls: readonly string[], limitMs: number): Promise<MembersOutcome> {
    return this.#ask(urls, { method: "GET", path: "/members", limitMs }, ({ status, clusterId, body }) => {
      if (status !== 200 || clusterId === null) return null;
      const members = membersIn(body);
      return members === null || members.length === 0 ? null : { kind: "answered", clusterId, members };
    });
  }

  version(urls: readonly string[], limitMs: number): Promise<VersionOutcome> {
    return this.#ask(urls, { method: "GET", path: "/version", limitMs }, ({ status, body }) => {
      const said = status === 200 ? objectIn(body) : null;
      if (typeof said?.etcdserver !== "string") return null;
      const version = (value: unknown, unknownText: string): string | null =>
        typeof value !== "string" || value === "" || value === unknownText ? null : value;
      return {
        kind: "answered",
        server: said.etcdserver,
        cluster: version(said.etcdcluster, "not_decided"),
        storage: version(said.storage, "unknown"),
      };
    });
  }

  /** `token`: of the user who asked us. */
  promote(
    urls: readonly string[],
    id: bigint,
    token: string | null,
    limitMs: number,
  ): Promise<PromoteOutcome | Unreachable> {
    const headers = token === null ? {} : { Authorization: token };
    const ask: Ask = { method: "POST", path: `/members/promote/${id}`, headers, limitMs };
    return this.#ask(urls, ask, ({ status, body }): PromoteOutcome | null => {
      const text = textOf(body);
      if (status === 404) return { kind: "not found" };
      if (status === 412 && text.includes(PEER_TEXTS.learnerNotReady)) return { kind: "not in sync" };
      if (status === 412 && text.includes(PEER_TEXTS.notLearner)) return { kind: "not a learner" };
      if (status !== 200) return { kind: "failed", message: `member promote: unknown error(${text})` };
      const members = membersIn(body);
      return members === null ? null : { kind: "promoted", members };
    });
  }

  hashKv(
    urls: readonly string[],
    clusterId: bigint,
    revision: number,
    limitMs: number,
  ): Promise<HashKvOutcome | { readonly kind: "cluster mismatch" } | Unreachable> {
    const ask: Ask = {
      method: "GET",
      path: "/members/hashkv",
      headers: { "Content-Type": "application/json", "X-Etcd-Cluster-ID": idText(clusterId) },
      body: Buffer.from(revision === 0 ? "{}" : JSON.stringify({ revision })),
      limitMs,
    };
    return this.#ask(urls, ask, ({ status, body }): HashKvOutcome | { kind: "cluster mismatch" } | null => {
      const text = textOf(body);
      if (status === 400 && text.includes(PEER_TEXTS.compacted)) return { kind: "compacted" };
      if (status === 400 && text.includes(PEER_TEXTS.futureRevision)) return { kind: "future revision" };
      if (status === 412 && text.includes(PEER_TEXTS.clusterMismatch)) return { kind: "cluster mismatch" };
      if (status !== 200) return { kind: "failed", message: `unknown error: ${text}` };
      const said = objectIn(body);
      if (said === null) return null;
      const header = said.header as Record<string, unknown> | undefined;
      return {
        kind: "hashed",
        hashed: {
          revision: numberIn(header?.revision),
          hash: numberIn(said.hash),
          compactRevision: numberIn(said.compact_revision),
          hashRevision: numberIn(said.hash_revision),
        },
      };
    });
  }

  leaseKeepAlive(urls: readonly string[], id: bigint, limitMs: number): Promise<KeepAliveOutcome | Unreachable> {
    const ask: Ask = {
      method: "POST",
      path: "/leases",
      headers: PROTOBUF,
      body: LeaseKeepAliveRequest.encode({ ID: id }),
      limitMs,
      isFrequent: true,
    };
    return this.#ask(urls, ask, ({ status, body }): KeepAliveOutcome | null => {
      const refusal = leaseRefusal(status, body);
      if (refusal !== null) return refusal;
      const { ID, TTL } = LeaseKeepAliveResponse.decode(body);
      return ID === id ? { kind: "renewed", ttlSeconds: TTL } : null;
    });
  }

  leaseTimeToLive(
    urls: readonly string[],
    id: bigint,
    withKeys: boolean,
    limitMs: number,
  ): Promise<TimeToLiveOutcome | Unreachable> {
    const ask: Ask = {
      method: "POST",
      path: "/leases/internal",
      headers: PROTOBUF,
      body: LeaseInternalRequest.encode({ LeaseTimeToLiveRequest: { ID: id, keys: withKeys } }),
      limitMs,
      limitBytes: LEASE_ANSWER_BYTES,
    };
    return this.#ask(urls, ask, ({ status, body }): TimeToLiveOutcome | null => {
      const refusal = leaseRefusal(status, body);
      if (refusal !== null) return refusal;
      const said = LeaseInternalResponse.decode(body).LeaseTimeToLiveResponse;
      if (said?.ID !== id) return null;
      return { kind: "found", ttlSeconds: said.TTL, grantedTtlSeconds: said.grantedTTL, keys: said.keys };
    });
  }

  downgradeEnabled(urls: readonly string[], limitMs: number): Promise<DowngradeOutcome | Unreachable> {
    return this.#ask(
      urls,
      { method: "GET", path: "/downgrade/enabled", limitMs },
      ({ body }): DowngradeOutcome | null => {
        const text = textOf(body);
        return text === "true" || text === "false" ? { kind: "answered", isEnabled: text === "true" } : null;
      },
    );
  }

  /** `read` gives null for what is not an answer to the question, or throws because it cannot be decoded. */
  async #ask<T>(urls: readonly string[], ask: Ask, read: (answer: Answer) => T | null): Promise<T | Unreachable> {
    let message = "no URLs";
    for (const text of urls) {
      try {
        const [url] = parseUrls(text);
        if (url === undefined) continue;
        const answer = await this.#answerOf(url, ask);
        const outcome = read(answer);
        if (outcome !== null) return outcome;
        message = `${text}${ask.path} answered with status ${answer.status} and nothing of use`;
      } catch (error) {
        message = `${text}${ask.path}: ${(error as Error).message}`;
      }
    }
    return { kind: "unreachable", message };
  }

  #agentFor(url: ServiceUrl): Agent {
    if (this.#agent?.url === url.text) return this.#agent.agent;
    // The old agent's connections are closed when they have been idle for a while.
    this.#agent = { url: url.text, agent: this.#dialer.keepAlive(url, FREQUENT_CONNECTIONS) };
    return this.#agent.agent;
  }

  #answerOf(url: ServiceUrl, ask: Ask): Promise<Answer> {
    const { method, path, body, limitMs, limitBytes } = ask;
    return new Promise((resolve, reject) => {
      const length = body === undefined && method === "GET" ? {} : { "Content-Length": body?.length ?? 0 };
      const headers = { ...ask.headers, ...length };
      const agent = ask.isFrequent ? { agent: this.#agentFor(url) } : {};
      const request = this.#dialer.request(url, { method, path, headers, ...agent });
      const timer = this.#timers.after(limitMs, () => request.destroy(new Error("request timed out")));
      request.on("error", reject);
      request.on("close", () => {
        timer.cancel();
        reject(new Error("connection closed"));
      });
      request.on("response", (response) => {
        const limits = { silenceMs: ANSWER_SILENCE_MS, sizeBytes: limitBytes ?? ANSWER_BYTES };
        readSmallBody(response, limits, (bytes, problem) => {
          if (bytes === null) {
            reject(new Error(`the answer is ${problem}`));
            request.destroy();
          } else {
            const clusterId = idOf(headerOf(response.headers, "x-etcd-cluster-id"));
            resolve({ status: response.statusCode ?? 0, clusterId, body: bytes });
          }
        });
      });
      request.end(body);
    });
  }
}

const PROTOBUF: OutgoingHttpHeaders = { "Content-Type": "application/protobuf" };

function leaseRefusal(
  status: number,
  body: Buffer,
): { readonly kind: "not found" } | { readonly kind: "timed out" } | { kind: "failed"; message: string } | null {
  if (status === 408) return { kind: "timed out" };
  if (status === 404) return { kind: "not found" };
  return status === 200 ? null : { kind: "failed", message: `lease: unknown error(${textOf(body)})` };
}

function textOf(body: Buffer): string {
  return body.toString("utf8").trimEnd();
}

function objectIn(body: Buffer): Record<string, unknown> | null {
  const parsed: unknown = JSON.parse(body.toString("utf8"));
  return typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : null;
}

function numberIn(value: unknown): number {
  return typeof value === "number" ? value : 0;
}

/** null: not a list. Throws if one of them is not a member. */
function membersIn(body: Buffer): Member[] | null {
  const text = body.toString("utf8");
  const parsed: unknown = JSON.parse(text);
  if (!Array.isArray(parsed)) return null;
  // The ids are beyond what numbers hold, so each member is cut out of the text and read as one.
  return elementsIn(text).map((each) => decodeMember(each));
}

/** The objects of a JSON list that has been parsed before, as they are written. */
function elementsIn(list: string): string[] {
  const elements: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < list.length; i++) {
    const at = list[i];
    if (at === '"') {
      for (i++; list[i] !== '"'; i++) if (list[i] === "\\") i++;
    } else if (at === "{") {
      if (depth++ === 0) start = i;
    } else if (at === "}" && --depth === 0) {
      elements.push(list.slice(start, i + 1));
    }
  }
  return elements;
}
