/** What tests of other rooms and the simulator use: a machine with a member, and calls without a connection. */
export type { Bootstrap } from "../bootstrap/bootstrap.ts";
export type { Member } from "../member/member.ts";
export type { MemberParts } from "../member/open-member.ts";
export type { OutgoingSnapshot, PeerNetwork, PeerNetworkOwner } from "../peers/peer-network.ts";
export type { PeerRequests } from "../peers/peer-requests.ts";
export type { LeaderLink } from "../services/leader-link.ts";
export { peerRequestsOf } from "../services/peer-requests.ts";
export { FakeCall } from "./fake-call.ts";
export {
  FakeStream,
  MEMBER_DIRECTORY,
  type ProcessWorld,
  SimulatedMachine,
  type SimulatedMachineOptions,
} from "./simulated-machine.ts";
