/**
 * The messages of the Lock service.
 * What the fields mean: proto/.
 */

import { bytes, embedded, id, message } from "./fields.ts";
import type { MessageType } from "./message-type.ts";
import { ResponseHeader } from "./response-header.ts";

export interface LockRequest {
  readonly name: Uint8Array;
  readonly lease: bigint;
}
export const LockRequest: MessageType<LockRequest> = message<LockRequest>("v3lockpb.LockRequest", {
  name: bytes(1),
  lease: id(2),
});

export interface LockResponse {
  readonly header: ResponseHeader | undefined;
  readonly key: Uint8Array;
}
export const LockResponse: MessageType<LockResponse> = message<LockResponse>("v3lockpb.LockResponse", {
  header: embedded(1, () => ResponseHeader),
  key: bytes(2),
});

export interface UnlockRequest {
  readonly key: Uint8Array;
}
export const UnlockRequest: MessageType<UnlockRequest> = message<UnlockRequest>("v3lockpb.UnlockRequest", {
  key: bytes(1),
});

export interface UnlockResponse {
  readonly header: ResponseHeader | undefined;
}
export const UnlockResponse: MessageType<UnlockResponse> = message<UnlockResponse>("v3lockpb.UnlockResponse", {
  header: embedded(1, () => ResponseHeader),
});
