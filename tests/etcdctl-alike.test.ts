/**
 * Every command of etcdctl, run against an etcd and against Quorate: exit code, output and complaints must be the same,
 * but for ids, addresses, sizes and durations (alike/transcript.ts). What one command leaves behind is what the next one
 * finds, as in a terminal.
 *
 * ETCD names another etcd than Debian's, ETCDCTL another etcdctl.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Terminal } from "./alike/terminal.ts";
import { isInstalled, ServerProcess } from "./harness/processes.ts";

const etcd = process.env.ETCD ?? "etcd";
const etcdctl = process.env.ETCDCTL ?? "etcdctl";

describe("etcdctl says the same of Quorate as of etcd", {
  skip: !isInstalled(etcd) || !isInstalled(etcdctl, "version"),
}, () => {
  const directory = mkdtempSync(join(tmpdir(), "quorate-alike-"));
  let servers: ServerProcess[] = [];
  let terminals: Terminal[] = [];

  before(async () => {
    servers = await Promise.all([ServerProcess.etcd(), ServerProcess.quorate()]);
    terminals = servers.map((server, i) => new Terminal(etcdctl, server.endpoint, join(directory, String(i))));
  });
  after(async () => {
    await Promise.all(servers.map((server) => server.dispose()));
    rmSync(directory, { recursive: true, force: true });
  });

  /** Types the lines into both terminals, one after the other. */
  function alike(name: string, lines: readonly Line[]): void {
    test(name, async () => {
      const version = referenceVersion();
      const differences: string[] = [];
      for (const line of lines) {
        const { type, input = "", until, since = "" } = typeof line === "string" ? { type: line } : line;
        if (isOlder(version, since)) continue;
        const [theirs, ours] = await Promise.all(
          terminals.map((terminal) =>
            until === undefined ? terminal.run(type, input) : terminal.runUntil(type, until),
          ),
        );
        if (ours !== theirs) differences.push(`etcdctl ${type}\n=== of etcd: ${theirs}\n=== of Quorate: ${ours}\n`);
      }
      assert.equal(differences.join("\n"), "");
    });
  }

  alike("put, get, del", [
    "put a 1",
    "put a 2 --prev-kv",
    { type: "put fromstdin", input: "piped" },
    "put lost --lease=1234",
    "put a 3 --ignore-value",
    "put a --ignore-value",
    "put '' x",
    "get a",
    "get a --print-value-only",
    "get a -w json",
    "get a -w fields",
    "get a -w protobuf",
    "get a -w simple --hex",
    "get '' --from-key --keys-only",
    "get '' --prefix --count-only -w fields",
    "get a b --order=DESCEND --sort-by=MODIFY",
    "get a b --sort-by=NONSENSE",
    "get a --rev=1",
    "get a --rev=999",
    "get a --consistency=s",
    "get a --consistency=x",
    "get nothing",
    "get",
    "del a --prev-kv",
    "del a",
    "del '' --prefix -w json",
    "del",
    // Before there is a lease, whose id each server chooses.
    "endpoint hashkv",
    "endpoint hashkv --cluster",
  ]);

  alike("txn", [
    { type: "txn", input: 'ver("t") = "0"\n\nput t 1\n\nput t 2\n\n' },
    { type: "txn", input: 'mod("t") > "0"\nval("t") = "1"\n\nput t new\nget t\n\nget t\n\n' },
    { type: "txn -w json", input: 'val("t") = "nonsense"\n\nput t 1\n\nget t\ndel t\n\n' },
    { type: "txn", input: 'nonsense("t") = "1"\n\n\n\n' },
    { type: "txn", input: "\nput d 1\nput d 2\n\n\n" },
    { type: "txn --interactive", input: 'ver("t") > "0"\n\n\nput t 9\n\n' },
  ]);

  alike("lease", [
    "lease grant 500",
    "lease grant -1",
    "lease grant 99999999999",
    "lease grant x",
    "lease list",
    "put leased 1 --lease=$ID1",
    "lease timetolive 7777",
    "lease timetolive zz",
    "lease revoke 7777",
    "lease revoke $ID1",
    "lease list",
    "get leased",
    "lease keep-alive --once 7777",
    "lease keep-alive 7777",
  ]);

  alike("watch", [
    "put w 1",
    "put w 2",
    { type: "watch w --rev=1 --prev-kv", until: 6 },
    { type: "watch w --rev=1 -w json", until: 1 },
    { type: "watch w -i", until: 0 },
  ]);

  alike("compaction", [
    "put c 1",
    "put c 2",
    "put c 3",
    "compaction 3",
    "compaction 3",
    "compaction 2 --physical",
    "compaction 99999",
    "compaction x",
    "get c --rev=2",
    { type: "watch c --rev=1", until: "end" },
  ]);

  alike("endpoint, member, move-leader, alarm, defrag, version", [
    "endpoint health",
    "endpoint health -w json",
    "endpoint health --cluster",
    "member list",
    "member list -w table",
    "member add x",
    "member add x --peer-urls=nonsense",
    "member add x --peer-urls=http://127.0.0.1:1/path",
    "member remove 1",
    "member remove zz",
    "member update 1 --peer-urls=http://127.0.0.1:1",
    "member promote 1",
    "move-leader 1",
    "move-leader zz",
    "alarm list",
    "alarm disarm",
    "defrag",
    "defrag --cluster",
    "version",
    "nonsense",
  ]);

  alike("lock and elect", [
    "lock l echo held",
    "lock l --ttl=5 false",
    "lock l /nonexistent/program",
    { type: "lock l", until: 1 },
    "get l/ --prefix --keys-only",
    { type: "elect e candidate", until: 2 },
    "elect e",
    "elect",
    "lock",
  ]);

  alike("check, make-mirror, snapshot", [
    "check nonsense",
    "make-mirror",
    "put mirrored 1",
    { type: "make-mirror $ENDPOINT --prefix=mirrored --dest-prefix=copy", until: 0 },
    "get copy",
    "snapshot save $DIR/snap.db",
    "snapshot status $DIR/nothing.db",
    "snapshot restore $DIR/snap.db --data-dir=$DIR/restored --name=m",
    "snapshot restore $DIR/snap.db --data-dir=$DIR/restored",
    "snapshot save",
  ]);

  alike("user and role, before auth is on", [
    "user add alice:secret",
    "user add alice:again",
    "user add '' --new-user-password=x",
    "user add nopass --no-password",
    "user add root:rootpw",
    "user list",
    "user get alice",
    "user get nobody",
    "user delete nobody",
    "role add reader",
    "role add reader",
    "role add ''",
    "role grant-permission reader read a b",
    "role grant-permission reader write k",
    "role grant-permission reader readwrite p --prefix",
    { type: "role grant-permission reader read z a", since: "3.7" },
    "role grant-permission reader nonsense a",
    "role grant-permission nobody read a",
    "role get reader",
    "role get reader -w json",
    "role get nobody",
    "role get root",
    "role list",
    "role revoke-permission reader k",
    "role revoke-permission reader k",
    "role revoke-permission reader q --prefix",
    "role revoke-permission nobody k",
    "user grant-role alice reader",
    "user grant-role alice reader",
    "user grant-role alice nobody",
    "user grant-role nobody reader",
    "user get alice --detail",
    "user get alice -w json",
    "user revoke-role alice nothing",
    "user revoke-role nobody reader",
    { type: "user passwd alice --interactive=false", input: "newsecret\n" },
    { type: "user passwd nobody --interactive=false", input: "newsecret\n" },
    "auth disable",
    "get a --user=alice:newsecret",
  ]);

  alike("auth, switched on and off", [
    "auth enable",
    "user grant-role root root",
    "auth enable",
    "auth enable",
    "get a",
    "put a 1",
    "get a --user=alice:wrong",
    "get a --user=nobody:wrong",
    "get a --user=nopass:",
    "get a --user=alice:newsecret",
    "get a b --user=alice:newsecret",
    "get a c --user=alice:newsecret",
    "put a 1 --user=alice:newsecret",
    "put pq 1 --user=alice:newsecret",
    "put pq 2 --prev-kv --user=alice:newsecret",
    "del p --prefix --user=alice:newsecret",
    { type: "txn --user=alice:newsecret", input: "\nput pt 1\nget a\n\n\n" },
    { type: "txn --user=alice:newsecret", input: "\nput pt 1\n\nget z\n\n" },
    { type: "txn --user=alice:newsecret", input: 'val("z") = "1"\n\nput pt 1\n\n\n' },
    { type: "watch a --rev=1 --user=alice:newsecret", until: "end" },
    { type: "watch z --user=alice:newsecret", until: "end" },
    { type: "lease list --user=alice:newsecret", since: "3.7" },
    "lease grant 100 --user=alice:newsecret",
    "user list --user=alice:newsecret",
    "user get alice --user=alice:newsecret",
    "user get root --user=alice:newsecret",
    "role get reader --user=alice:newsecret",
    "role get root --user=alice:newsecret",
    "role list --user=alice:newsecret",
    { type: "compaction 4 --user=alice:newsecret", since: "3.7" },
    { type: "defrag --user=alice:newsecret", since: "3.7" },
    "alarm list --user=alice:newsecret",
    "alarm disarm --user=alice:newsecret",
    { type: "snapshot save $DIR/denied.db --user=alice:newsecret", since: "3.7" },
    "member list --user=alice:newsecret",
    { type: "move-leader 1 --user=alice:newsecret", since: "3.7" },
    { type: "endpoint status --user=alice:newsecret -w fields", since: "3.7" },
    { type: "endpoint hashkv --user=alice:newsecret", since: "3.7" },
    "auth disable --user=alice:newsecret",
    "user list --user=root:rootpw",
    "role delete root --user=root:rootpw",
    "user delete root --user=root:rootpw",
    "user revoke-role root root --user=root:rootpw",
    "put z 1 --user=root:rootpw",
    "role delete reader --user=root:rootpw",
    "get a --user=alice:newsecret",
    "user delete alice --user=root:rootpw",
    "get a --user=alice:newsecret",
    "auth disable --user=root:rootpw",
    { type: "auth status", since: "3.5" },
    { type: "auth status -w json", since: "3.5" },
    "auth disable",
    "get z",
    "user list",
    "role list",
  ]);
});

/**
 * What is typed; with `until`, the command is ended after so many lines of output, or ends by itself; with `since`, older
 * etcds answered otherwise, and it is left out beside them.
 */
type Line =
  | string
  | { readonly type: string; readonly input?: string; readonly until?: number | "end"; readonly since?: string };

function referenceVersion(): string {
  return /etcd Version: (\S+)/.exec(execFileSync(etcd, ["--version"], { encoding: "utf8" }))?.[1] ?? "";
}

function isOlder(version: string, than: string): boolean {
  return version.localeCompare(than, "en", { numeric: true }) < 0;
}
