/** What `--auth-token=` asks for: nobody can log in, and whatever is presented as a token is none. */
import type { Identity, Login, Resolved, Tokens } from "./tokens.ts";

export class NoTokens implements Tokens {
  nonce(): string {
    return "";
  }

  loggedIn(): void {}

  issue(_login: Login, done: (token: string | null) => void): void {
    done(null);
  }

  known(): Identity | undefined {
    return undefined;
  }

  resolve(_token: string, done: (identity: Resolved) => void): void {
    done(null);
  }

  applied(): void {}

  dropUser(): void {}

  dropAll(): void {}

  expire(): void {}
}
