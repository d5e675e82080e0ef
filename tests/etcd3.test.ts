/**
 * The npm client etcd3 against a real member: keys, ranges, transactions, watches and leases as applications use them.
 * It speaks through @grpc/grpc-js, so this is also a second HTTP/2 implementation on our sockets. Locks and elections
 * come with their services. With QUORATE_TEST_SUBJECT=etcd the same is asked of etcd itself.
 *
 * covers: WT-07, WT-14
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { Etcd3, EtcdLeaseInvalidError, type IKeyValue, Range, type Watcher } from "etcd3";
import { ServerProcess, sleep } from "./harness/processes.ts";

describe("npm etcd3", { timeout: 60_000 }, () => {
  let server: ServerProcess;
  let client: Etcd3;

  before(async () => {
    server = await (process.env.QUORATE_TEST_SUBJECT === "etcd" ? ServerProcess.etcd() : ServerProcess.quorate());
    client = new Etcd3({ hosts: server.endpoint });
  });
  after(async () => {
    client.close();
    await server.dispose();
  });

  describe("keys and ranges", () => {
    before(async () => {
      await Promise.all(["a", "b", "c", "d", "e"].map((key, i) => client.put(`kv/${key}`).value(`${5 - i}`)));
    });

    it("reads text, numbers, JSON, bytes and absence", async () => {
      await client.put("types/text").value("höhe");
      await client.put("types/number").value(42);
      await client.put("types/json").value(JSON.stringify({ a: [1] }));
      await client.put("types/bytes").value(Buffer.from([0, 255, 128]));
      assert.equal(await client.get("types/text").string(), "höhe");
      assert.equal(await client.get("types/number").number(), 42);
      assert.deepEqual(await client.get("types/json").json(), { a: [1] });
      assert.deepEqual(await client.get("types/bytes").buffer(), Buffer.from([0, 255, 128]));
      assert.equal(await client.get("types/none").string(), null);
      assert.equal(await client.get("types/none").exists(), false);
      assert.equal(await client.get("types/text").exists(), true);
    });

    it("an empty value is a value", async () => {
      await client.put("types/empty").value("");
      assert.equal(await client.get("types/empty").exists(), true);
      assert.deepEqual(await client.get("types/empty").buffer(), Buffer.alloc(0));
    });

    it("ranges by prefix, by bounds, sorted, limited and counted", async () => {
      assert.deepEqual(await client.getAll().prefix("kv/").strings(), {
        "kv/a": "5",
        "kv/b": "4",
        "kv/c": "3",
        "kv/d": "2",
        "kv/e": "1",
      });
      assert.deepEqual(await client.getAll().inRange(new Range("kv/b", "kv/d")).keys(), ["kv/b", "kv/c"]);
      assert.deepEqual(await client.getAll().prefix("kv/").sort("Value", "Ascend").limit(2).keys(), ["kv/e", "kv/d"]);
      assert.deepEqual(await client.getAll().prefix("kv/").sort("Key", "Descend").limit(2).keys(), ["kv/e", "kv/d"]);
      assert.equal(await client.getAll().prefix("kv/").count(), 5);
      assert.ok((await client.getAll().all().count()) >= 5);
    });

    it("reads in the past and by bounds on revisions", async () => {
      const first = Number((await client.put("past/a").value("1")).header.revision);
      await client.put("past/b").value("2");
      await client.put("past/a").value("3");
      assert.equal(await client.get("past/a").revision(first).string(), "1");
      assert.equal(await client.get("past/b").revision(first).string(), null);
      const old = client
        .getAll()
        .prefix("past/")
        .maxModRevision(first + 1);
      assert.deepEqual(await old.keys(), ["past/b"]);
      const fresh = client
        .getAll()
        .prefix("past/")
        .minCreateRevision(first + 1);
      assert.deepEqual(await fresh.keys(), ["past/b"]);
    });

    it("deletes one key, a prefix and a range, and hands back what was there", async () => {
      for (const key of ["del/a", "del/b", "del/c", "del/d"]) await client.put(key).value(key);
      assert.equal((await client.delete().key("del/a")).deleted, "1");
      assert.equal((await client.delete().key("del/a")).deleted, "0");
      const previous = await client.delete().inRange(new Range("del/b", "del/d")).getPrevious();
      assert.deepEqual(
        previous.map((kv) => kv.value.toString()),
        ["del/b", "del/c"],
      );
      assert.equal((await client.delete().prefix("del/")).deleted, "1");
    });

    it("namespaces only see their own keys", async () => {
      const space = client.namespace("space/");
      await space.put("a").value("1");
      assert.equal(await client.get("space/a").string(), "1");
      assert.deepEqual(await space.getAll().keys(), ["a"]);
    });

    it("many requests at once are all answered", async () => {
      await Promise.all(Array.from({ length: 500 }, (_, i) => client.put(`many/${i}`).value(`${i}`)));
      const all = await client.getAll().prefix("many/").strings();
      assert.equal(Object.keys(all).length, 500);
      for (let i = 0; i < 500; i++) assert.equal(all[`many/${i}`], `${i}`);
    });

    it("a large value and a large range come whole", async () => {
      const large = Buffer.alloc(1_500_000, "v");
      await client.put("large/a").value(large);
      assert.deepEqual(await client.get("large/a").buffer(), large);
      await client.put("large/b").value(large);
      assert.deepEqual((await client.getAll().prefix("large/").buffers())["large/b"]!.length, large.length);
      await client.delete().prefix("large/");
    });
  });

  describe("transactions", () => {
    it("if, then and else", async () => {
      await client.put("txn/a").value("1");
      const won = await client
        .if("txn/a", "Value", "==", "1")
        .and("txn/a", "Version", ">", 0)
        .then(client.put("txn/a").value("2"), client.get("txn/a"))
        .else(client.delete().key("txn/a"))
        .commit();
      assert.equal(won.succeeded, true);
      assert.equal(won.responses[1]!.response_range!.kvs[0]!.value.toString(), "2");
      const lost = await client
        .if("txn/a", "Value", "==", "1")
        .then(client.put("txn/a").value("3"))
        .else(client.get("txn/a"))
        .commit();
      assert.equal(lost.succeeded, false);
      assert.equal(lost.responses[0]!.response_range!.kvs[0]!.value.toString(), "2");
    });

    it("of many that create the same key exactly one wins", async () => {
      const outcomes = await Promise.all(
        Array.from({ length: 50 }, (_, i) =>
          client
            .if("txn/once", "Create", "==", 0)
            .then(client.put("txn/once").value(`${i}`))
            .commit(),
        ),
      );
      const winners = outcomes.flatMap((outcome, i) => (outcome.succeeded ? [i] : []));
      assert.equal(winners.length, 1);
      assert.equal(await client.get("txn/once").number(), winners[0]);
    });

    it("software transactions neither lose nor repeat an increment", async () => {
      await client.put("stm/counter").value("0");
      const increments = 40;
      await Promise.all(
        Array.from({ length: increments }, () =>
          client.stm({ retries: 1000 }).transact(async (tx) => {
            await tx.put("stm/counter").value(`${(await tx.get("stm/counter").number())! + 1}`);
          }),
        ),
      );
      assert.equal(await client.get("stm/counter").number(), increments);
    });
  });

  describe("watches", () => {
    it("a prefix watcher hears of puts and deletes in order, with what was there before", async () => {
      await client.put("watch/p/b").value("old");
      const watcher = await client.watch().prefix("watch/p/").withPreviousKV().create();
      const heard = record(watcher);
      await client.put("watch/p/a").value("1");
      await client.put("watch/other").value("no");
      await client.put("watch/p/b").value("2");
      await client.delete().key("watch/p/a");
      await until(() => heard.length === 3);
      assert.deepEqual(heard, ["put watch/p/a=1 was nothing", "put watch/p/b=2 was old", "delete watch/p/a= was 1"]);
      await watcher.cancel();
    });

    it("a watcher from a revision hears history exactly once, then the present", async () => {
      const from = (await client.put("watch/h").value("0")).header.revision;
      for (let i = 1; i < 10; i++) await client.put("watch/h").value(`${i}`);
      const watcher = await client.watch().key("watch/h").startRevision(from).create();
      const heard = record(watcher);
      for (let i = 10; i < 20; i++) await client.put("watch/h").value(`${i}`);
      await until(() => heard.length >= 20);
      assert.deepEqual(
        heard,
        Array.from({ length: 20 }, (_, i) => `put watch/h=${i} was nothing`),
      );
      await watcher.cancel();
    });

    it("filters leave out puts or deletes", async () => {
      const deletes = await client.watch().prefix("watch/f/").only("delete").create();
      const puts = await client.watch().prefix("watch/f/").only("put").create();
      const heardDeletes = record(deletes);
      const heardPuts = record(puts);
      await client.put("watch/f/a").value("1");
      await client.delete().key("watch/f/a");
      await until(() => heardDeletes.length === 1 && heardPuts.length === 1);
      assert.deepEqual(heardDeletes, ["delete watch/f/a= was nothing"]);
      assert.deepEqual(heardPuts, ["put watch/f/a=1 was nothing"]);
      await deletes.cancel();
      await puts.cancel();
    });

    it("a cancelled watcher hears no more, its neighbours on the stream do", async () => {
      const gone = await client.watch().key("watch/c").create();
      const stays = await client.watch().key("watch/c").create();
      const heardByGone = record(gone);
      const heardByStays = record(stays);
      await client.put("watch/c").value("1");
      await until(() => heardByGone.length === 1 && heardByStays.length === 1);
      await gone.cancel();
      await client.put("watch/c").value("2");
      await until(() => heardByStays.length === 2);
      assert.equal(heardByGone.length, 1);
      await stays.cancel();
    });

    it("many watchers on one stream each hear their own key", async () => {
      const watchers = await Promise.all(
        Array.from({ length: 100 }, (_, i) => client.watch().key(`watch/m/${i}`).create()),
      );
      const heard = watchers.map(record);
      await Promise.all(watchers.map((_, i) => client.put(`watch/m/${i}`).value(`${i}`)));
      await until(() => heard.every((each) => each.length === 1));
      assert.deepEqual(
        heard.map((each) => each[0]),
        watchers.map((_, i) => `put watch/m/${i}=${i} was nothing`),
      );
      await Promise.all(watchers.map((watcher) => watcher.cancel()));
    });

    it("a watch from before a compaction ends with an error", async () => {
      const { header } = await client.put("watch/old").value("1");
      await client.kv.compact({ revision: header.revision, physical: true });
      const watcher = client.watch().key("watch/old").startRevision("1").watcher();
      const [error] = (await once(watcher, "error")) as [Error];
      assert.match(error.message, /^Watcher canceled/);
    });

    function record(watcher: Watcher): string[] {
      const heard: string[] = [];
      const note =
        (kind: string) =>
        (kv: IKeyValue, previous?: IKeyValue): void => {
          heard.push(`${kind} ${kv.key}=${kv.value} was ${previous?.value.toString() ?? "nothing"}`);
        };
      watcher.on("put", note("put"));
      watcher.on("delete", note("delete"));
      return heard;
    }
  });

  describe("leases", () => {
    it("keys put with a lease go when it is revoked", async () => {
      const lease = client.lease(30);
      await lease.put("lease/a").value("1");
      assert.equal(await client.get("lease/a").string(), "1");
      await lease.revoke();
      assert.equal(await client.get("lease/a").string(), null);
      const id = await lease.grant();
      await assert.rejects(() => client.put("lease/b").value("1").lease(id).exec(), EtcdLeaseInvalidError);
    });

    it("a lease is kept alive in the background until it is released, then expires with its keys", async () => {
      const lease = client.lease(2);
      await lease.put("lease/kept").value("1");
      const [renewed] = (await once(lease, "keepaliveSucceeded")) as [{ TTL: string }];
      assert.equal(renewed.TTL, "2");
      await sleep(2500);
      assert.equal(await client.get("lease/kept").string(), "1");
      const watcher = await client.watch().key("lease/kept").create();
      const deleted = once(watcher, "delete");
      lease.release();
      await deleted;
      assert.equal(await client.get("lease/kept").string(), null);
      await watcher.cancel();
    });

    it("a renewal asked for by hand says how long the lease lives", async () => {
      const lease = client.lease(30, { autoKeepAlive: false });
      await lease.grant();
      const answer = await lease.keepaliveOnce();
      assert.equal(answer.TTL, "30");
      const { granted, left } = await timeToLive(await lease.grant());
      assert.equal(granted, 30);
      assert.ok(left >= 29, `${left} s left`);
      await lease.revoke();
    });

    it("a lease that was lost says so", async () => {
      const lease = client.lease(2);
      const id = await lease.grant();
      const lost = once(lease, "lost");
      await client.leaseClient.leaseRevoke({ ID: id });
      const [error] = (await lost) as [Error];
      assert.ok(error instanceof EtcdLeaseInvalidError, String(error));
      assert.equal(lease.revoked(), true);
    });

    async function timeToLive(id: string): Promise<{ granted: number; left: number }> {
      const { grantedTTL, TTL } = await client.leaseClient.leaseTimeToLive({ ID: id });
      return { granted: Number(grantedTTL), left: Number(TTL) };
    }
  });
});

/** Waits for something that comes by itself; the limit only matters to a test that fails. */
async function until(isTrue: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!isTrue()) {
    assert.ok(Date.now() < deadline, "waited 10 seconds in vain");
    await sleep(5);
  }
}
