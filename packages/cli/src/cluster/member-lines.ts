/**
 * Which of a member's log lines a person wants to read, and in which words. Lines are JSON in the shape of etcd's; all
 * else (a stack trace, another format) is shown as it is.
 *
 * One event is one line for the whole cluster: every member logs an election, only the elected one's line is told.
 */

/** A message repeated within this time is told once, and counted. */
const REPEAT_MS = 10_000;
const FIELDS_LENGTH_MOST = 300;

/** True of every member of a local cluster, or of every first start: nothing to act on. */
const EXPECTED: ReadonlySet<string> = new Set([
  "Running http and grpc server on single port. This is not recommended for production.",
  "simple token is not cryptographically signed",
  "serving client traffic insecurely; this is strongly discouraged!",
  "Failed to detect schema version",
  "failed to update storage version",
]);
const LEADER_CHANGE =
  /^raft\.node: ([0-9a-f]+) (?:elected leader|changed leader from [0-9a-f]+ to) ([0-9a-f]+)(?: at term (\d+))?/;
const LEADER_LOSS = /^raft\.node: [0-9a-f]+ lost leader [0-9a-f]+(?: at term (\d+))?/;
const FRAME_FIELDS: ReadonlySet<string> = new Set([
  "level",
  "ts",
  "logger",
  "caller",
  "msg",
  "stacktrace",
  // Whose line it is says the prefix.
  "local-member-id",
]);

export class MemberLines {
  /** Message → when it was last told, and how often it came since. */
  readonly #told = new Map<string, { atMs: number; untold: number }>();
  #memberId: string | null = null;

  /** The member's id in hexadecimal as its lines give it, so that others' lines can be told with its name; null so far. */
  get memberId(): string | null {
    return this.#memberId;
  }

  /** What to tell of `line`; null if nothing. `nowMs` only ever grows. */
  read(line: string, nowMs: number): string | null {
    const entry = parse(line);
    if (entry === null) return line.trim() === "" ? null : line;
    const { level, msg } = entry;
    const id = entry["local-member-id"];
    if (typeof id === "string" && id !== "") this.#memberId = id;
    if (level === "info" || level === "debug") return eventOf(msg);
    if (EXPECTED.has(msg)) return null;
    const count = this.#count(msg, nowMs);
    if (count === 0) return null;
    const label = level === "warn" ? "warning" : level;
    const repeats = count > 1 ? ` (${count} times)` : "";
    return `${label}: ${msg}${repeats}${fieldsOf(entry)}`;
  }

  /** 0: told a moment ago. Otherwise how many of them this line stands for. */
  #count(message: string, nowMs: number): number {
    const before = this.#told.get(message);
    if (before !== undefined && nowMs - before.atMs < REPEAT_MS) {
      before.untold++;
      return 0;
    }
    this.#told.set(message, { atMs: nowMs, untold: 0 });
    return 1 + (before?.untold ?? 0);
  }
}

interface LogEntry {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

function parse(line: string): LogEntry | null {
  if (!line.startsWith("{")) return null;
  try {
    const entry = JSON.parse(line) as LogEntry;
    return typeof entry.level === "string" && typeof entry.msg === "string" ? entry : null;
  } catch {
    return null;
  }
}

function eventOf(message: string): string | null {
  const change = LEADER_CHANGE.exec(message);
  if (change !== null) {
    const [, self, leader, term] = change;
    return self === leader ? `is the leader${termText(term)}` : null;
  }
  const loss = LEADER_LOSS.exec(message);
  if (loss !== null) return `has lost its leader${termText(loss[1])}`;
  return null;
}

function termText(term: string | undefined): string {
  return term === undefined ? "" : ` of term ${term}`;
}

function fieldsOf(entry: LogEntry): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(entry)) {
    if (!FRAME_FIELDS.has(name)) parts.push(`${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
  }
  if (parts.length === 0) return "";
  const text = parts.join(", ");
  return ` (${text.length > FIELDS_LENGTH_MOST ? `${text.slice(0, FIELDS_LENGTH_MOST)}...` : text})`;
}
