/**
 * A snapshot file on the disk: the database, and behind it perhaps the SHA-256 of it. Databases are whole pages, so a size
 * of 32 more than a multiple of a sector says that the digest is there (reference: bbolt-format.md §10).
 *
 *     │ database: pages of 4096 bytes and more │ 32 bytes │
 */
import { createHash, type Hash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { BboltSource } from "@quorate/bbolt";
import type { Log } from "@quorate/world";
import { withFile } from "./file-error.ts";

const DIGEST_BYTES = 32;
const SECTOR_BYTES = 512;
const CHUNK_BYTES = 1024 * 1024;

/** The file does not have the digest that it must have, or another one. The message is etcd's. */
export class DigestError extends Error {
  readonly kind = "Digest";
}

/** A file being read, as it is: opened for reading alone. Close it. */
export class SnapshotSource implements BboltSource {
  readonly path: string;
  readonly #descriptor: number;

  /** @throws FileError */
  constructor(path: string) {
    this.path = path;
    this.#descriptor = withFile("open", path, () => openSync(path, "r"));
  }

  sizeBytes(): number {
    return withFile("stat", this.path, () => fstatSync(this.#descriptor).size);
  }

  read(into: Uint8Array, length: number, position: number): number {
    let at = 0;
    while (at < length) {
      const from = position + at;
      const readBytes = withFile("read", this.path, () => readSync(this.#descriptor, into, at, length - at, from));
      if (readBytes === 0) break;
      at += readBytes;
    }
    return at;
  }

  get hasDigest(): boolean {
    return this.sizeBytes() % SECTOR_BYTES === DIGEST_BYTES;
  }

  /**
   * Reads the whole file.
   * @throws DigestError if the digest behind the database is not that of the database, or is not there. FileError.
   */
  checkDigest(): void {
    if (!this.hasDigest) throw new DigestError("snapshot missing hash but --skip-hash-check=false");
    const databaseBytes = this.sizeBytes() - DIGEST_BYTES;
    const expected = Buffer.alloc(DIGEST_BYTES);
    this.read(expected, DIGEST_BYTES, databaseBytes);
    const actual = this.#hash(createHash("sha256"), databaseBytes).digest();
    if (actual.equals(expected)) return;
    throw new DigestError(`expected sha256 [${[...expected].join(" ")}], got [${[...actual].join(" ")}]`);
  }

  /**
   * For those who only look: a wrong digest is told and no more, because etcdutl hashkv, which opens what it hashes for
   * writing, leaves files that way.
   */
  warnOfDigest(log: Log): void {
    try {
      if (this.hasDigest) this.checkDigest();
    } catch (error) {
      if (!(error instanceof DigestError)) throw error;
      log.warn("the file is not what was saved; it cannot be restored", { path: this.path, error });
    }
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #hash(hash: Hash, sizeBytes: number): Hash {
    const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, sizeBytes));
    for (let at = 0; at < sizeBytes; at += chunk.length) {
      const readBytes = this.read(chunk, Math.min(chunk.length, sizeBytes - at), at);
      hash.update(chunk.subarray(0, readBytes));
    }
    return hash;
  }
}
