/**
 * Messages to a member by single requests, POST /raft: for as long as it has no stream to us, and for senders that are no
 * members (yet). Some are under way at once, so their order is not kept; raft does not need it.
 */
import type { Agent, ClientRequest } from "node:http";
import { idText } from "@quorate/membership";
import { encodeMessage, type Message, type NodeId } from "@quorate/raft";
import type { ServiceUrl } from "../config/urls.ts";
import type { PeerSeries } from "../metrics/peer-metrics.ts";
import { headerOf, requestHeaders } from "./compatibility.ts";
import { PIPELINE_ANSWER_MS, PIPELINE_CONNECTIONS, PIPELINE_QUEUE_MESSAGES } from "./limits.ts";
import type { PeerStatus } from "./peer-status.ts";
import type { PeerSurroundings } from "./peer-surroundings.ts";
import { readSmallBody } from "./small-body.ts";
import type { UrlPicker } from "./url-picker.ts";

export class Pipeline {
  readonly #peer: NodeId;
  readonly #around: PeerSurroundings;
  readonly #status: PeerStatus;
  readonly #picker: UrlPicker;
  readonly #series: PeerSeries;
  readonly #queue: Message[] = [];
  readonly #underWay = new Set<ClientRequest>();
  /** For one URL; replaced when another is picked. */
  #agent: { readonly url: ServiceUrl; readonly agent: Agent } | null = null;

  constructor(peer: NodeId, around: PeerSurroundings, status: PeerStatus, picker: UrlPicker) {
    this.#peer = peer;
    this.#around = around;
    this.#status = status;
    this.#picker = picker;
    this.#series = around.metrics.of(peer);
  }

  /** False: the queue is full, the message is not taken. */
  offer(message: Message): boolean {
    if (this.#underWay.size < PIPELINE_CONNECTIONS) this.#post(message);
    else if (this.#queue.length < PIPELINE_QUEUE_MESSAGES) this.#queue.push(message);
    else return false;
    return true;
  }

  stop(): void {
    this.#queue.length = 0;
    const underWay = [...this.#underWay];
    this.#underWay.clear();
    for (const request of underWay) request.destroy();
    this.#agent?.agent.destroy();
  }

  #post(message: Message): void {
    const { dialer, local, timeouts, timers } = this.#around;
    const url = this.#picker.pick();
    const body = encodeMessage(message);
    const request = dialer.request(url, {
      method: "POST",
      path: "/raft",
      headers: {
        ...requestHeaders(local),
        "Content-Type": "application/protobuf",
        "Content-Length": body.length,
      },
      agent: this.#agentFor(url),
    });
    this.#underWay.add(request);
    const tooLate = timers.after(PIPELINE_ANSWER_MS, () => request.destroy(new Error("no answer in time")));
    const finish = (problem: string | null): void => {
      tooLate.cancel();
      if (this.#underWay.delete(request)) this.#finished(url, body.length, problem);
    };
    request.on("error", (error) => finish(error.message));
    request.on("close", () => finish("connection closed"));
    request.on("response", (response) => {
      readSmallBody(response, { silenceMs: timeouts.readMs }, (answer) => {
        const clusterId = headerOf(response.headers, "x-etcd-cluster-id");
        finish(this.problemOf(response.statusCode ?? 0, answer?.toString("utf8").trimEnd() ?? "", clusterId));
        if (answer === null) response.destroy();
      });
    });
    request.end(body);
  }

  /** Of an answer to a post, here and of a snapshot; null: it was taken. 403 says that we were removed. */
  problemOf(status: number, body: string, clusterId: string): string | null {
    const { local, log, news } = this.#around;
    const fields = { "remote-peer-id": idText(this.#peer) };
    switch (status) {
      case 204:
        return null;
      case 403:
        news.removedFromCluster();
        return "the member has been permanently removed from the cluster";
      case 412:
        if (body === "incompatible version") log.error("request sent was ignored by peer", fields);
        else if (body === "cluster ID mismatch") {
          log.error("request sent was ignored due to cluster ID mismatch", {
            ...fields,
            "remote-peer-cluster-id": clusterId,
            "local-member-cluster-id": idText(local.clusterId),
          });
        }
        return body;
      default:
        return `unexpected http status ${status} while posting`;
    }
  }

  #finished(url: ServiceUrl, bodyBytes: number, problem: string | null): void {
    if (problem === null) {
      this.#series.sentBytes.add(bodyBytes);
      this.#status.activate();
    } else {
      this.#series.sendFailures.add();
      this.#picker.unreachable(url);
      this.#status.deactivate("write pipeline", problem);
      this.#around.news.unreachable(this.#peer);
    }
    const next = this.#queue.shift();
    if (next !== undefined) this.#post(next);
  }

  #agentFor(url: ServiceUrl): Agent {
    if (this.#agent?.url === url) return this.#agent.agent;
    // The old agent's connections are closed when they have been idle for a while.
    const agent = this.#around.dialer.keepAlive(url, PIPELINE_CONNECTIONS);
    this.#agent = { url, agent };
    return agent;
  }
}
