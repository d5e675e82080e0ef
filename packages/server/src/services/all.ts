/** Every method a member answers, by path. What later versions bring answers Unimplemented, as a method nobody knows does. */
import type { Method } from "@quorate/rpc";
import type { Member } from "../member/member.ts";
import type { Counter } from "../metrics/exposition.ts";
import { type AdmissionOptions, admitted } from "./admission.ts";
import { authMethods } from "./auth.ts";
import { type ClusterServiceOptions, clusterMethods } from "./cluster.ts";
import { electionMethods } from "./election.ts";
import { healthMethods } from "./health.ts";
import { kvMethods } from "./kv.ts";
import { type LeaseServiceOptions, leaseMethods } from "./lease.ts";
import { LocalMethods } from "./local-call.ts";
import { lockMethods } from "./lock.ts";
import { maintenanceMethods } from "./maintenance.ts";
import { watchMethods } from "./watch.ts";

/** What services need besides the member. */
export interface ServiceOptions extends AdmissionOptions, ClusterServiceOptions, LeaseServiceOptions {}

export function allMethods(member: Member, options: ServiceOptions): [string, Method][] {
  const services: [string, Method][] = [
    ...kvMethods(member),
    ...watchMethods(member),
    ...leaseMethods(member, options),
    ...clusterMethods(member, options),
    ...maintenanceMethods(member),
    ...authMethods(member),
    ...healthMethods(),
  ];
  // Made of the others, which they call through a gate like the clients', but not as clients: nobody counts that.
  const local = new LocalMethods(
    admitted(member, { clientRequests: () => UNCOUNTED }, services),
    member.options.timers,
  );
  return admitted(member, options, [...services, ...lockMethods(local), ...electionMethods(local)]);
}

const UNCOUNTED: Counter = { value: 0, add: () => {} };
