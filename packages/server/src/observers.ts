/**
 * Hooks for tracing: who embeds a server may hear of every call of a client, and of every request between members, from its
 * beginning to its end, with a slot to keep a span in. Without an observer they cost nothing.
 *
 *   client ─▶ rpc ── callStarted, callEnded ───────▶ calls
 *   member ◀▶ peers ── requestStarted, requestEnded ─▶ peers
 *
 * The server uses both itself: calls for its metrics and the log of slow ones, requests between members for the debug log.
 */
import type { ObservedCall, RpcObserver } from "@quorate/rpc";
import type { PeerObserver } from "./peers/peer-observer.ts";

export interface ServerObservers {
  readonly calls?: RpcObserver;
  readonly peers?: PeerObserver;
}

/** One observer of two: the first, which leaves the slot alone, and then the second. */
export function bothOf(first: RpcObserver, second: RpcObserver | undefined): RpcObserver {
  if (second === undefined) return first;
  return {
    callStarted(call: ObservedCall) {
      first.callStarted?.(call);
      second.callStarted?.(call);
    },
    callEnded(call: ObservedCall, code: number) {
      first.callEnded?.(call, code);
      second.callEnded?.(call, code);
    },
    messageReceived(path: string, bytes: number) {
      first.messageReceived?.(path, bytes);
      second.messageReceived?.(path, bytes);
    },
    messageSent(path: string, bytes: number) {
      first.messageSent?.(path, bytes);
      second.messageSent?.(path, bytes);
    },
    connectionClosed(reason: string) {
      first.connectionClosed?.(reason);
      second.connectionClosed?.(reason);
    },
  };
}
