/**
 * What the log on disk can refuse, and why. Every refusal names the file; damage names the byte offset as well, because
 * the operator's next step is to look at it or to take this member's data from its peers.
 */

/** The files are damaged in a way no crash of ours leaves behind. Nothing was changed on disk. */
export class WalCorruptError extends Error {
  readonly kind = "WalCorrupt";
  readonly file: string;
  /** Byte offset in `file` of the batch or sector that is wrong. */
  readonly offset: number;
  readonly reason: string;

  constructor(file: string, offset: number, reason: string) {
    super(`log is corrupt: ${file} at offset ${offset}: ${reason}`);
    this.name = "WalCorruptError";
    this.file = file;
    this.offset = offset;
    this.reason = reason;
  }
}

/** The log was written by another version of the format. */
export class WalVersionError extends Error {
  readonly kind = "WalVersion";
  readonly file: string;

  constructor(file: string, found: string, expected: string) {
    super(`log has format version ${found}, this program reads version ${expected}: ${file}`);
    this.name = "WalVersionError";
    this.file = file;
  }
}

/** The directory holds no segment: there is nothing to open. */
export class WalMissingError extends Error {
  readonly kind = "WalMissing";

  constructor(directory: string) {
    super(`no log in ${directory}`);
    this.name = "WalMissingError";
  }
}

/** The directory already holds a log: creating one would hide it. */
export class WalExistsError extends Error {
  readonly kind = "WalExists";

  constructor(directory: string) {
    super(`a log exists already in ${directory}`);
    this.name = "WalExistsError";
  }
}

/** The log begins after the newest snapshot that the caller still has, so entries between them are gone. */
export class WalSnapshotMissingError extends Error {
  readonly kind = "WalSnapshotMissing";

  constructor(directory: string, usableIndex: number, firstIndex: number) {
    super(
      `log in ${directory} continues from index ${firstIndex}, but the newest usable snapshot is at index ${usableIndex}`,
    );
    this.name = "WalSnapshotMissingError";
  }
}

/** Something handed in is larger than the log can take. Nothing was written and the log stays usable. */
export class WalTooLargeError extends Error {
  readonly kind = "WalTooLarge";
  readonly limitBytes: number;

  constructor(what: string, sizeBytes: number, limitBytes: number) {
    super(`cannot log ${what} of ${sizeBytes} bytes: the limit is ${limitBytes}`);
    this.name = "WalTooLargeError";
    this.limitBytes = limitBytes;
  }
}

/** The disk is full. What was acknowledged is safe; the log takes nothing more until it is opened again. */
export class WalNoSpaceError extends Error {
  readonly kind = "WalNoSpace";
  readonly file: string;

  constructor(operation: string, file: string, cause: unknown) {
    super(`no space left on the log's disk: ${operation} ${file}`, { cause });
    this.name = "WalNoSpaceError";
    this.file = file;
  }
}

/**
 * The disk failed. After a failed write or sync the system may call pages clean that never reached the disk, so a second
 * try proves nothing: the log is unusable and the process must end.
 */
export class WalIoError extends Error {
  readonly kind = "WalIo";
  readonly file: string;

  constructor(operation: string, file: string, cause: unknown) {
    super(`log cannot ${operation} ${file}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.name = "WalIoError";
    this.file = file;
  }
}

/** The one way an operating system's error becomes ours. */
export function diskError(operation: string, file: string, cause: unknown): WalNoSpaceError | WalIoError {
  return isNoSpace(cause) ? new WalNoSpaceError(operation, file, cause) : new WalIoError(operation, file, cause);
}

export function isNoSpace(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return error.code === "ENOSPC" || error.code === "EDQUOT";
}
