/**
 * The linearizability check as its definition reads: some choice of the operations of unknown outcome, some order of all
 * chosen that respects real time, and a store that gives every answer. Exponential; a twin for histories of a few
 * operations on one key. Shares no rule with the model it is compared with: the store numbers its writes itself, skipping
 * as many revisions (other keys' writes) as it takes.
 */
import type { KvInput, Operation } from "../operation.ts";

interface Store {
  readonly value: string | null;
  readonly modRevision: number;
  readonly revision: number;
}

/** Revisions tried for a write that was told none: as high as any answer of the history, and one more. */
export function isLinearizable(history: readonly Operation[]): boolean {
  const highest = Math.max(1, ...history.map(({ output }) => output?.revision ?? 0)) + history.length;
  return extend(history, { value: null, modRevision: 0, revision: 0 }, highest);
}

function extend(waiting: readonly Operation[], store: Store, highest: number): boolean {
  if (waiting.every((operation) => operation.return === null)) return true;
  return waiting.some((operation, i) => {
    if (waiting.some((other) => other.return !== null && other.return < operation.call)) return false;
    const rest = waiting.filter((_, j) => j !== i);
    return outcomes(store, operation, highest).some((after) => extend(rest, after, highest));
  });
}

/** All stores that may follow, over all header revisions the answer may have. */
function outcomes(store: Store, { input, output }: Operation, highest: number): Store[] {
  const stores: Store[] = [];
  for (let revision = store.revision; revision <= highest; revision++) {
    if (output !== null && output.revision !== revision) continue;
    const isCompareTrue = input.kind === "txn" && compares(store, input);
    const isGet = input.kind === "get" || (input.kind === "txn" && !isCompareTrue);
    const target = input.kind === "put" ? input.value : input.kind === "txn" ? input.write : null;
    const isChange = !isGet && (target !== null || store.value !== null);
    if (isChange && revision === store.revision) continue;
    if (output !== null) {
      if (output.kind === "delete" && output.deleted !== (store.value === null ? 0 : 1)) continue;
      if (output.kind === "txn" && output.succeeded !== isCompareTrue) continue;
      if (isGet && (output.kind === "get" || output.kind === "txn")) {
        if ((output.found?.value ?? null) !== store.value) continue;
        if (output.found !== null && output.found.modRevision !== store.modRevision) continue;
      }
    }
    stores.push(isChange ? { value: target, modRevision: revision, revision } : { ...store, revision });
  }
  return stores;
}

function compares(store: Store, { compare }: KvInput & { readonly kind: "txn" }): boolean {
  if (compare.target === "value") return store.value === compare.value;
  return compare.modRevision === (store.value === null ? 0 : store.modRevision);
}
