/**
 * Log lines in the shape of etcd's (zap's production encoder), because operators' tools and tests read that shape:
 *
 *   {"level":"info","ts":"2026-08-20T10:00:00.000000Z","logger":"raft","caller":"member/member.ts","msg":"...",...}
 *
 * and the same columns separated by tabs in `console` format. Lines of one message are thinned as zap does: per second,
 * the first 100, then every 100th. A logger library would cost 10 MB of a 90 MB budget for this one shape
 * (docs/decisions/0003).
 */
import type { Clock, Log, LogFields, LogLevel } from "@quorate/world";

export type ZapLevel = LogLevel | "panic" | "fatal";

const RANK: Readonly<Record<ZapLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3, panic: 4, fatal: 5 };
const SAMPLE_FIRST = 100;
const SAMPLE_EACH = 100;

export interface ZapLogOptions {
  readonly level: ZapLevel;
  readonly format: "json" | "console";
  readonly clock: Clock;
  /** Receives whole lines, newline included. Must not throw. */
  readonly write: (line: string) => void;
}

/** Shared by a log and its named children: where lines go and how many of each were seen this second. */
class Sink {
  readonly options: ZapLogOptions;
  readonly #seen = new Map<string, number>();
  #second = -1;

  constructor(options: ZapLogOptions) {
    this.options = options;
  }

  admits(message: string): boolean {
    const second = Math.floor(this.options.clock.monotonicMs() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#seen.clear();
    }
    const count = (this.#seen.get(message) ?? 0) + 1;
    this.#seen.set(message, count);
    return count <= SAMPLE_FIRST || (count - SAMPLE_FIRST) % SAMPLE_EACH === 0;
  }
}

export class ZapLog implements Log {
  readonly #sink: Sink;
  readonly #logger: string;
  readonly #caller: string;
  readonly #least: number;

  constructor(options: ZapLogOptions);
  /** @internal */
  constructor(sink: Sink, logger: string, caller: string);
  constructor(from: ZapLogOptions | Sink, logger = "", caller = "server") {
    this.#sink = from instanceof Sink ? from : new Sink(from);
    this.#logger = logger;
    this.#caller = caller;
    this.#least = RANK[this.#sink.options.level];
  }

  /** A log for one room; `caller` is the room's file as zap's caller column, `logger` zap's logger name if any. */
  for(caller: string, logger = ""): ZapLog {
    return new ZapLog(this.#sink, logger, caller);
  }

  isEnabled(level: LogLevel): boolean {
    return RANK[level] >= this.#least;
  }
  debug(message: string, fields?: LogFields): void {
    this.log("debug", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.log("info", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.log("warn", message, fields);
  }
  error(message: string, fields?: LogFields): void {
    this.log("error", message, fields);
  }
  /** Writes the line; ending the process is the caller's. */
  fatal(message: string, fields?: LogFields): void {
    this.log("fatal", message, fields);
  }

  log(level: ZapLevel, message: string, fields: LogFields = {}): void {
    if (RANK[level] < this.#least || !this.#sink.admits(message)) return;
    const { format, clock, write } = this.#sink.options;
    const ts = timestamp(clock.wallMs());
    const rest = fieldsJson(fields);
    if (format === "console") {
      const name = this.#logger === "" ? "" : `${this.#logger}\t`;
      write(`${ts}\t${level.toUpperCase()}\t${name}${this.#caller}\t${message}${rest === "" ? "" : `\t{${rest}}`}\n`);
      return;
    }
    const name = this.#logger === "" ? "" : `"logger":${JSON.stringify(this.#logger)},`;
    write(
      `{"level":"${level}","ts":"${ts}",${name}"caller":${JSON.stringify(this.#caller)},` +
        `"msg":${JSON.stringify(message)}${rest === "" ? "" : `,${rest}`}}\n`,
    );
  }
}

/** RFC 3339 with microseconds in the local zone, "Z" for UTC, as zap's layout prints it. */
function timestamp(wallMs: number): string {
  const date = new Date(wallMs);
  const offsetMinutes = -date.getTimezoneOffset();
  const local = new Date(wallMs + offsetMinutes * 60_000).toISOString();
  const micros = `${local.slice(20, 23)}${String(Math.floor((wallMs * 1000) % 1000)).padStart(3, "0")}`;
  if (offsetMinutes === 0) return `${local.slice(0, 19)}.${micros}Z`;
  const sign = offsetMinutes < 0 ? "-" : "+";
  const hours = String(Math.floor(Math.abs(offsetMinutes) / 60)).padStart(2, "0");
  return `${local.slice(0, 19)}.${micros}${sign}${hours}${String(Math.abs(offsetMinutes) % 60).padStart(2, "0")}`;
}

/** `"a":1,"b":"x"`; a value that cannot be rendered becomes a note about that, because logging never throws (LI-12). */
function fieldsJson(fields: LogFields): string {
  let text = "";
  for (const name of Object.keys(fields)) {
    let value: string | undefined;
    try {
      value = JSON.stringify(fields[name], plain);
    } catch {
      value = '"(unprintable)"';
    }
    if (value !== undefined) text += `${text === "" ? "" : ","}${JSON.stringify(name)}:${value}`;
  }
  return text;
}

function plain(_name: string, value: unknown): unknown {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Error) return value.message;
  return value;
}
