import assert from "node:assert/strict";
import { test } from "node:test";
import { ConfigError, parseArguments, UsageError } from "./command-line.ts";
import { configOf } from "./config.ts";

function configWith(gates: string) {
  return configOf(parseArguments([`--feature-gates=${gates}`]), false);
}

test("gates are off or on as in etcd, and change what they name", () => {
  const plain = configOf(new Map(), false);
  assert.deepEqual([plain.leaseCheckpoint, plain.fastLeaseKeepAlive], [false, true]);
  const set = configWith(" LeaseCheckpoint = T ,,FastLeaseKeepAlive=0,LeaseCheckpointPersist=True");
  assert.deepEqual([set.leaseCheckpoint, set.fastLeaseKeepAlive], [true, false]);
  const last = configWith("LeaseCheckpoint=true,LeaseCheckpoint=false");
  assert.equal(last.leaseCheckpoint, false);
  assert.equal(configWith("AllBeta=false").fastLeaseKeepAlive, false);
  assert.equal(configWith("AllBeta=false,FastLeaseKeepAlive=true").fastLeaseKeepAlive, true);
});

test("what is not well-formed is a usage error in Go's words", () => {
  const table: [string, string][] = [
    ["Foo=true", "unrecognized feature gate: Foo"],
    ["Foo", "missing bool value for Foo"],
    ["=true", "unrecognized feature gate: "],
    [
      "LeaseCheckpoint=maybe",
      'invalid value of LeaseCheckpoint=maybe, err: strconv.ParseBool: parsing "maybe": invalid syntax',
    ],
    ["LeaseCheckpoint=", 'invalid value of LeaseCheckpoint=, err: strconv.ParseBool: parsing "": invalid syntax'],
  ];
  for (const [gates, problem] of table) {
    const message = `invalid value ${JSON.stringify(gates)} for flag -feature-gates: ${problem}`;
    assert.throws(() => configWith(gates), new UsageError(message));
    assert.throws(() => configOf(new Map([["feature-gates", gates]]), true), new ConfigError(problem));
  }
});

test("gates that do not fit together, or have no effect here, are refused by name", () => {
  assert.throws(
    () => configWith("LeaseCheckpointPersist=true"),
    new ConfigError("enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint"),
  );
  for (const name of ["StopGRPCServiceOnDefrag", "SetMemberLocalAddr", "PriorityRequest"]) {
    assert.throws(
      () => configWith(`${name}=true`),
      new ConfigError(`feature gate ${name} is not supported by this version of quorate`),
    );
    configWith(`${name}=false`);
  }
  assert.throws(() => configWith("AllAlpha=true"), ConfigError);
});
