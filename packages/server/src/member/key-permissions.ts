/**
 * Which keys a request touches, and whether its caller may: what AuthStore.authorise is asked about a put, a deletion, a txn
 * or a lease. Asked for reads by the services and for writes by the applier, so both decide alike.
 *
 * Each returns what the request is refused for, or null. While auth is off authorise allows everything.
 */
import type { DeleteRangeView, ErrorKind, PutView } from "@quorate/api";
import { Access, type AuthStore, type Identity } from "@quorate/auth";
import type { Lessor } from "@quorate/lease";
import { type TxnInput, walkOps } from "@quorate/mvcc";

/** The applied state that permissions depend on. */
export interface Guarded {
  readonly auth: AuthStore;
  readonly lessor: Lessor;
}

/** Of a put: its key, and what else it touches. */
type PutKey = Pick<PutView, "buffer" | "keyStart" | "keyEnd" | "lease" | "prevKv">;
type DeletedKeys = Pick<DeleteRangeView, "buffer" | "keyStart" | "keyEnd" | "rangeEndStart" | "rangeEndEnd" | "prevKv">;

/** Who puts a key to a lease may thereby lose it to whoever revokes the lease, so he must be able to write what it holds. */
export function refusalOfPut(
  guarded: Guarded,
  caller: Identity | null,
  { buffer, keyStart, keyEnd, lease, prevKv }: PutKey,
): ErrorKind | null {
  const { auth } = guarded;
  let refused = auth.authorise(caller, Access.Write, buffer, keyStart, keyEnd, 0, 0);
  if (refused === null && lease !== 0n) refused = refusalOfLease(guarded, caller, lease, Access.Write);
  if (refused === null && prevKv) refused = auth.authorise(caller, Access.Read, buffer, keyStart, keyEnd, 0, 0);
  return refused;
}

export function refusalOfDelete(
  { auth }: Guarded,
  caller: Identity | null,
  { buffer, keyStart, keyEnd, rangeEndStart, rangeEndEnd, prevKv }: DeletedKeys,
): ErrorKind | null {
  const refused = auth.authorise(caller, Access.Write, buffer, keyStart, keyEnd, rangeEndStart, rangeEndEnd);
  if (refused !== null || !prevKv) return refused;
  return auth.authorise(caller, Access.Read, buffer, keyStart, keyEnd, rangeEndStart, rangeEndEnd);
}

/** Compares, and the operations of both branches, nested ones too: it must not show which branch was taken (MV-01). */
export function refusalOfTxn(guarded: Guarded, caller: Identity | null, txn: TxnInput): ErrorKind | null {
  const { auth } = guarded;
  let refused: ErrorKind | null = null;
  const mayRead = ({ key, rangeEnd }: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array }): boolean => {
    refused = refusalOfRange(auth, caller, Access.Read, key, rangeEnd);
    return refused === null;
  };
  walkOps(txn, {
    compare: mayRead,
    range: mayRead,
    put: ({ key, lease, prevKv }) => {
      refused = refusalOfPut(guarded, caller, { buffer: key, keyStart: 0, keyEnd: key.length, lease, prevKv });
      return refused === null;
    },
    deleteRange: (request) => {
      refused = refusalOfRange(auth, caller, Access.Write, request.key, request.rangeEnd);
      return refused === null && (!request.prevKv || mayRead(request));
    },
  });
  return refused;
}

/** For every key of the lease, as {@link refusalOfKeys}. Hot with auth on: puts to leases and keep-alives ask. */
export function refusalOfLease(
  { auth, lessor }: Guarded,
  caller: Identity | null,
  id: bigint,
  access: Access,
): ErrorKind | null {
  if (auth.authoriseAdmin(caller) === null) return null;
  let refused: ErrorKind | null = null;
  lessor.everyKey(id, (buffer, length) => {
    refused = auth.authorise(caller, access, buffer, 0, length, 0, 0);
    return refused === null;
  });
  return refused;
}

/** For the keys of leases; an administrator passes whatever its revision, as in etcd. */
export function refusalOfKeys(
  auth: AuthStore,
  caller: Identity | null,
  keys: readonly Uint8Array[],
  access: Access,
): ErrorKind | null {
  if (auth.authoriseAdmin(caller) === null) return null;
  for (const key of keys) {
    const refused = auth.authorise(caller, access, key, 0, key.length, 0, 0);
    if (refused !== null) return refused;
  }
  return null;
}

/** Key and range end lie in buffers of their own. */
export function refusalOfRange(
  auth: AuthStore,
  caller: Identity | null,
  access: Access,
  key: Uint8Array,
  rangeEnd: Uint8Array,
): ErrorKind | null {
  if (!auth.isEnabled) return null;
  if (rangeEnd.length === 0) return auth.authorise(caller, access, key, 0, key.length, 0, 0);
  const both = Buffer.concat([key, rangeEnd]);
  return auth.authorise(caller, access, both, 0, key.length, key.length, both.length);
}
