/**
 * Every message of the public API that is not on the path of each request, as plain objects: `Member.encode({ name })`,
 * `Member.decode(bytes)`. The tables follow proto/, and tests hold them to it.
 */
export * from "./auth.ts";
export * from "./cluster.ts";
export * from "./election.ts";
export * from "./health.ts";
export * from "./internal.ts";
export { fromJson, toJson } from "./json.ts";
export { MalformedJson } from "./json-text.ts";
export * from "./kv.ts";
export * from "./lease.ts";
export * from "./lock.ts";
export * from "./maintenance.ts";
export { type EnumNames, type Field, type FieldKind, type Init, MessageType } from "./message-type.ts";
export { messageTypes } from "./registry.ts";
export * from "./response-header.ts";
export * from "./watch.ts";
