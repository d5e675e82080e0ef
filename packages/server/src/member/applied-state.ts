/**
 * Everything that entries are applied to, over one database: the keys, the leases, who the members are, who may do what,
 * the alarms and the configuration in force. One piece of code builds it, at a start and when a snapshot is installed alike, so that
 * nothing derived can be forgotten in one of them (known failures AP-11, SN-13).
 */
import { AuthStore, type AuthTable } from "@quorate/auth";
import { Lessor } from "@quorate/lease";
import { Membership } from "@quorate/membership";
import {
  Backend,
  type CheckpointReader,
  rowKeyOfName,
  type Storage,
  Store,
  type StoreOpening,
  type Table,
} from "@quorate/mvcc";
import { type ConfState, EMPTY_CONF_STATE } from "@quorate/raft";
import type { Clock, Log } from "@quorate/world";
import { Alarms } from "./alarms.ts";
import { parseConfState } from "./conf-state.ts";
import { StorageVersion } from "./storage-version.ts";

export interface AppliedStateOptions {
  readonly clusterId: bigint;
  readonly heartbeatMs: number;
  readonly electionTicks: number;
  /** Between two records of a lease's remaining time; null: none are made. */
  readonly leaseCheckpointMs: number | null;
  readonly clock: Clock;
  readonly log: Log;
}

export const CONF_STATE_KEY: Uint8Array = Buffer.from("confState");

export class AppliedState {
  readonly backend: Backend;
  readonly storageVersion: StorageVersion;
  readonly membership: Membership;
  readonly alarms: Alarms;
  readonly auth: AuthStore;
  readonly lessor: Lessor;
  /** Reads the keys: a step at a time while other work goes on. */
  readonly opening: StoreOpening;
  /** In force at the applied index; empty before the first change was applied. The applier sets it. */
  confState: ConfState;

  /** Over what `storage` holds, read at once. With a checkpoint of the key index that fits, only what is newer is read. */
  static open(storage: Storage, options: AppliedStateOptions, checkpoint?: CheckpointReader): AppliedState {
    const state = new AppliedState(storage, options, checkpoint);
    while (state.opening.step(Number.MAX_SAFE_INTEGER)) {
      // All of it.
    }
    return state;
  }

  /** Of use once its opening has come to its end. */
  constructor(storage: Storage, options: AppliedStateOptions, checkpoint?: CheckpointReader) {
    const { clusterId, heartbeatMs, electionTicks, clock, log } = options;
    const backend = new Backend({ storage });
    this.backend = backend;
    this.storageVersion = new StorageVersion(backend);
    this.membership = new Membership(clusterId, {
      put: (table: Table, key: Uint8Array, value: Uint8Array | null) => backend.put(table, key, value),
      scan: (table: Table, visit: (key: Uint8Array, value: Uint8Array) => void) => storage.scan(table, visit),
    });
    this.membership.load();
    this.alarms = new Alarms({ put: (key, value) => backend.put("alarm", key, value) });
    this.alarms.load((visit) => storage.scan("alarm", visit));
    this.auth = new AuthStore({
      put: (table: AuthTable, key: Uint8Array, value: Uint8Array | null) =>
        backend.put(table, rowKeyOfName(key), value),
      scan: (table: AuthTable, visit: (key: Uint8Array, value: Uint8Array) => void) => storage.scan(table, visit),
    });
    this.lessor = new Lessor({
      clock,
      table: { put: (key, value) => backend.put("lease", key, value) },
      minTtlSeconds: Math.ceil((Math.floor((3 * electionTicks) / 2) * heartbeatMs) / 1000),
      expiryRetryMs: 5000 + 2 * electionTicks * heartbeatMs,
      ...(options.leaseCheckpointMs === null ? {} : { checkpointIntervalMs: options.leaseCheckpointMs }),
    });
    this.lessor.load((visit) => storage.scan("lease", visit));
    const stored = storage.get("meta", CONF_STATE_KEY);
    this.confState = stored === undefined ? EMPTY_CONF_STATE : parseConfState(Buffer.from(stored).toString());
    this.opening = Store.startOpening({
      backend,
      leases: this.lessor,
      log,
      ...(checkpoint === undefined ? {} : { checkpoint }),
    });
  }

  get store(): Store {
    return this.opening.store;
  }
}
