/** Every method a member answers, by path. What later versions bring answers Unimplemented, as a method nobody knows does. */
import type { Method } from "@quorate/rpc";
import type { Member } from "../member/member.ts";
import { clusterMethods } from "./cluster.ts";
import { healthMethods } from "./health.ts";
import { kvMethods } from "./kv.ts";
import { leaseMethods } from "./lease.ts";
import { maintenanceMethods } from "./maintenance.ts";
import { watchMethods } from "./watch.ts";

export function allMethods(member: Member): [string, Method][] {
  return [
    ...kvMethods(member),
    ...watchMethods(member),
    ...leaseMethods(member),
    ...clusterMethods(member),
    ...maintenanceMethods(member),
    ...healthMethods(),
  ];
}
