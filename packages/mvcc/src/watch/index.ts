/** Watching: who wants to hear of which keys, and telling them. */
export { DuplicateWatchIdError, EmptyWatcherRangeError } from "./errors.ts";
export { FRAGMENT_OVERHEAD_SIZE_BYTES, fragmentEnds } from "./fragment.ts";
export { type ControlFields, NO_WATCH_ID, writeControl, writeEventsHead } from "./response.ts";
export type { SharedEvents } from "./shared-events.ts";
export type { CommittedChanges, WatchSource } from "./source.ts";
export { WatchHub, type WatchHubOptions } from "./watch-hub.ts";
export {
  type Watcher,
  type WatcherOptions,
  type WatcherState,
  WatchFilter,
  type WatchSink,
  type WatchStream,
} from "./watcher.ts";
