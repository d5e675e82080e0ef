/**
 * Whether a caller may read what it asks for, for reads that are answered here without an entry: ranges, watches, the keys of
 * leases. Each returns what the request is refused for, or null; while auth is off that is one comparison.
 */
import type { ErrorKind, RangeView } from "@quorate/api";
import { Access, type AuthStore, type Identity } from "@quorate/auth";
import type { TxnInput } from "@quorate/mvcc";
import type { ServerCall } from "@quorate/rpc";
import { callerOf, isStranger } from "../caller.ts";
import { type Guarded, refusalOfRange, refusalOfTxn } from "../member/key-permissions.ts";

/** Hot: every range asks. */
export function refusalOfRead(auth: AuthStore, call: ServerCall, view: RangeView): ErrorKind | null {
  if (!auth.isEnabled) return null;
  if (isStranger(call)) return "InvalidAuthToken";
  const { buffer, keyStart, keyEnd, rangeEndStart, rangeEndEnd } = view;
  const caller = callerOf(call);
  const refused = auth.authorise(caller, Access.Read, buffer, keyStart, keyEnd, rangeEndStart, rangeEndEnd);
  return refused ?? staleRevisionOf(auth, caller);
}

/** Of a watcher, as its client asked for it: not yet brought into another form (known failure SA-25). */
export function refusalOfWatch(
  auth: AuthStore,
  call: ServerCall,
  key: Uint8Array,
  rangeEnd: Uint8Array,
): ErrorKind | null {
  if (!auth.isEnabled) return null;
  if (isStranger(call)) return "InvalidAuthToken";
  return refusalOfRange(auth, callerOf(call), Access.Read, key, rangeEnd);
}

export function refusalOfReadTxn(guarded: Guarded, call: ServerCall, txn: TxnInput): ErrorKind | null {
  const { auth } = guarded;
  if (!auth.isEnabled) return null;
  if (isStranger(call)) return "InvalidAuthToken";
  const caller = callerOf(call);
  return refusalOfTxn(guarded, caller, txn) ?? staleRevisionOf(auth, caller);
}

/**
 * A token that was issued at another auth revision than this member's, for reads that etcd checks again once they are done:
 * a member that lags must not answer by permissions that are no more (semantics §7.6).
 */
function staleRevisionOf(auth: AuthStore, caller: Identity | null): ErrorKind | null {
  if (caller === null || caller.revision === null || caller.revision === auth.revision) return null;
  return "AuthOldRevision";
}
