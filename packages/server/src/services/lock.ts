/**
 * v3lockpb.Lock: a lock is held by the session whose key is the oldest under the lock's name (semantics §8).
 *
 * A lock does not protect anything by itself: a holder that was paused may go on after its lease has expired. Who guards
 * something with it compares the create revision of the lock's key in every transaction (docs/locks.md; known failure
 * LO-02).
 */
import {
  DeleteRangeRequest,
  DeleteRangeResponse,
  LockRequest,
  LockResponse,
  UnlockRequest,
  UnlockResponse,
} from "@quorate/api/messages";
import type { Method } from "@quorate/rpc";
import { failOuter, type LocalMethod, type LocalMethods } from "./local-call.ts";
import { QueueWait } from "./queue-wait.ts";
import { answer, unary } from "./simple.ts";

const DELETE_RANGE: LocalMethod<DeleteRangeRequest, DeleteRangeResponse> = {
  path: "/etcdserverpb.KV/DeleteRange",
  request: DeleteRangeRequest,
  response: DeleteRangeResponse,
};
const NO_VALUE = new Uint8Array(0);

export function lockMethods(methods: LocalMethods): [string, Method][] {
  return [
    unary("/v3lockpb.Lock/Lock", LockRequest, (call, { name, lease }) => {
      new QueueWait(
        methods,
        call,
        { name, lease, value: NO_VALUE, expired: "SessionExpired" },
        {
          reached: ({ key }, header) => answer(call, LockResponse, { header, key }),
        },
      ).begin();
    }),
    unary("/v3lockpb.Lock/Unlock", UnlockRequest, (call, { key }) => {
      methods.unary(call, DELETE_RANGE, { key }, (failure, deleted) => {
        if (failure !== null) failOuter(call, failure);
        else answer(call, UnlockResponse, { header: deleted!.header });
      });
    }),
  ];
}
