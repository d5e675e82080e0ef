/** Who is in the cluster: identities, the members table and the cluster version. Knows no sockets and nothing of raft. */
export { decodeChange, encodeChange, type MembershipChange, subjectOf, type WireChange } from "./change.ts";
export {
  clusterVersionText,
  compareVersions,
  decideClusterVersion,
  isDowngradeDone,
  isDowngradeOf,
  isOlderThanCluster,
  LOWEST_CLUSTER_VERSION,
  mayJoin,
  parseDowngradeTarget,
  parseVersion,
  type Version,
} from "./cluster-version.ts";
export { MalformedDowngrade } from "./downgrade-json.ts";
export { addedMemberIdOf, ascending, clusterIdOf, idText, memberIdOf } from "./identity.ts";
export {
  decodeMember,
  decodeMembers,
  encodeMember,
  encodeMembers,
  encodePromotion,
  MalformedMember,
  type Member,
} from "./member-json.ts";
export { type ChangeRefusal, Membership, type MembershipTables } from "./membership.ts";
export {
  checkAdd,
  checkPromote,
  checkReady,
  checkRemove,
  HEALTHY_AFTER_MS,
  type MemberCondition,
  type PromotionCandidate,
  type ReconfigRefusal,
} from "./reconfig-check.ts";
export { encodeV2Store, type MembershipView } from "./v2-store.ts";
