/**
 * What applying an entry came to, told to whoever waits for it. One object is reused for every entry: a handler encodes
 * its answer from it before it returns. Fields that an operation has no use for keep their empty value.
 */
import type { ErrorKind } from "@quorate/api";
import type { Login, Permission } from "@quorate/auth";
import type { DeleteRangeResult, PutResult, TxnResult } from "@quorate/mvcc";
import type { AlarmMember } from "./alarms.ts";

export class Outcome {
  error: ErrorKind | null = null;
  /** The store's revision after the entry. */
  revision = 0;
  put: PutResult | null = null;
  deleteRange: DeleteRangeResult | null = null;
  txn: TxnResult | null = null;
  leaseId = 0n;
  leaseTtlSeconds = 0;
  alarms: readonly AlarmMember[] = NO_ALARMS;
  /** Users, or roles, that were asked for. */
  names: readonly string[] = NO_NAMES;
  permissions: readonly Permission[] = NO_PERMISSIONS;
  login: Login | null = null;
  isAuthEnabled = false;
  authRevision = 0;

  reset(): void {
    this.error = null;
    this.revision = 0;
    this.put = null;
    this.deleteRange = null;
    this.txn = null;
    this.leaseId = 0n;
    this.leaseTtlSeconds = 0;
    this.alarms = NO_ALARMS;
    this.names = NO_NAMES;
    this.permissions = NO_PERMISSIONS;
    this.login = null;
    this.isAuthEnabled = false;
    this.authRevision = 0;
  }
}

const NO_ALARMS: readonly AlarmMember[] = [];
const NO_NAMES: readonly string[] = [];
const NO_PERMISSIONS: readonly Permission[] = [];
