/**
 * Debian's etcdctl as tests use it: one command to its end, or one that stays (watch, lease keep-alive) whose lines are
 * awaited as they come. Only what the program prints and how it ends is looked at, as a user's script would.
 */
import { type ChildProcess, spawn } from "node:child_process";

export interface CommandEnd {
  /** Exit code, or the name of the signal that ended it. */
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

/** How long a line may take to come. Generous: it only ever passes when a test fails. */
const LINE_MS = 10_000;

export class Etcdctl {
  readonly #globalFlags: readonly string[];
  readonly #running: Set<RunningCommand> = new Set();

  readonly #program: string;

  /** `flags` come before every command's own: TLS files, output format. */
  constructor(endpoint: string, flags: readonly string[] = [], program = "etcdctl") {
    this.#globalFlags = [`--endpoints=${endpoint}`, ...flags];
    this.#program = program;
  }

  /** Runs a command to its end, with `stdin` as its whole input. */
  async run(args: readonly string[], stdin = ""): Promise<CommandEnd> {
    const command = this.start(args);
    command.child.stdin!.end(stdin);
    return command.end();
  }

  /** Runs a command that must succeed; returns what it printed. Throws with its own complaint otherwise. */
  async ok(args: readonly string[], stdin = ""): Promise<string> {
    const end = await this.run(args, stdin);
    if (end.code !== 0) throw new Error(`etcdctl ${args.join(" ")} ended with ${end.code}: ${end.stderr}`);
    return end.stdout;
  }

  /** The answer of a command in JSON. Ids above 2^53 come out rounded. */
  async json<T>(args: readonly string[], stdin = ""): Promise<T> {
    return JSON.parse(await this.ok([...args, "--write-out=json"], stdin)) as T;
  }

  /** Starts a command that goes on until it is stopped. */
  start(args: readonly string[]): RunningCommand {
    const child = spawn(this.#program, [...this.#globalFlags, ...args], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, ETCDCTL_API: "3" },
    });
    const command = new RunningCommand(child);
    this.#running.add(command);
    void command.end().then(() => this.#running.delete(command));
    return command;
  }

  /** Ends whatever still runs. For `after` hooks. */
  async stopAll(): Promise<void> {
    for (const command of [...this.#running]) await command.stop();
  }
}

export class RunningCommand {
  readonly child: ChildProcess;
  #stdout = "";
  #stderr = "";
  #read = 0;
  #wake: () => void = () => {};
  readonly #ended: Promise<CommandEnd>;
  #hasEnded = false;

  constructor(child: ChildProcess) {
    this.child = child;
    // A command that ends before it has read its input is no failure of the test's.
    child.stdin!.on("error", () => {});
    child.stdout!.setEncoding("utf8").on("data", (chunk: string) => {
      this.#stdout += chunk;
      this.#wake();
    });
    child.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
      this.#stderr += chunk;
    });
    this.#ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => {
        this.#hasEnded = true;
        this.#wake();
        resolve({ code: code ?? signal!, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
  }

  end(): Promise<CommandEnd> {
    return this.#ended;
  }

  /** The next line of its output; throws if none comes in time or the command has ended. */
  async line(): Promise<string> {
    const deadline = Date.now() + LINE_MS;
    for (;;) {
      const end = this.#stdout.indexOf("\n", this.#read);
      if (end >= 0) {
        const line = this.#stdout.slice(this.#read, end);
        this.#read = end + 1;
        return line;
      }
      const leftMs = deadline - Date.now();
      if (this.#hasEnded || leftMs <= 0) {
        throw new Error(
          `no more lines: ${this.#hasEnded ? "it has ended" : "none came in time"}; stdout:\n${this.#stdout}\nstderr:\n${this.#stderr}`,
        );
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async lines(count: number): Promise<string[]> {
    const lines: string[] = [];
    while (lines.length < count) lines.push(await this.line());
    return lines;
  }

  write(text: string): void {
    this.child.stdin!.write(text);
  }

  async stop(): Promise<CommandEnd> {
    this.child.kill("SIGKILL");
    return this.#ended;
  }
}
