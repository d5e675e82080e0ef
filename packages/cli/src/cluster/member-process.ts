/**
 * One member of a local cluster as a child process: its lines, its end, and how to stop it.
 *
 *   running ──stop()──▶ stopping (SIGTERM) ──▶ ended
 *      │                    └─ after the grace: SIGKILL
 *      └──────────────▶ ended: of itself, or by somebody else's signal
 *
 * It has a session of its own, so that Ctrl-C in the terminal reaches only the command, which then decides; and it holds
 * the reading end of a pipe as its standard input, whose end tells it that the command is gone (parent-watch.ts).
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

export interface MemberProcessOptions {
  readonly program: string;
  readonly args: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
  /** One line of its standard output or error, without the newline. */
  onLine(line: string): void;
  /** Once, when the process has ended and all its lines are told. */
  onEnd(end: MemberEnd): void;
}

export interface MemberEnd {
  /** "exit code 1", "signal SIGKILL", or why it could not be started: for people. */
  readonly reason: string;
  /** stop() had been asked for, and it ended by that and not by force. */
  readonly isClean: boolean;
}

export class MemberProcess {
  readonly #child: ChildProcess;
  readonly #options: MemberProcessOptions;
  #state: "running" | "stopping" | "ended" = "running";
  #wasKilled = false;
  #spawnError: Error | null = null;
  readonly #ended: Promise<void>;

  constructor(options: MemberProcessOptions) {
    this.#options = options;
    const child = spawn(options.program, options.args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: options.environment,
      detached: true,
    });
    this.#child = child;
    // Nothing is ever written, so nothing can be lost.
    child.stdin!.on("error", () => {});
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on("line", (line) => options.onLine(line));
    }
    this.#ended = new Promise((resolve) => {
      child.once("error", (error) => {
        if (child.pid !== undefined) return;
        this.#spawnError = error;
        this.#end(resolve, null, null);
      });
      child.once("close", (code, signal) => this.#end(resolve, code, signal));
    });
  }

  /** Undefined if it could not be started. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  get hasEnded(): boolean {
    return this.#state === "ended";
  }

  /** SIGTERM; after `graceMs` `onForce` is told and SIGKILL follows. Resolves when it has ended. */
  async stop(graceMs: number, onForce: () => void): Promise<void> {
    if (this.#state === "ended") return;
    this.#state = "stopping";
    this.#signal("SIGTERM");
    const timer = setTimeout(() => {
      onForce();
      this.kill();
    }, graceMs);
    await this.#ended;
    clearTimeout(timer);
  }

  /** SIGKILL, at once. */
  kill(): void {
    if (this.#state === "ended") return;
    this.#wasKilled = true;
    this.#signal("SIGKILL");
  }

  #signal(signal: NodeJS.Signals): void {
    // A process that could not be started has the id 0 for a moment, and 0 means everybody in our process group.
    if (this.#child.pid !== undefined) this.#child.kill(signal);
  }

  #end(resolve: () => void, code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#state === "ended") return;
    const isClean = this.#state === "stopping" && !this.#wasKilled && (signal === "SIGTERM" || code === 0);
    this.#state = "ended";
    const reason =
      this.#spawnError !== null ? this.#spawnError.message : signal !== null ? `signal ${signal}` : `exit code ${code}`;
    this.#options.onEnd({ reason, isClean });
    resolve();
  }
}
