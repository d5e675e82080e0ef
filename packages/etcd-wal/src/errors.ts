/** Why a log of etcd's is not read. Nothing was changed on disk. */

/** A file breaks a rule of the format in a way that no crash of etcd's explains. */
export class EtcdLogDamagedError extends Error {
  readonly kind = "EtcdLogDamaged";
  readonly file: string;
  /** Byte of the file where the record begins that is wrong, or the file ends too early. */
  readonly offset: number;
  readonly reason: string;

  constructor(file: string, offset: number, reason: string) {
    super(`${file} is damaged at offset ${offset}: ${reason}`);
    this.name = "EtcdLogDamagedError";
    this.file = file;
    this.offset = offset;
    this.reason = reason;
  }
}

/** The directory holds no segment of etcd's. */
export class EtcdLogMissingError extends Error {
  readonly kind = "EtcdLogMissing";

  constructor(directory: string) {
    super(`${directory} holds no log of etcd's`);
    this.name = "EtcdLogMissingError";
  }
}
