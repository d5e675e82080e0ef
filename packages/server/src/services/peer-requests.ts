import type { Member } from "../member/member.ts";
import type { PeerRequests } from "../peers/peer-requests.ts";
import { VERSIONS } from "../versions.ts";

export function peerRequestsOf(member: Member): PeerRequests {
  const failed = { kind: "failed", message: "not yet" } as const;
  return {
    versionBody: () =>
      JSON.stringify({
        etcdserver: VERSIONS.etcd,
        etcdcluster: member.membership.clusterVersion ?? "not_decided",
        storage: VERSIONS.cluster,
      }),
    members: () => member.membership.members(),
    promote: (_id, _token, done) => done(failed),
    hashKv: (_revision, done) => done(failed),
    leaseKeepAlive: (_id, done) => done(failed),
    leaseTimeToLive: (_id, _keys, done) => done(failed),
    downgradeEnabled: (done) => done({ kind: "answered", isEnabled: false }),
  };
}
