/**
 * What of a password bcrypt sees: its first 72 bytes, with a NUL behind them if there are fewer, over and over. Who checks
 * passwords (./passwords.ts) and who keeps them meanwhile (services/auth.ts) need no more of them.
 */

export const SEEN_BYTES = 72;

/** As much of a password as there may be in 72 bytes, so that a huge one costs no more; a character is cut only beyond. */
export function seenByBcrypt(password: string): string {
  return beginningOf(password, SEEN_BYTES + 1);
}

/** Whether it fits the hash of the empty password: NULs alone are the same as nothing. */
export function isEmptyForBcrypt(password: string): boolean {
  return /^(?:\0{72}|\0*$)/.test(password);
}

/** The first characters as a text of their own: a slice would keep the whole text alive. */
export function beginningOf(text: string, characters: number): string {
  return text.length <= characters ? text : Buffer.from(text.slice(0, characters)).toString();
}
