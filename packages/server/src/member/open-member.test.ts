/** What a member remembers of its log when it is opened again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MemberAddRequest, MemberAddResponse } from "@quorate/api/messages";
import { type Index, Message, MessageType, type Term } from "@quorate/raft";
import type { Bootstrap } from "../bootstrap/bootstrap.ts";
import { peerUrlOf, SimulatedCluster } from "../testing/simulated-cluster.ts";

// covers: RA-02
test("a vote outlives a crash also of a member that has joined and has no entry yet", async () => {
  const cluster = await SimulatedCluster.serving(2);
  cluster.advance(6000);
  const { leader, world } = cluster;
  const request = { peerURLs: [peerUrlOf("m3")] };
  cluster.call(leader, "/etcdserverpb.Cluster/MemberAdd", MemberAddRequest, request, MemberAddResponse);
  const joined = await cluster.join("m3");
  const { clusterId } = joined.member.membership;
  const members = leader.member.membership.members();
  const vote = new Message(MessageType.Vote, joined.id, leader.id);
  vote.term = 9 as Term;
  vote.logTerm = 8 as Term;
  vote.index = 100 as Index;
  joined.owner!.step(vote);
  cluster.settle();
  assert.equal(joined.parts.raft.lastIndex, 0);
  assert.equal(joined.parts.raft.basicStatus().vote, leader.id);

  joined.crash();
  const identity: Bootstrap = { kind: "join", memberId: joined.id, clusterId, members, token: "", srvServerName: null };
  let isOpen = false;
  const opened = joined.openOver({ clock: world, timers: world, identity }).then(() => {
    isOpen = true;
  });
  for (let i = 0; i < 100 && !isOpen; i++) {
    joined.disk.runPending();
    await Promise.resolve();
  }
  await opened;
  const { term, vote: votedFor } = joined.parts.raft.basicStatus();
  assert.deepEqual([term, votedFor], [9, leader.id]);
});
