/** Who may do what: users, roles and permissions as the log says, and the tokens that stand for a user. */
export { Access, AuthStore, type Permission, ROOT, type StoredPassword } from "./auth-store.ts";
export { type AuthTable, type AuthTables, MAX_NAME_BYTES } from "./auth-tables.ts";
export { AuthRecordCorruptError } from "./errors.ts";
export { NoTokens } from "./no-tokens.ts";
export { SimpleTokens, type SimpleTokensOptions } from "./simple-tokens.ts";
export type { Identity, Login, Resolved, Tokens } from "./tokens.ts";
