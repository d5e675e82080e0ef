/**
 * What a cluster's members tell Prometheus of each other. FAULTS_PROGRAM=etcd shows that etcd tells the same.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PutRequest, PutResponse } from "@quorate/api/messages";
import { type ClusterMember, until, withCluster } from "./harness/cluster.ts";

/** The samples by name and labels, as the text has them. */
async function scrape(member: ClusterMember): Promise<ReadonlyMap<string, number>> {
  const text = await (await fetch(`${member.clientUrl}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
  );
}

test("a member counts what goes to and comes from each other member, and tells when one is gone", async () => {
  await withCluster({ size: 3 }, async (cluster) => {
    const leader = await cluster.leader();
    const [one, other] = cluster.members.filter((member) => member !== leader) as [ClusterMember, ClusterMember];
    const idOf = async (member: ClusterMember): Promise<string> => (await member.id()).toString(16);
    const [local, oneId, otherId] = [await idOf(leader), await idOf(one), await idOf(other)];
    const before = await scrape(leader);
    const value = Buffer.alloc(10_000, "v");
    for (let i = 0; i < 10; i++) {
      await leader.calls.unary("etcdserverpb.KV/Put", PutRequest, PutResponse, { key: Buffer.from("k"), value });
    }
    const sent = `etcd_network_peer_sent_bytes_total{To="${oneId}"}`;
    await until("the writes are counted as sent", async () => {
      return (await scrape(leader)).get(sent)! - before.get(sent)! > 100_000;
    });
    assert.ok((await scrape(one)).get(`etcd_network_peer_received_bytes_total{From="${local}"}`)! > 100_000);
    const after = await scrape(leader);
    for (const id of [oneId, otherId]) {
      assert.equal(after.get(`etcd_network_active_peers{Local="${local}",Remote="${id}"}`), 1);
      assert.ok(after.get(`etcd_network_peer_received_bytes_total{From="${id}"}`)! > 0);
    }
    for (const id of [local, oneId, otherId]) {
      assert.equal(after.get(`etcd_network_known_peers{Local="${local}",Remote="${id}"}`), 1);
    }
    const roundTrips = `etcd_network_peer_round_trip_time_seconds_count{To="${oneId}"}`;
    // etcd looks every half minute.
    await until("the way is measured", async () => (await scrape(leader)).get(roundTrips)! > 0, 40_000);
    await other.end("SIGKILL");
    await until("one is gone", async () => {
      const now = await scrape(leader);
      return (
        now.get(`etcd_network_active_peers{Local="${local}",Remote="${otherId}"}`) === 0 &&
        now.get(`etcd_network_disconnected_peers_total{Local="${local}",Remote="${otherId}"}`)! > 0 &&
        now.get(`etcd_network_peer_sent_failures_total{To="${otherId}"}`)! > 0
      );
    });
    await cluster.remove(other);
    await until("it is no peer any more", async () => {
      return (await scrape(leader)).get(`etcd_network_known_peers{Local="${local}",Remote="${otherId}"}`) === 0;
    });
  });
});
