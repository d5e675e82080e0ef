/**
 * What the client port answers over HTTP besides gRPC: /version, /health, /livez, /readyz, /metrics, with etcd's bodies,
 * statuses and order of checks (surface-server.md §5 of the reference). Pure: a request in, an answer out; sockets are
 * the listener's, the member's condition comes through {@link Condition}.
 *
 * Access rules come first: on plain HTTP a Host that is not on the list is refused (DNS rebinding, CVE-2018-1099), and
 * CORS headers are set for allowed origins.
 */
export interface HttpRequest {
  readonly method: string;
  /** With the query, as received. */
  readonly target: string;
  readonly host: string;
  readonly origin: string;
  readonly isTls: boolean;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What the endpoints need to know of the member. */
export interface Condition {
  readonly versions: { readonly etcd: string; readonly own: string };
  /** null while undecided. */
  clusterVersion(): string | null;
  storageVersion(): string | null;
  hasLeader(): boolean;
  isLearner(): boolean;
  /** Types of the alarms raised anywhere in the cluster. */
  alarms(): readonly ("NOSPACE" | "CORRUPT")[];
  /** Reads one key, linearizably or locally; null if that worked, else why not. */
  probeRead(isSerializable: boolean, done: (problem: string | null) => void): void;
  metricsText(): string;
  /** Counts a finished health check in the metrics. */
  checked(kind: "health" | "livez" | "readyz", name: string, isOk: boolean): void;
}

export interface AccessRules {
  readonly cors: readonly string[];
  readonly hostWhitelist: readonly string[];
}

type Respond = (response: HttpResponse) => void;
type CheckName = "data_corruption" | "serializable_read" | "linearizable_read" | "non_learner";

const LIVEZ_CHECKS: readonly CheckName[] = ["serializable_read"];
const READYZ_CHECKS: readonly CheckName[] = [
  "data_corruption",
  "serializable_read",
  "linearizable_read",
  "non_learner",
];

export class Endpoints {
  readonly #condition: Condition;
  readonly #access: AccessRules;

  constructor(condition: Condition, access: AccessRules) {
    this.#condition = condition;
    this.#access = access;
  }

  /** Answers exactly once, now or after a read. `metricsOnly`: a --listen-metrics-urls listener, without access rules. */
  handle(request: HttpRequest, metricsOnly: boolean, respond: Respond): void {
    if (metricsOnly) {
      this.#route(request, metricsOnly, respond);
      return;
    }
    if (!request.isTls && !this.#hostIsAllowed(request.host)) {
      respond({
        status: 421,
        headers: { "content-type": "text/plain; charset=utf-8" },
        body: misdirected(request.host),
      });
      return;
    }
    const cors = this.#corsHeaders(request.origin);
    const withCors: Respond = (response) => respond({ ...response, headers: { ...cors, ...response.headers } });
    if (request.method === "OPTIONS") withCors({ status: 200, headers: {}, body: "" });
    else this.#route(request, metricsOnly, withCors);
  }

  #route(request: HttpRequest, metricsOnly: boolean, respond: Respond): void {
    const question = request.target.indexOf("?");
    const path = question < 0 ? request.target : request.target.slice(0, question);
    const query = new URLSearchParams(question < 0 ? "" : request.target.slice(question + 1));
    const known =
      path === "/health" ||
      path === "/metrics" ||
      /^\/(livez|readyz)(\/|$)/.test(path) ||
      (path === "/version" && !metricsOnly);
    if (!known) {
      respond(text(404, "404 page not found\n"));
      return;
    }
    if (request.method !== "GET") {
      respond({ status: 405, headers: { ...plainText, allow: "GET" }, body: "Method Not Allowed\n" });
      return;
    }
    if (path === "/version") respond(json(200, versionBody(this.#condition)));
    else if (path === "/metrics") respond(metrics(this.#condition.metricsText()));
    else if (path === "/health") this.#health(query, respond);
    else if (path.startsWith("/livez"))
      this.#checks("livez", LIVEZ_CHECKS, path.slice("/livez".length), query, respond);
    else this.#checks("readyz", READYZ_CHECKS, path.slice("/readyz".length), query, respond);
  }

  /** Alarms first, then the leader, then a read of one key. */
  #health(query: URLSearchParams, respond: Respond): void {
    const finish = (reason: string): void => {
      this.#condition.checked("health", "", reason === "");
      if (reason === "") respond(json(200, '{"health":"true","reason":""}'));
      else respond(json(503, `${JSON.stringify({ health: "false", reason })}\n`));
    };
    const excluded = new Set(query.getAll("exclude"));
    const alarm = this.#condition.alarms().find((each) => !excluded.has(each));
    if (alarm !== undefined) return finish(`ALARM ${alarm}`);
    const isSerializable = query.get("serializable") === "true";
    if (!isSerializable && !this.#condition.hasLeader()) return finish("RAFT NO LEADER");
    this.#condition.probeRead(isSerializable, (problem) => finish(problem === null ? "" : `RANGE ERROR:${problem}`));
  }

  #checks(
    kind: "livez" | "readyz",
    names: readonly CheckName[],
    rest: string,
    query: URLSearchParams,
    respond: Respond,
  ): void {
    const only = rest.replace(/^\//, "");
    const excluded = new Set(query.getAll("exclude"));
    const wanted = only === "" ? names.filter((name) => !excluded.has(name)) : names.filter((name) => name === only);
    if (only !== "" && wanted.length === 0) {
      respond(text(404, "404 page not found\n"));
      return;
    }
    const lines: string[] = [];
    let isOk = true;
    const next = (i: number): void => {
      const name = wanted[i];
      if (name === undefined) {
        if (!isOk) respond(text(503, `${lines.join("")}\n`));
        else respond(text(200, `${query.has("verbose") ? lines.join("") : ""}ok\n`));
        return;
      }
      this.#check(name, (problem) => {
        this.#condition.checked(kind, name, problem === null);
        lines.push(problem === null ? `[+]${name} ok\n` : `[-]${name} failed: ${problem}\n`);
        isOk &&= problem === null;
        next(i + 1);
      });
    };
    next(0);
  }

  #check(name: CheckName, done: (problem: string | null) => void): void {
    switch (name) {
      case "data_corruption":
        return done(this.#condition.alarms().includes("CORRUPT") ? "alarm activated: CORRUPT" : null);
      case "non_learner":
        return done(this.#condition.isLearner() ? "not supported for learner" : null);
      case "serializable_read":
        return this.#condition.probeRead(true, done);
      case "linearizable_read":
        return this.#condition.probeRead(false, done);
      default:
        return name satisfies never;
    }
  }

  #hostIsAllowed(host: string): boolean {
    const list = this.#access.hostWhitelist;
    if (list.length === 0 || list.includes("*")) return true;
    const name = host.replace(/:\d+$/, "");
    return list.includes(name) || list.includes(host);
  }

  #corsHeaders(origin: string): Record<string, string> {
    const allowsAll = this.#access.cors.length === 0 || this.#access.cors.includes("*");
    if (!allowsAll && !this.#access.cors.includes(origin)) return {};
    return {
      "access-control-allow-methods": "POST, GET, OPTIONS, PUT, DELETE",
      "access-control-allow-origin": allowsAll ? "*" : origin,
      "access-control-allow-headers": "accept, content-type, authorization",
    };
  }
}

/** Also what the peer port answers. etcd's three keys, and our own version beside them. */
export function versionBody(condition: Pick<Condition, "versions" | "clusterVersion" | "storageVersion">): string {
  return JSON.stringify({
    etcdserver: condition.versions.etcd,
    etcdcluster: condition.clusterVersion() ?? "not_decided",
    storage: condition.storageVersion() ?? "unknown",
    quorate: condition.versions.own,
  });
}

const plainText: Readonly<Record<string, string>> = {
  "content-type": "text/plain; charset=utf-8",
  "x-content-type-options": "nosniff",
};

export function text(status: number, body: string): HttpResponse {
  return { status, headers: plainText, body };
}

export function json(status: number, body: string): HttpResponse {
  return { status, headers: { "content-type": "application/json" }, body };
}

function metrics(body: string): HttpResponse {
  return { status: 200, headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" }, body };
}

function misdirected(host: string): string {
  return (
    `The server refuses requests for host ${JSON.stringify(host)}: it is not on the list given by --host-whitelist.\n` +
    "Without that check a web page could reach this server by DNS rebinding (see CVE-2018-5702).\n" +
    "If the name is yours, add it to --host-whitelist.\n"
  );
}
