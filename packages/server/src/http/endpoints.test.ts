import assert from "node:assert/strict";
import { test } from "node:test";
import { type Condition, Endpoints, type HttpRequest, type HttpResponse } from "./endpoints.ts";

const healthy: Condition = {
  versions: { etcd: "3.7.1", own: "0.1.0" },
  clusterVersion: () => "3.7.0",
  storageVersion: () => "3.7.0",
  hasLeader: () => true,
  isLearner: () => false,
  alarms: () => [],
  probeRead: (_isSerializable, done) => done(null),
  metricsText: () => "# metrics\n",
  checked: () => {},
};

function ask(
  target: string,
  condition: Partial<Condition> = {},
  request: Partial<HttpRequest> = {},
  access = { cors: ["*"], hostWhitelist: ["*"] },
): HttpResponse {
  let answer: HttpResponse | null = null;
  new Endpoints({ ...healthy, ...condition }, access).handle(
    { method: "GET", target, host: "localhost:2379", origin: "", isTls: false, ...request },
    false,
    (response) => {
      assert.equal(answer, null, "answered twice");
      answer = response;
    },
  );
  assert.ok(answer);
  return answer;
}

test("/version says etcd's versions and ours", () => {
  assert.equal(
    ask("/version").body,
    '{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0","quorate":"0.1.0"}',
  );
  assert.match(ask("/version", { clusterVersion: () => null }).body, /"etcdcluster":"not_decided"/);
});

test("/health asks alarms, then the leader, then a read", () => {
  assert.deepEqual([ask("/health").status, ask("/health").body], [200, '{"health":"true","reason":""}']);
  const nospace = { alarms: () => ["NOSPACE"] as const };
  assert.equal(ask("/health", nospace).status, 503);
  assert.equal(ask("/health", nospace).body, '{"health":"false","reason":"ALARM NOSPACE"}\n');
  assert.equal(ask("/health?exclude=NOSPACE", nospace).status, 200);
  assert.match(ask("/health", { hasLeader: () => false }).body, /RAFT NO LEADER/);
  assert.equal(ask("/health?serializable=true", { hasLeader: () => false }).status, 200);
  const stuck = {
    probeRead: (_: boolean, done: (problem: string | null) => void) => done("etcdserver: request timed out"),
  };
  assert.match(ask("/health", stuck).body, /RANGE ERROR:etcdserver: request timed out/);
});

test("/livez and /readyz list failures always and successes on request", () => {
  assert.equal(ask("/livez").body, "ok\n");
  assert.equal(ask("/livez?verbose").body, "[+]serializable_read ok\nok\n");
  const cut = {
    probeRead: (isSerializable: boolean, done: (problem: string | null) => void) =>
      done(isSerializable ? null : "etcdserver: no leader"),
  };
  assert.equal(ask("/livez", cut).status, 200);
  const response = ask("/readyz", cut);
  assert.equal(response.status, 503);
  assert.equal(
    response.body,
    "[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: etcdserver: no leader\n[+]non_learner ok\n\n",
  );
  assert.equal(ask("/readyz?exclude=linearizable_read", cut).status, 200);
  assert.equal(ask("/readyz/linearizable_read", cut).status, 503);
  assert.equal(ask("/readyz/nonsense", cut).status, 404);
  assert.match(ask("/readyz", { alarms: () => ["CORRUPT"] }).body, /data_corruption failed: alarm activated: CORRUPT/);
});

test("unknown paths are 404 and other methods 405", () => {
  assert.deepEqual([ask("/nope").status, ask("/nope").body], [404, "404 page not found\n"]);
  const posted = ask("/version", {}, { method: "POST" });
  assert.deepEqual([posted.status, posted.headers.allow], [405, "GET"]);
  assert.equal(ask("/anything", {}, { method: "OPTIONS" }).status, 200);
});

// covers: SA-02
test("on plain HTTP a Host that is not on the list is refused; TLS proves the name by itself", () => {
  const access = { cors: ["*"], hostWhitelist: ["good.example"] };
  assert.equal(ask("/version", {}, { host: "evil.example" }, access).status, 421);
  assert.equal(ask("/version", {}, { host: "good.example:2379" }, access).status, 200);
  assert.equal(ask("/version", {}, { host: "evil.example", isTls: true }, access).status, 200);
});

test("CORS headers are given to allowed origins only", () => {
  const access = { cors: ["http://a"], hostWhitelist: ["*"] };
  assert.equal(ask("/version", {}, { origin: "http://a" }, access).headers["access-control-allow-origin"], "http://a");
  assert.equal(ask("/version", {}, { origin: "http://b" }, access).headers["access-control-allow-origin"], undefined);
  assert.equal(ask("/version", {}, { origin: "http://b" }).headers["access-control-allow-origin"], "*");
});
