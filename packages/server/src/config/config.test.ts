import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ConfigError,
  HelpRequested,
  parseArguments,
  parseEnvironment,
  settingsOfFile,
  UsageError,
} from "./command-line.ts";
import { configOf } from "./config.ts";

const configFrom = (...args: string[]) => configOf(parseArguments(args), false);

test("the defaults are etcd's", () => {
  const config = configFrom();
  assert.equal(config.name, "default");
  assert.equal(config.dataDirectory, "default.etcd");
  assert.equal(config.walDirectory, "default.etcd/member/wal");
  assert.equal(config.electionTicks, 10);
  assert.deepEqual(config.initialCluster, [{ name: "default", peerUrls: ["http://localhost:2380"] }]);
  assert.equal(config.maxRequestBytes, 1572864);
  assert.equal(config.progressNotifyMs, 600_000);
});

test("one dash or two, = or the next argument, and the last of several wins", () => {
  const config = configFrom("-name", "a", "--name=b", "--data-dir", "d", "-pre-vote=false", "--max-txn-ops=7");
  assert.equal(config.name, "b");
  assert.equal(config.dataDirectory, "d");
  assert.equal(config.preVote, false);
  assert.equal(config.maxTxnOps, 7);
});

test("a boolean takes its value only after =", () => {
  assert.throws(() => parseArguments(["--pre-vote", "false"]), new ConfigError('"false" is not a valid flag'));
});

test("bad syntax is a usage error in Go's words", () => {
  const table: [string[], string][] = [
    [["--nope"], "flag provided but not defined: -nope"],
    [["--experimental-corrupt-check-time=1s"], "flag provided but not defined: -experimental-corrupt-check-time"],
    [["--name"], "flag needs an argument: -name"],
    [["--max-txn-ops=many"], 'invalid value "many" for flag -max-txn-ops: parse error'],
    [
      ["--max-txn-ops=99999999999999999999"],
      'invalid value "99999999999999999999" for flag -max-txn-ops: value out of range',
    ],
    [["--grpc-keepalive-min-time=5"], 'invalid value "5" for flag -grpc-keepalive-min-time: parse error'],
    [["--pre-vote=maybe"], 'invalid boolean value "maybe" for -pre-vote: parse error'],
    [["--initial-cluster-state=old"], 'invalid value "old" for flag -initial-cluster-state: invalid value'],
    [
      ["--listen-client-urls=ftp://a:1"],
      'invalid value "ftp://a:1" for flag -listen-client-urls: URL scheme must be http, https, unix, or unixs: ftp://a:1',
    ],
  ];
  for (const [args, message] of table) assert.throws(() => parseArguments(args), new UsageError(message));
  assert.throws(() => parseArguments(["-h"]), HelpRequested);
});

test("rules between flags are refused in etcd's words", () => {
  const table: [string[], string][] = [
    [["stray"], '"stray" is not a valid flag'],
    [
      ["--listen-client-urls=http://127.0.0.1:1"],
      "--advertise-client-urls is required when --listen-client-urls is set explicitly",
    ],
    [["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)"],
    [
      ["--heartbeat-interval=100", "--election-timeout=400"],
      "--election-timeout[400ms] should be at least as 5 times as --heartbeat-interval[100ms]",
    ],
    [["--election-timeout=50001"], "--election-timeout[50001ms] is too long, and should be set less than 50000ms"],
    [["--listen-peer-urls=http://example.com:1"], "expected IP in URL for binding (http://example.com:1)"],
    [["--cert-file=c"], "KeyFile and CertFile must both be present[key: , cert: c]"],
    [
      ["--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1"],
      "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme",
    ],
    [["--force-new-cluster"], "--force-new-cluster is not supported by this version of quorate"],
    [["--logger=capnslog"], 'unknown logger option "capnslog"'],
  ];
  for (const [args, message] of table) assert.throws(() => configFrom(...args), new ConfigError(message));
});

test("the environment fills what the command line leaves open, and may not contradict it", () => {
  const given = parseArguments(["--name=a"]);
  const found = parseEnvironment(
    { ETCD_DATA_DIR: "/d", ETCD_NAME: "b", ETCD_MAX_TXN_OPS: "", ETCD_WHO: "?", PATH: "x" },
    given,
  );
  assert.equal(found.settings.get("data-dir"), "/d");
  assert.deepEqual(found.recognized, ["ETCD_DATA_DIR"]);
  assert.deepEqual(found.unrecognized, ["ETCD_WHO"]);
  assert.equal(found.shadowed, "ETCD_NAME");
  assert.throws(
    () => parseEnvironment({ ETCD_MAX_TXN_OPS: "x" }, new Map()),
    new ConfigError('invalid value "x" for ETCD_MAX_TXN_OPS: parse error'),
  );
});

test("a configuration file gives durations in nanoseconds and nests TLS keys", () => {
  const config = configOf(
    settingsOfFile({
      name: "f",
      "listen-client-urls": "http://127.0.0.1:9",
      "grpc-keepalive-min-time": 7_000_000_000,
      "client-transport-security": { "cert-file": "c", "key-file": "k" },
      "max-txn-ops": 3,
      unknown: [],
    }),
    true,
  );
  assert.equal(config.name, "f");
  assert.equal(config.keepaliveMinTimeMs, 7000);
  assert.equal(config.tls?.certFile, "c");
  assert.equal(config.maxTxnOps, 3);
  assert.throws(() => settingsOfFile({ "grpc-keepalive-min-time": "7s" }), ConfigError);
  assert.throws(() => settingsOfFile(["name"]), ConfigError);
});

test("initial-cluster groups URLs by name", () => {
  assert.deepEqual(configFrom("--initial-cluster=a=http://h:1,b=http://h:2,a=http://h:3").initialCluster, [
    { name: "a", peerUrls: ["http://h:1", "http://h:3"] },
    { name: "b", peerUrls: ["http://h:2"] },
  ]);
});
