/** Why a file is not read. */

/** The file is no bbolt file, is cut short, or breaks a rule of the format. Nothing was changed. */
export class BboltDamagedError extends Error {
  readonly kind = "BboltDamaged";
  /** The page that breaks the rule; for the choice of the meta page, 0. */
  readonly page: number;
  /** Byte of the file. */
  readonly offset: number;
  readonly detail: string;
  constructor(page: number, offset: number, detail: string) {
    super(`bbolt file is damaged at page ${page}, offset ${offset}: ${detail}`);
    this.name = "BboltDamagedError";
    this.page = page;
    this.offset = offset;
    this.detail = detail;
  }
}
