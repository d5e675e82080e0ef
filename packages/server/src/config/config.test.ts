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
import { defaultInterface } from "./default-host.ts";

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

test("0 and less mean the default where a limit below 1 would never end anything", () => {
  for (const limit of ["0", "-5"]) {
    const config = configFrom(`--compaction-batch-limit=${limit}`, `--backend-batch-limit=${limit}`);
    assert.deepEqual([config.compactionBatchLimit, config.flushOperations], [1000, 10_000]);
  }
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
    [["--discovery-fallback=exitt"], 'invalid value "exitt" for flag -discovery-fallback: invalid value'],
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
    [["--unsafe-no-fsync"], "--unsafe-no-fsync is not supported by this version of quorate"],
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
  assert.deepEqual(config.tls.keyPair, { certFile: "c", keyFile: "k" });
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

test("clustering flags are refused in etcd's words", () => {
  const conflict =
    "multiple discovery or bootstrap flags are set. " +
    'Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv"';
  const urlRule = "URL scheme must be http, https, unix, or unixs: ";
  const table: [string[], string][] = [
    [["--initial-cluster=a=http://a:1", "--discovery-srv=d"], conflict],
    [["--discovery-srv=d", "--discovery-token=t", "--discovery-endpoints=e"], conflict],
    [["--discovery-token=t"], "both --discovery-token and --discovery-endpoints must be set"],
    [["--discovery-endpoints=e"], "both --discovery-token and --discovery-endpoints must be set"],
    [["--discovery-token=t", "--discovery-endpoints=a,,b"], "--discovery-endpoints must not contain empty endpoints"],
    [["--discovery-fallback=proxy"], `v2 proxy is deprecated, and --discovery-fallback can't be configured as "proxy"`],
    [["--initial-cluster=a=http://a:1,b"], `error setting up initial cluster: ${urlRule}`],
    [["--initial-cluster=a=ftp://a:1"], `error setting up initial cluster: ${urlRule}ftp://a:1`],
    [
      ["--initial-advertise-peer-urls=http://:1,http://a:1"],
      '--initial-advertise-peer-urls "http://:1,http://a:1" must be "host:port" (unexpected empty host (http://:1))',
    ],
    [
      ["--advertise-client-urls=http://:1"],
      '--advertise-client-urls "http://:1" must be in the format "host:port", "unix:/path/to/socket" or ' +
        '"unixs:/path/to/socket" (unexpected empty host (http://:1))',
    ],
  ];
  for (const [args, message] of table) assert.throws(() => configFrom(...args), new ConfigError(message));
  assert.throws(
    () => configOf(settingsOfFile({ "initial-cluster-state": "old" }), true),
    new ConfigError('unexpected clusterState "old"'),
  );
});

test("an initial cluster groups URLs by name, wherever they stand", () => {
  const { initialCluster } = configFrom("--initial-cluster=a=http://a:2,b=HTTP://b:1, a= http://a:1 ,a=http://a:1,");
  assert.deepEqual(initialCluster, [
    { name: "a", peerUrls: ["http://a:1", "http://a:2"] },
    { name: "b", peerUrls: ["http://b:1"] },
    { name: " a", peerUrls: ["http://a:1"] },
  ]);
  assert.deepEqual(configFrom("--name=x", "--initial-cluster=").initialCluster, []);
  assert.deepEqual(configFrom("--discovery-srv=d").initialCluster, []);
  assert.deepEqual(configFrom("--discovery-srv-name=n").initialCluster, []);
  assert.equal(configFrom("--discovery-srv=d").discoverySrv, "d");
});

test("membership flags have etcd's defaults, and peer timeouts a floor", () => {
  const config = configFrom();
  assert.equal(config.maxLearners, 1);
  assert.equal(config.strictReconfigCheck, true);
  assert.equal(config.forceNewCluster, false);
  assert.equal(config.raftReadTimeoutMs, 5000);
  assert.equal(config.discovery, null);
  assert.equal(config.discoverySrv, null);
  const other = configFrom(
    "--max-learners=3",
    "--strict-reconfig-check=false",
    "--force-new-cluster",
    "--raft-read-timeout=1s",
    "--raft-write-timeout=7s",
    "--initial-cluster-state=existing",
  );
  assert.equal(other.maxLearners, 3);
  assert.equal(other.strictReconfigCheck, false);
  assert.equal(other.forceNewCluster, true);
  assert.equal(other.raftReadTimeoutMs, 5000);
  assert.equal(other.raftWriteTimeoutMs, 7000);
  assert.equal(other.initialClusterState, "existing");
});

test("discovery is configured by flags or a file", () => {
  const flags = configFrom(
    "--discovery-token=t",
    "--discovery-endpoints=http://a:1, b:1,http://a:1",
    "--discovery-user=u",
    "--discovery-password=p",
  );
  assert.deepEqual(flags.discovery, {
    token: "t",
    endpoints: ["http://a:1", "b:1"],
    dialTimeoutMs: 2000,
    requestTimeoutMs: 5000,
    keepaliveTimeMs: 2000,
    keepaliveTimeoutMs: 6000,
    insecureTransport: true,
    insecureSkipTlsVerify: false,
    certFile: null,
    keyFile: null,
    caFile: null,
    user: "u",
    password: "p",
  });
  const client = { endpoints: ["a:1"], "dial-timeout": 1e9, secure: { cert: "c", "insecure-transport": false } };
  const file = configOf(settingsOfFile({ "discovery-config": { token: "t", client } }), true).discovery;
  assert.deepEqual(
    [file?.endpoints, file?.dialTimeoutMs, file?.certFile, file?.insecureTransport],
    [["a:1"], 1000, "c", false],
  );
});

test("a member that listens on all addresses advertises the machine's, if it was told nothing else", () => {
  const config = (...args: string[]) => configOf(parseArguments(args), false, () => "10.1.2.3");
  const listening = ["--name=a", "--listen-peer-urls=http://0.0.0.0:7000", "--listen-client-urls=http://0.0.0.0:7001"];
  const found = config(...listening, "--advertise-client-urls=http://localhost:2379");
  assert.deepEqual(found.advertisePeerUrls, ["http://10.1.2.3:7000"]);
  assert.deepEqual(found.advertiseClientUrls, ["http://10.1.2.3:7001"]);
  assert.deepEqual(found.initialCluster, [{ name: "a", peerUrls: ["http://10.1.2.3:7000"] }]);
  const told = config(
    ...listening,
    "--initial-advertise-peer-urls=http://a:1",
    "--advertise-client-urls=http://localhost:1",
  );
  assert.deepEqual(told.advertisePeerUrls, ["http://a:1"]);
  assert.deepEqual(told.advertiseClientUrls, ["http://localhost:1"]);
  assert.deepEqual(config("--listen-peer-urls=http://127.0.0.1:1").advertisePeerUrls, ["http://localhost:2380"]);
  assert.deepEqual(configFrom("--listen-peer-urls=http://0.0.0.0:1").advertisePeerUrls, ["http://localhost:2380"]);
});

test("the default route names the interface", () => {
  const heading = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n";
  const row = (name: string, destination: string, mask: string): string =>
    `${name}\t${destination}\t010011AC\t0003\t0\t0\t0\t${mask}\t0\t0\t0\n`;
  const local = row("eth1", "0011AC00", "FFFF0000");
  assert.equal(defaultInterface(heading + local + row("eth0", "00000000", "00000000")), "eth0");
  assert.equal(defaultInterface(heading + local), null);
  assert.equal(defaultInterface(""), null);
});
