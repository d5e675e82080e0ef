/** The key index: which keys there are and at which revisions. See key-index.ts. */
export { type CheckpointSave, KeyIndexCheckpointError } from "./checkpoint.ts";
export { KeyIndex, type SlotVisitor } from "./key-index.ts";
export { KEY_BYTES_MAX, KeyIndexLimitError, NONE } from "./limits.ts";
export { NodeList } from "./node-list.ts";
