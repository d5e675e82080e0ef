/**
 * Finds out whom a call comes from (semantics §7.5): by its token, from the metadata `token` or else `authorization`; without
 * one, if so configured, by the certificate of its connection. What a gateway passes on comes with the gateway's certificate,
 * so there the certificate says nothing (known failure AU-09).
 *
 *   token? ── yes ─▶ Tokens: known ─▶ Identity
 *     │ no                  └ not at once: resolve ─▶ Identity, stranger, or nobody can say now
 *     └─▶ certificate counts? ─▶ Identity of its CommonName, or nobody
 */
import type { Resolved } from "@quorate/auth";
import type { ServerCall } from "@quorate/rpc";
import { type Caller, rememberCaller } from "../caller.ts";
import type { Member } from "../member/member.ts";

const TOKEN = "token";
const AUTHORIZATION = "authorization";
const BEARER = "Bearer ";
const FROM_GATEWAY = "grpcgateway-accept";

export class Callers {
  readonly #member: Member;

  constructor(member: Member) {
    this.#member = member;
  }

  /**
   * Remembers the caller with the call if that can be done at once; false: {@link resolve} it. While auth is off there is
   * nothing to find out. Hot.
   */
  identify(call: ServerCall): boolean {
    if (!this.#member.auth.isEnabled) return true;
    const token = tokenOf(call);
    if (token === null) {
      rememberCaller(call, this.#byCertificate(call));
      return true;
    }
    const identity = this.#member.options.tokens.known(token);
    if (identity === undefined) return false;
    rememberCaller(call, identity);
    return true;
  }

  /**
   * Remembers the caller with the call, which may take a while, then calls `done`, once. Not identified: the call has ended,
   * or too many wait to be identified. Answers given then are flushed.
   */
  resolve(call: ServerCall, done: (isIdentified: boolean) => void): void {
    const tell = (caller: Caller | "busy"): void => {
      const isIdentified = call.isOpen && caller !== "busy";
      if (isIdentified) rememberCaller(call, caller);
      done(isIdentified);
      this.#member.flush();
    };
    const token = tokenOf(call);
    if (token === null) tell(this.#byCertificate(call));
    else this.#member.options.tokens.resolve(token, (identity) => tell(identity ?? "stranger"));
  }

  /** Who presents this token and nothing else; null: nobody good. */
  ofToken(token: string, done: (identity: Resolved) => void): void {
    this.#member.options.tokens.resolve(withoutBearer(token), done);
  }

  #byCertificate(call: ServerCall): Caller {
    if (!this.#member.options.trustsCertificateNames || call.metadata(FROM_GATEWAY) !== undefined) return "nobody";
    const user = call.peerCommonName;
    return user === null ? "nobody" : { user, revision: null };
  }
}

/** As presented, for passing on; null: none. */
export function presentedToken(call: ServerCall): string | null {
  return call.metadata(TOKEN) ?? call.metadata(AUTHORIZATION) ?? null;
}

function tokenOf(call: ServerCall): string | null {
  const presented = presentedToken(call);
  return presented === null ? null : withoutBearer(presented);
}

function withoutBearer(token: string): string {
  return token.startsWith(BEARER) ? token.slice(BEARER.length) : token;
}
