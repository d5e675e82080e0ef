/**
 * Checks of a request that need nothing but the request (semantics §3.2, §3.4), before it costs a log entry.
 *
 * Who calls: the KV service, and the transaction check for each operation. Every function returns the kind of the first
 * failed check, in etcd's order, or null: on the path of every request, so nothing is thrown or allocated.
 */

import { SortOrder, SortTarget } from "./enums.ts";
import type { ErrorKind } from "./errors.ts";
import type { DeleteRangeView, PutView, RangeView } from "./hot/index.ts";

type SortFields = Pick<RangeView, "sortOrder" | "sortTarget">;
type FilterFields = Pick<RangeView, "minModRevision" | "maxModRevision" | "minCreateRevision" | "maxCreateRevision">;

export function checkPutView(put: PutView): ErrorKind | null {
  return checkPut(
    put.keyEnd - put.keyStart,
    put.valueEnd - put.valueStart,
    put.lease,
    put.ignoreValue,
    put.ignoreLease,
  );
}

/** A put by its parts: of a transaction's, for instance. */
export function checkPut(
  keyLength: number,
  valueLength: number,
  lease: bigint,
  ignoreValue: boolean,
  ignoreLease: boolean,
): ErrorKind | null {
  if (keyLength === 0) return "EmptyKey";
  if (ignoreValue && valueLength !== 0) return "ValueProvided";
  if (ignoreLease && lease !== 0n) return "LeaseProvided";
  return null;
}

export function checkDeleteRangeView(request: DeleteRangeView): ErrorKind | null {
  return request.keyEnd === request.keyStart ? "EmptyKey" : null;
}

export function checkRangeView(range: RangeView): ErrorKind | null {
  return checkRange(range.keyEnd - range.keyStart, range);
}

/** A range by its key's length and its options: of a transaction's, for instance. */
export function checkRange(keyLength: number, options: SortFields): ErrorKind | null {
  if (keyLength === 0) return "EmptyKey";
  if (options.sortOrder < SortOrder.NONE || options.sortOrder > SortOrder.DESCEND) return "InvalidSortOption";
  if (options.sortTarget < SortTarget.KEY || options.sortTarget > SortTarget.VALUE) return "InvalidSortOption";
  return null;
}

/** RangeStream sends keys in their own order as it finds them, so it can neither sort nor filter. */
export function checkRangeStreamView(range: RangeView): ErrorKind | null {
  const refused = checkRangeView(range);
  if (refused !== null) return refused;
  if (!isKeyOrder(range)) return "RangeStreamSortUnsupported";
  if (hasRevisionFilter(range)) return "RangeStreamFilterUnsupported";
  return null;
}

/** Whether no sort was asked for that key order does not already give: order NONE with any target, or KEY ascending. */
export function isKeyOrder(options: SortFields): boolean {
  return (
    options.sortOrder === SortOrder.NONE ||
    (options.sortOrder === SortOrder.ASCEND && options.sortTarget === SortTarget.KEY)
  );
}

export function hasRevisionFilter(options: FilterFields): boolean {
  return (
    options.minModRevision !== 0 ||
    options.maxModRevision !== 0 ||
    options.minCreateRevision !== 0 ||
    options.maxCreateRevision !== 0
  );
}
