/**
 * etcd's public API as data: codecs of the hot messages, the error table, the limits, the methods and the checks of a
 * request that need nothing but the request. Knows nothing of how anything is done. Cold messages: "./messages";
 * protobuf itself: "./wire".
 */
export * from "./enums.ts";
export * from "./errors.ts";
export * from "./hot/index.ts";
export * from "./limits.ts";
export * from "./methods.ts";
export * from "./validate.ts";
