/**
 * The lease a lock or a campaign lives by: the request's own, or a fresh one of a minute. It is orphaned at once (semantics
 * §8): keeping it alive is the client's business. etcd begins to keep it alive and stops before the first ping is due; here
 * none is sent.
 */
import { LeaseGrantRequest, LeaseGrantResponse } from "@quorate/api/messages";
import type { ServerCall } from "@quorate/rpc";
import type { LocalCall, LocalFailure, LocalMethod, LocalMethods } from "./local-call.ts";

/** etcd's. */
const SESSION_TTL_SECONDS = 60;

const LEASE_GRANT: LocalMethod<LeaseGrantRequest, LeaseGrantResponse> = {
  path: "/etcdserverpb.Lease/LeaseGrant",
  request: LeaseGrantRequest,
  response: LeaseGrantResponse,
};

/** `done` is called at once for a lease that the request names. Returns the call under way, if there is one. */
export function openSession(
  methods: LocalMethods,
  call: ServerCall,
  lease: bigint,
  done: (failure: LocalFailure | null, lease: bigint) => void,
): LocalCall | null {
  if (lease !== 0n) {
    done(null, lease);
    return null;
  }
  return methods.unary(call, LEASE_GRANT, { TTL: SESSION_TTL_SECONDS }, (failure, granted) => {
    done(failure, granted?.ID ?? 0n);
  });
}
