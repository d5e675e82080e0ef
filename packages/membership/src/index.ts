/** Who is in the cluster: identities, the members table and the cluster version. Knows no sockets and nothing of raft. */
export { ascending, clusterIdOf, idText, memberIdOf } from "./identity.ts";
export { decodeMember, encodeMember, MalformedMember, type Member } from "./member-json.ts";
export { Membership, type MembershipTables } from "./membership.ts";
