/**
 * Hashes passwords, so that the event loop does not, and apart from libuv's pool, where the log's syncs would wait behind
 * it. Started by ./password-thread.ts; handles one request at a time.
 *
 * On Linux a priority belongs to a thread (and 0 is the one that asks), so this one can stand back behind all others.
 * Elsewhere it would be the whole process's, and is left alone.
 */
import { timingSafeEqual } from "node:crypto";
import { getPriority, platform, setPriority } from "node:os";
import { parentPort } from "node:worker_threads";
import { genSaltSync, hashSync } from "bcryptjs";
import type { BcryptHash, PasswordAnswer, PasswordRequest } from "./password-thread.ts";

/** Behind the others by this much. With all cores busy it gets a tenth of one: log-ins are slow then, and not endless. */
const STEPS_BACK = 10;
const NICENESS_MAX = 19;

if (platform() === "linux") standBack();

const port = parentPort!;
port.on("message", (request: PasswordRequest) => port.postMessage(answerTo(request)));

function standBack(): void {
  try {
    setPriority(0, Math.min(NICENESS_MAX, getPriority(0) + STEPS_BACK));
  } catch {
    // A sandbox may forbid it; passwords have to be checked all the same.
  }
}

function answerTo(request: PasswordRequest): PasswordAnswer {
  switch (request.kind) {
    case "hash":
      // The same algorithm under the name that Go's library gives it.
      return { kind: "hashed", hash: hashSync(request.password, genSaltSync(request.cost).replace("$2b$", "$2a$")) };
    case "verify":
      return { kind: "verified", isRight: isRight(request.password, request.hash) };
    default:
      return request satisfies never;
  }
}

function isRight(password: string, { cost, salt, digest }: BcryptHash): boolean {
  const prefix = `$2a$${String(cost).padStart(2, "0")}$${salt}`;
  const given = Buffer.from(hashSync(password, prefix).slice(-digest.length));
  return timingSafeEqual(given, Buffer.from(digest));
}
