/**
 * The thread in which passwords are hashed, as Passwords sees it: one request at a time, one answer each. The real one
 * runs ./password-worker.ts; tests and the simulator have their own.
 */
import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";
import { Worker } from "node:worker_threads";

export type PasswordRequest =
  | { readonly kind: "hash"; readonly password: string; readonly cost: number }
  | { readonly kind: "verify"; readonly password: string; readonly hash: BcryptHash };

export type PasswordAnswer =
  | { readonly kind: "hashed"; readonly hash: string }
  | { readonly kind: "verified"; readonly isRight: boolean };

/** The parts of a stored hash, checked. */
export interface BcryptHash {
  /** 4 to 31. */
  readonly cost: number;
  /** 22 characters. */
  readonly salt: string;
  /** 31 characters. */
  readonly digest: string;
}

export interface PasswordThread {
  /** Not before the last request was answered. */
  ask(request: PasswordRequest): void;
  /** Stops it, in the middle of a request if need be; its owner hears no more of it. */
  end(): void;
}

export interface PasswordThreadOwner {
  answered(answer: PasswordAnswer): void;
  /** It ended by itself and answers no more. */
  lost(error: Error): void;
}

export type StartPasswordThread = (owner: PasswordThreadOwner) => PasswordThread;

export const startPasswordThread: StartPasswordThread = (owner) => {
  // Compiled code has compiled neighbours.
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const cache = getCompileCacheDir();
  const worker = new Worker(new URL(`./password-worker.${extension}`, import.meta.url), {
    name: "quorate-passwords",
    // A thread does not inherit a compile cache that was enabled by a call.
    env: cache === undefined ? process.env : { NODE_COMPILE_CACHE: dirname(cache), ...process.env },
    resourceLimits: { maxYoungGenerationSizeMb: 2 },
  });
  let isOver = false;
  const lost = (error: Error): void => {
    if (isOver) return;
    isOver = true;
    owner.lost(error);
  };
  worker.on("message", (answer: PasswordAnswer) => {
    if (!isOver) owner.answered(answer);
  });
  worker.on("error", lost);
  worker.on("exit", (code) => lost(new Error(`the passwords' thread ended with code ${code}`)));
  // Whoever stops does not wait for a hash.
  worker.unref();
  return {
    ask: (request) => worker.postMessage(request),
    end: () => {
      isOver = true;
      void worker.terminate();
    },
  };
};
