/**
 * What a command printed, with everything replaced that differs between two servers in the same state: ids become ID1,
 * ID2, ... in the order in which they first appear, addresses, sizes, hashes of raft's doing, times and durations their
 * names.
 */
export class Transcript {
  readonly #endpoint: string;
  readonly #directory: string;
  /** Ids in hex as they were printed, in the order of their first appearance. */
  readonly #ids: string[] = [];

  constructor(endpoint: string, directory: string) {
    this.#endpoint = endpoint;
    this.#directory = directory;
  }

  of(code: number | string, stdout: string, stderr: string): string {
    return `exit ${code}\n--- stdout\n${this.#normal(stdout)}\n--- stderr\n${this.#normal(stderr)}`;
  }

  /** The id that was named so. */
  valueOf(name: string): string {
    const id = this.#ids[Number(name.slice(2)) - 1];
    if (!name.startsWith("ID") || id === undefined) throw new Error(`no ${name} has been printed`);
    return id;
  }

  #normal(text: string): string {
    // Protobuf: a header full of ids.
    if (/[^\P{Cc}\s]/u.test(text)) return "BINARY";
    return (
      text
        .replaceAll(this.#endpoint, "ENDPOINT")
        .replaceAll(this.#directory, "DIR")
        .split("\n")
        // The client's own log: which attempts it made, not what came of the command.
        .filter((line) => !/^\{"level":|^\d{4}[-/]\d\d[-/]\d\d[ T]/.test(line))
        .join("\n")
        // Columns of a table are as wide as an id.
        .replace(/^\+[-+]+\+$/gm, "BORDER")
        .replace(/^\|.*\|$/gm, (row) => row.replace(/ +/g, " "))
        .replace(/127\.0\.0\.1:\d+/g, "ADDRESS")
        .replace(/endpoint:\/\/client-[0-9a-f-]+/g, "endpoint://client")
        .replace(/\b(\d+(\.\d+)?(ns|µs|ms|s|m|h))+\b/g, "DURATION")
        .replace(
          /"(cluster_id|member_id|ID|raft_term|raftTerm|raft_index|raftAppliedIndex|dbSize|dbSizeInUse)":\d+/g,
          '"$1":N',
        )
        .replace(
          /"(ClusterID|MemberID|RaftTerm|Leader|RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse|\w*Id)" : \d+/g,
          '"$1" : N',
        )
        .replace(/\b[0-9a-f]{12,16}\b/g, (id) => this.#nameOf(id))
        .trimEnd()
    );
  }

  #nameOf(id: string): string {
    if (!this.#ids.includes(id)) this.#ids.push(id);
    return `ID${this.#ids.indexOf(id) + 1}`;
  }
}
