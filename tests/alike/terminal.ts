/**
 * A terminal in which etcdctl is used against one server. What was printed comes back as a transcript in which everything
 * that names the server is replaced, so that two of them can be compared.
 */
import { mkdirSync } from "node:fs";
import { Etcdctl } from "../harness/etcdctl.ts";
import { sleep } from "../harness/processes.ts";
import { Transcript } from "./transcript.ts";

/** For a command that prints nothing: long enough for it to do what it does. */
const QUIET_MS = 1500;

export class Terminal {
  readonly #etcdctl: Etcdctl;
  readonly #transcript: Transcript;
  readonly #variables: Readonly<Record<string, string>>;

  constructor(program: string, endpoint: string, directory: string) {
    mkdirSync(directory, { recursive: true });
    this.#etcdctl = new Etcdctl(endpoint, [], program);
    this.#transcript = new Transcript(endpoint, directory);
    this.#variables = { ENDPOINT: endpoint, DIR: directory };
  }

  /** A command to its end. */
  async run(line: string, input: string): Promise<string> {
    const { code, stdout, stderr } = await this.#etcdctl.run(this.#argumentsOf(line), input);
    return this.#transcript.of(code, stdout, stderr);
  }

  /** A command that goes on, interrupted after so many lines; "end": one that ends by itself, whatever it prints. */
  async runUntil(line: string, until: number | "end"): Promise<string> {
    const command = this.#etcdctl.start(this.#argumentsOf(line));
    if (until === "end") {
      const ended = await Promise.race([command.end(), sleep(QUIET_MS * 4)]);
      if (ended === undefined) {
        await command.stop();
        throw new Error(`${line} did not end`);
      }
      return this.#transcript.of(ended.code, ended.stdout, ended.stderr);
    }
    const lines: string[] = [];
    while (lines.length < until) lines.push(await command.line());
    if (until === 0) await sleep(QUIET_MS);
    await command.stop();
    // How it ends when it is interrupted is between it and the signal.
    return this.#transcript.of(0, lines.join("\n"), "");
  }

  /** Words as a shell would see them: spaces part them, single quotes hold them together, $NAME stands for a value. */
  #argumentsOf(line: string): string[] {
    const words = line.match(/(?:'[^']*'|[^\s'])+/g) ?? [];
    return words.map((word) =>
      word
        .replaceAll("'", "")
        .replace(/\$([A-Z]+\d*)/g, (_, name: string) => this.#variables[name] ?? this.#transcript.valueOf(name)),
    );
  }
}
