/** The kind of token that --auth-token asks for. Called once, when a member starts. */
import { NoTokens, SimpleTokens, type Tokens } from "@quorate/auth";
import type { Clock, Log, Random } from "@quorate/world";
import type { AuthTokenConfig } from "../config/auth-token.ts";

export interface TokensWorld {
  readonly clock: Clock;
  /** Whoever can guess it can be anybody: the machine's, but for tests. */
  readonly random: Random;
  readonly log: Log;
}

/** Rejects with JwtKeyError if keys are missing or wrong. */
export async function tokensOf(
  { authToken }: { readonly authToken: AuthTokenConfig },
  world: TokensWorld,
): Promise<Tokens> {
  switch (authToken.kind) {
    case "none":
      return new NoTokens();
    case "simple":
      world.log.warn("simple token is not cryptographically signed");
      return new SimpleTokens({ clock: world.clock, random: world.random, ttlMs: authToken.ttlMs });
    case "jwt": {
      const { JwtTokens } = await import("./jwt-tokens.ts");
      return JwtTokens.open(authToken, world);
    }
    default:
      return authToken satisfies never;
  }
}

/** Why {@link Tokens.issue} gave none: etcd's errors for the two kinds of server that cannot issue any. */
export function refusalToIssue(authToken: AuthTokenConfig): "VerifyOnly" | "AuthFailed" {
  return authToken.kind === "jwt" ? "VerifyOnly" : "AuthFailed";
}
