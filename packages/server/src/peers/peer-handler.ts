/**
 * What the peer port answers: raft's requests (raft-and-peers.md §4.2, §4.3, §4.7, §4.8) and the small questions of other
 * members (§4.9), with etcd's order of checks, statuses and texts. HTTP alone is here; messages and streams go to the
 * transport, questions to the member.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  LeaseInternalRequest,
  LeaseInternalResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
} from "@quorate/api/messages";
import { MalformedMessage as MalformedProto } from "@quorate/api/wire";
import { encodeMember, idText, type Member } from "@quorate/membership";
import { decodeMessage, MalformedMessage, type Message, type NodeId } from "@quorate/raft";
import { type HttpResponse, json, text } from "../http/endpoints.ts";
import { UNKNOWN_SNAPSHOT_SENDER } from "../metrics/peer-metrics.ts";
import { headerOf, idOf, incompatibilityOf } from "./compatibility.ts";
import { POSTED_BYTES, POSTED_MESSAGE_BYTES } from "./limits.ts";
import { type HashKv, PEER_TEXTS, type PeerRequests } from "./peer-requests.ts";
import type { PeerSurroundings, Received } from "./peer-surroundings.ts";
import { readSmallBody } from "./small-body.ts";
import type { SnapshotReceiver } from "./snapshot-receiver.ts";
import type { StreamKind } from "./stream-writer.ts";

/** The transport, as the peer port sees it. */
export interface StreamsOfPeers {
  hasPeer(id: NodeId): boolean;
  isRemoved(id: NodeId): boolean;
  /** A sender that introduces itself. Ignored if it is known, or says nonsense. */
  introduce(id: NodeId, urls: readonly string[]): void;
  /** The head has been sent. */
  attach(id: NodeId, kind: StreamKind, response: ServerResponse): void;
}

/** As on the client port, or with bytes for a body. */
type PeerAnswer = Omit<HttpResponse, "body"> & { readonly body: string | Uint8Array };
type Respond = (answer: PeerAnswer) => void;

/** After an answer to a request that has not ended, the rest of it may come for so long, and is thrown away. */
const LINGER_MS = 500;
const PROMOTE = "/members/promote/";
const NOT_FOUND: HttpResponse = text(404, "404 page not found\n");

export class PeerHandler {
  readonly #around: PeerSurroundings;
  readonly #streams: StreamsOfPeers;
  readonly #requests: PeerRequests;
  readonly #snapshots: SnapshotReceiver;
  /** What the messages that are being posted may take together. */
  #reservedBytes = 0;

  constructor(around: PeerSurroundings, streams: StreamsOfPeers, requests: PeerRequests, snapshots: SnapshotReceiver) {
    this.#around = around;
    this.#streams = streams;
    this.#requests = requests;
    this.#snapshots = snapshots;
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? "").replace(/\?.*$/s, "");
    response.on("error", ignoreReset);
    request.on("error", ignoreReset);
    const respond: Respond = (answer) => this.#send(request, response, answer);
    if (path === "/raft") this.#message(request, respond);
    else if (path === "/raft/snapshot") this.#snapshot(request, respond);
    else if (path === "/raft/probing") respond(this.#probe());
    else if (path.startsWith("/raft/stream/")) this.#stream(path, request, response, respond);
    else if (path === "/members") this.#allow("GET", request, respond, () => respond(this.#members()));
    else if (path === "/members/hashkv") this.#allow("GET", request, respond, () => this.#hashKv(request, respond));
    else if (path.startsWith(PROMOTE)) {
      this.#allow("POST", request, respond, () => this.#promote(path.slice(PROMOTE.length), request, respond));
    } else if (path === "/leases" || path === "/leases/internal") this.#lease(path, request, respond);
    else if (path === "/downgrade/enabled") this.#allow("GET", request, respond, () => this.#downgrade(respond));
    else if (path === "/version") {
      this.#allow("GET", request, respond, () => respond(json(200, this.#requests.versionBody())));
    } else respond(NOT_FOUND);
  }

  #allow(method: string, request: IncomingMessage, respond: Respond, go: () => void): void {
    if (request.method === method) go();
    else respond(withHeaders(METHOD_NOT_ALLOWED, { allow: method }));
  }

  #message(request: IncomingMessage, respond: Respond): void {
    this.#allow("POST", request, respond, () => {
      const reply: Respond = (answer) => respond(withHeaders(answer, this.#clusterId()));
      if (this.#isRefused(request, reply)) return;
      const reserved = reservationOf(request);
      if (this.#reservedBytes + reserved > POSTED_BYTES) return reply(text(503, "too many requests\n"));
      this.#reservedBytes += reserved;
      this.#introduceSender(request);
      const { log, local, metrics, news, timeouts } = this.#around;
      const address = request.socket.remoteAddress;
      const limits = { silenceMs: timeouts.readMs, sizeBytes: POSTED_MESSAGE_BYTES };
      readSmallBody(request, limits, (body) => {
        this.#reservedBytes -= reserved;
        if (body === null) {
          log.warn("failed to read Raft message", { "local-member-id": idText(local.memberId) });
          metrics.receiveFailures(address).add();
          reply(text(400, "error reading raft message\n"));
          return;
        }
        let message: Message;
        try {
          // A copy that is all of its memory: the body may be short, and of a pool.
          message = decodeMessage(new Uint8Array(body));
        } catch (error) {
          if (!(error instanceof MalformedMessage)) throw error;
          log.warn("failed to unmarshal Raft message", { "local-member-id": idText(local.memberId), error });
          metrics.receiveFailures(address).add();
          reply(text(400, "error unmarshalling raft message\n"));
          return;
        }
        metrics.receivedBytes(message.from).add(body.length);
        reply(answerTo(news.received(message, null)));
      });
    });
  }

  #snapshot(request: IncomingMessage, respond: Respond): void {
    const refuse: Respond = (answer) => {
      this.#around.metrics.snapshotsFrom(UNKNOWN_SNAPSHOT_SENDER).failures.add();
      respond(answer);
    };
    this.#allow("POST", request, refuse, () => {
      const reply: Respond = (answer) => respond(withHeaders(answer, this.#clusterId()));
      if (this.#isRefused(request, (answer) => refuse(withHeaders(answer, this.#clusterId())))) return;
      this.#introduceSender(request);
      // Rejects only for a bug of ours, which nothing here may catch.
      void this.#snapshots.receive(request).then(reply);
    });
  }

  #stream(path: string, request: IncomingMessage, response: ServerResponse, respond: Respond): void {
    const { local, log } = this.#around;
    this.#allow("GET", request, respond, () => {
      const headers = { "x-server-version": local.serverVersion, ...this.#clusterId() };
      const refuse = (status: number, body: string): void => respond(withHeaders(text(status, body), headers));
      if (this.#isRefused(request, (answer) => respond(withHeaders(answer, headers)))) return;
      const slash = path.lastIndexOf("/");
      const kind = kindOf(path.slice(0, slash));
      if (kind === null) return refuse(404, "invalid path\n");
      const from = idOf(path.slice(slash + 1));
      const fields = {
        "local-member-id": idText(local.memberId),
        "remote-peer-id-from": from === null ? path.slice(slash + 1) : idText(from),
      };
      if (from === null) {
        log.warn("failed to parse path into ID", fields);
        return refuse(404, "invalid from\n");
      }
      if (this.#streams.isRemoved(from)) {
        log.warn("rejected stream from remote peer because it was removed", fields);
        return refuse(410, "removed member\n");
      }
      if (!this.#streams.hasPeer(from)) {
        this.#introduce(from, request);
        log.warn("failed to find remote peer in cluster", { ...fields, "cluster-id": idText(local.clusterId) });
        return refuse(404, "error sender not found\n");
      }
      const to = headerOf(request.headers, "x-raft-to");
      if (to !== idText(local.memberId)) {
        log.warn("ignored streaming request; ID mismatch", { ...fields, "remote-peer-id-header": to });
        return refuse(412, "to field mismatch\n");
      }
      response.writeHead(200, headers);
      response.flushHeaders();
      request.resume();
      this.#streams.attach(from, kind, response);
    });
  }

  #isRefused(request: IncomingMessage, reply: Respond): boolean {
    const incompatibility = incompatibilityOf(this.#around.local, request.headers, this.#around.log);
    if (incompatibility !== null) reply(text(412, `${incompatibility}\n`));
    return incompatibility !== null;
  }

  #introduceSender(request: IncomingMessage): void {
    const from = idOf(headerOf(request.headers, "x-server-from"));
    if (from !== null) this.#introduce(from, request);
  }

  #introduce(from: NodeId, request: IncomingMessage): void {
    const urls = headerOf(request.headers, "x-peerurls");
    if (urls !== "") this.#streams.introduce(from, urls.split(","));
  }

  #probe(): HttpResponse {
    const now = new Date(this.#around.clock.wallMs()).toISOString();
    return {
      status: 200,
      headers: { "content-type": "text/plain; charset=utf-8" },
      body: `{"OK":true,"Now":"${now}"}\n`,
    };
  }

  #members(): PeerAnswer {
    return withHeaders(membersJson(this.#requests.members()), this.#clusterId());
  }

  #promote(idText: string, request: IncomingMessage, respond: Respond): void {
    const reply: Respond = (answer) => respond(withHeaders(answer, this.#clusterId()));
    const id = /^\d{1,20}$/.test(idText) ? BigInt(idText) : null;
    if (id === null || id >= 2n ** 64n) return reply(text(404, `member ${idText} not found in cluster\n`));
    const token = headerOf(request.headers, "authorization");
    this.#requests.promote(id, token === "" ? null : token, (outcome) => {
      if (outcome.kind !== "promoted") {
        const error = outcome.kind === "failed" ? outcome.message : outcome.kind;
        this.#around.log.warn("failed to promote a member", { "member-id": id.toString(16), error });
      }
      switch (outcome.kind) {
        case "promoted":
          return reply(membersJson(outcome.members));
        case "not found":
          return reply(text(404, `${PEER_TEXTS.memberNotFound}\n`));
        case "not a learner":
          return reply(text(412, `${PEER_TEXTS.notLearner}\n`));
        case "not in sync":
          return reply(text(412, `${PEER_TEXTS.learnerNotReady}\n`));
        case "failed":
          return reply(json(500, '{"message":"Internal Server Error"}'));
        default:
          return outcome satisfies never;
      }
    });
  }

  #hashKv(request: IncomingMessage, respond: Respond): void {
    const clusterId = headerOf(request.headers, "x-etcd-cluster-id");
    if (clusterId !== "" && clusterId !== idText(this.#around.local.clusterId)) {
      return respond(text(412, `${PEER_TEXTS.clusterMismatch}\n`));
    }
    readSmallBody(request, { silenceMs: this.#around.timeouts.readMs }, (body) => {
      if (body === null) return respond(text(400, "error reading body\n"));
      const revision = revisionIn(body.toString("utf8"));
      if (revision === null) return respond(text(400, "error unmarshalling request\n"));
      this.#requests.hashKv(revision, (outcome) => {
        switch (outcome.kind) {
          case "hashed":
            return respond(withHeaders(json(200, hashJson(outcome.hashed)), this.#clusterId()));
          case "compacted":
            return respond(text(400, `${PEER_TEXTS.compacted}\n`));
          case "future revision":
            return respond(text(400, `${PEER_TEXTS.futureRevision}\n`));
          case "failed":
            return respond(text(400, `${outcome.message}\n`));
          default:
            return outcome satisfies never;
        }
      });
    });
  }

  #lease(path: "/leases" | "/leases/internal", request: IncomingMessage, respond: Respond): void {
    // Without the header that names the method, as etcd does.
    if (request.method !== "POST") return respond(METHOD_NOT_ALLOWED);
    readSmallBody(request, { silenceMs: this.#around.timeouts.readMs }, (body, problem) => {
      if (problem === "too large") return respond(text(413, "request body too large\n"));
      if (body === null) return respond(text(400, "error reading body\n"));
      if (path === "/leases") {
        const asked = decoded(() => LeaseKeepAliveRequest.decode(body));
        if (asked !== null) return this.#keepAlive(asked.ID, respond);
      } else {
        const asked = decoded(() => LeaseInternalRequest.decode(body));
        if (asked !== null) return this.#timeToLive(asked, respond);
      }
      respond(text(400, "error unmarshalling request\n"));
    });
  }

  #keepAlive(id: bigint, respond: Respond): void {
    this.#requests.leaseKeepAlive(id, (outcome) => {
      switch (outcome.kind) {
        case "renewed":
          return respond(protobuf(LeaseKeepAliveResponse.encode({ ID: id, TTL: outcome.ttlSeconds })));
        case "not found":
          return respond(text(404, `${PEER_TEXTS.leaseNotFound}\n`));
        case "timed out":
          return respond(text(408, `${PEER_TEXTS.notApplied}\n`));
        case "failed":
          return respond(text(400, `${outcome.message}\n`));
        default:
          return outcome satisfies never;
      }
    });
  }

  #timeToLive({ LeaseTimeToLiveRequest: asked }: LeaseInternalRequest, respond: Respond): void {
    const id = asked?.ID ?? 0n;
    this.#requests.leaseTimeToLive(id, asked?.keys ?? false, (outcome) => {
      switch (outcome.kind) {
        case "found": {
          const { ttlSeconds: TTL, grantedTtlSeconds: grantedTTL, keys } = outcome;
          const answer = { header: {}, ID: id, TTL, grantedTTL, keys };
          return respond(protobuf(LeaseInternalResponse.encode({ LeaseTimeToLiveResponse: answer })));
        }
        case "not found":
          return respond(text(404, `${PEER_TEXTS.leaseNotFound}\n`));
        case "timed out":
          return respond(text(408, `${PEER_TEXTS.notApplied}\n`));
        case "failed":
          return respond(text(500, `${outcome.message}\n`));
        default:
          return outcome satisfies never;
      }
    });
  }

  #downgrade(respond: Respond): void {
    this.#requests.downgradeEnabled((outcome) => {
      const answer =
        outcome.kind === "answered"
          ? { status: 200, headers: { "content-type": "text/plain" }, body: String(outcome.isEnabled) }
          : text(500, `failed linearized read: ${outcome.message}\n`);
      respond(withHeaders(answer, this.#clusterId()));
    });
  }

  #clusterId(): Record<string, string> {
    return { "x-etcd-cluster-id": idText(this.#around.local.clusterId) };
  }

  /** Answers, and gives a request that is still coming a moment to see that before the connection is cut. */
  #send(request: IncomingMessage, response: ServerResponse, { status, headers, body }: PeerAnswer): void {
    if (response.headersSent || response.destroyed) return;
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    response.writeHead(status, status === 204 ? headers : { ...headers, "content-length": bytes.length });
    response.end(request.method === "HEAD" ? undefined : bytes);
    if (request.complete) return;
    request.resume();
    this.#around.timers.after(LINGER_MS, () => {
      if (!request.complete) request.destroy();
    });
  }
}

const METHOD_NOT_ALLOWED: HttpResponse = text(405, "Method Not Allowed\n");

/**
 * etcd means to answer 403 to a message for somebody else too, but by a slip answers 500 (its error does not satisfy its
 * own interface), and that is well: a Go member ends itself when it reads 403. One that was removed shall do just that.
 */
export function answerTo(received: Received): HttpResponse {
  switch (received) {
    case "stepped":
      return { status: 204, headers: {}, body: "" };
    case "removed sender":
      return json(403, '{"message":"cannot process message from removed member"}');
    case "mismatched":
    case "refused":
      return text(500, "error processing raft message\n");
    default:
      return received satisfies never;
  }
}

function kindOf(path: string): StreamKind | null {
  if (path === "/raft/stream/msgapp") return "stream MsgApp v2";
  return path === "/raft/stream/message" ? "stream Message" : null;
}

function withHeaders(answer: PeerAnswer, headers: Readonly<Record<string, string>>): PeerAnswer {
  return { ...answer, headers: { ...answer.headers, ...headers } };
}

/** null: the bytes are no such message. */
function decoded<T>(decode: () => T): T | null {
  try {
    return decode();
  } catch (error) {
    if (error instanceof MalformedProto) return null;
    throw error;
  }
}

function protobuf(body: Uint8Array): PeerAnswer {
  return { status: 200, headers: { "content-type": "application/protobuf" }, body };
}

function membersJson(members: readonly Member[]): HttpResponse {
  return json(200, `[${members.map(encodeMember).join(",")}]\n`);
}

/** null: not what a revision is asked with. Beyond 2^53 it is rounded, and in the future either way. */
function revisionIn(body: string): number | null {
  try {
    const parsed = JSON.parse(body) as { revision?: unknown } | null;
    if (typeof parsed !== "object" || Array.isArray(parsed)) return null;
    const revision = parsed?.revision ?? 0;
    return typeof revision === "number" && Number.isInteger(revision) ? revision : null;
  } catch {
    return null;
  }
}

/** Go leaves zeros out. */
function hashJson({ revision, hash, compactRevision, hashRevision }: HashKv): string {
  return JSON.stringify({
    header: { revision: revision || undefined },
    hash: hash || undefined,
    compact_revision: compactRevision || undefined,
    hash_revision: hashRevision || undefined,
  });
}

/** A connection that broke; whoever waits for it hears of its end. */
function ignoreReset(): void {}

/** What the body of a posted message may take: what it says, or, if it says nothing, the most there may be. */
function reservationOf(request: IncomingMessage): number {
  const length = Number(request.headers["content-length"] ?? POSTED_MESSAGE_BYTES);
  return Math.min(Number.isNaN(length) ? POSTED_MESSAGE_BYTES : length, POSTED_MESSAGE_BYTES);
}
