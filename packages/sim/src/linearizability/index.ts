/** Checks of what clients were told: linearizability per key, revisions over all keys, and watches. */
export { type Model, type SearchVerdict, search, type Timed } from "./checker.ts";
export { checkKv, type KeyState, type KvCheckOptions, type KvVerdict, keyModel } from "./kv-model.ts";
export {
  type Compare,
  changedStore,
  describeOperation,
  type Found,
  type KvInput,
  type KvOutput,
  type Operation,
} from "./operation.ts";
export { checkAgainstEvents, checkRevisions, type RevisionVerdict } from "./revisions.ts";
export { checkWatchers, type WatchEvent, type Watched, type WatchSession, type WatchVerdict } from "./watch.ts";
