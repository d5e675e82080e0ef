/**
 * Requests as the store takes them: plain structures that the decoded messages of the API match field for field
 * (etcd's names in camelCase). Bytes are borrowed until return. Revisions, versions and limits are numbers, those a
 * client may set beyond 2^53 saturated by whoever decoded them; a lease is a bigint.
 */

export interface RangeInput {
  readonly key: Uint8Array;
  /** Empty: the one key. One zero byte: every key from `key` on. Else the first key past the range. */
  readonly rangeEnd: Uint8Array;
  /** Most keys to return; 0 or less means all. */
  readonly limit: number;
  /** 0 or less means now. */
  readonly revision: number;
  /** Numbers of the API's SortOrder and SortTarget; others must have been refused (`checkRange`). */
  readonly sortOrder: number;
  readonly sortTarget: number;
  /** Only classifies a read-only txn; the store itself always answers from what it has applied. */
  readonly serializable: boolean;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  /** Bounds on kept results, inclusive; 0 means none. */
  readonly minModRevision: number;
  readonly maxModRevision: number;
  readonly minCreateRevision: number;
  readonly maxCreateRevision: number;
}

export interface PutInput {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly lease: bigint;
  readonly prevKv: boolean;
  readonly ignoreValue: boolean;
  readonly ignoreLease: boolean;
}

export interface DeleteRangeInput {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly prevKv: boolean;
}

/**
 * One condition. Of the value it compares with, the field that belongs to `target` counts; a client that set another or
 * none has compared with zero, which is what the unset field reads as.
 */
export interface CompareInput {
  /** Numbers of the API's CompareResult and CompareTarget; unknown ones pass (semantics §3.5). */
  readonly result: number;
  readonly target: number;
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly version: number;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly value: Uint8Array;
  readonly lease: bigint;
}

/** "none" is the empty union, which validation refuses. */
export type OpInput =
  | { readonly kind: "range"; readonly request: RangeInput }
  | { readonly kind: "put"; readonly request: PutInput }
  | { readonly kind: "deleteRange"; readonly request: DeleteRangeInput }
  | { readonly kind: "txn"; readonly request: TxnInput }
  | { readonly kind: "none"; readonly request: null };

export interface TxnInput {
  readonly compare: readonly CompareInput[];
  readonly success: readonly OpInput[];
  readonly failure: readonly OpInput[];
}
