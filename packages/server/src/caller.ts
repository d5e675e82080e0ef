/**
 * Whom a call comes from, kept with the call: the gate (services/gate.ts) finds it out before a method sees the call, and
 * whoever decides something for the caller asks here. Nothing is known while auth is off.
 */
import type { Identity } from "@quorate/auth";
import type { ServerCall } from "@quorate/rpc";

/** Somebody; nobody, without a token or a certificate; or one who presents a token that is none (any more). */
export type Caller = Identity | "nobody" | "stranger";

export function rememberCaller(call: ServerCall, caller: Caller): void {
  call.state = caller;
}

/** null: nobody. Strangers are refused before anybody asks, but by a stream, which asks {@link isStranger}. */
export function callerOf(call: ServerCall): Identity | null {
  const { state } = call;
  return typeof state === "object" ? (state as Identity | null) : null;
}

export function isStranger(call: ServerCall): boolean {
  return call.state === "stranger";
}
