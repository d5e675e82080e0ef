/** Who may do what: users, roles and permissions as the log says, and the tokens that stand for a user. */
export { NoTokens } from "./no-tokens.ts";
export { SimpleTokens, type SimpleTokensOptions } from "./simple-tokens.ts";
export type { Identity, Login, Tokens } from "./tokens.ts";
