/**
 * Debian's etcdctl (3.4), a program nobody here wrote, against a real member: every command that a single member serves,
 * with what it prints and how it ends. All expectations but the version are also true of etcd itself; with
 * QUORATE_TEST_SUBJECT=etcd they are checked on it.
 *
 * covers: MV-03, MV-05, MV-08, WT-05, WT-08
 */
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Etcdctl } from "./harness/etcdctl.ts";
import { isInstalled, ServerProcess, sleep } from "./harness/processes.ts";

interface Header {
  readonly revision?: number;
}
interface JsonKeyValue {
  readonly key: string;
  readonly value?: string;
  readonly create_revision: number;
  readonly mod_revision: number;
  readonly version: number;
}
interface JsonRange {
  readonly header: Header;
  readonly kvs?: readonly JsonKeyValue[];
  readonly count?: number;
  readonly more?: boolean;
}

const isEtcd = process.env.QUORATE_TEST_SUBJECT === "etcd";
const isSlow = (process.env.QUORATE_SLOW_TESTS ?? "") !== "";

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const text = (bytes: string): string => Buffer.from(bytes, "base64").toString();

describe("Debian's etcdctl", { skip: !isInstalled("etcdctl", "version") }, () => {
  let server: ServerProcess;
  let ctl: Etcdctl;

  before(async () => {
    server = isEtcd ? await ServerProcess.etcd() : await ServerProcess.quorate();
    ctl = new Etcdctl(server.endpoint);
  });
  after(async () => {
    await ctl.stopAll();
    await server.dispose();
  });

  /** Exit code and the last line of the complaint. */
  async function refused(args: readonly string[], stdin = ""): Promise<[number | string, string]> {
    const end = await ctl.run(args, stdin);
    return [end.code, end.stderr.trimEnd().split("\n").at(-1)!];
  }

  async function revision(): Promise<number> {
    const { header } = await ctl.json<{ header: Header }>(["get", "no-such-key"]);
    return header.revision!;
  }

  describe("put and get", () => {
    before(async () => {
      for (const [key, value] of [
        ["get/a", "5"],
        ["get/b", "4"],
        ["get/c", "3"],
        ["get/d", "2"],
        ["get/e", "1"],
      ] as const) {
        await ctl.ok(["put", key, value]);
      }
      await ctl.ok(["put", "get/b", "0"]);
    });

    it("a key that was put is read back, another is not there", async () => {
      assert.equal(await ctl.ok(["get", "get/a"]), "get/a\n5\n");
      assert.equal(await ctl.ok(["get", "get/none"]), "");
    });

    it("put says OK, with --prev-kv also what was there before", async () => {
      assert.equal(await ctl.ok(["put", "put/a", "1"]), "OK\n");
      assert.equal(await ctl.ok(["put", "put/a", "2", "--prev-kv"]), "OK\nput/a\n1\n");
      assert.equal(await ctl.ok(["put", "put/new", "2", "--prev-kv"]), "OK\n");
    });

    it("put takes the value from standard input", async () => {
      await ctl.ok(["put", "put/stdin"], "line 1\nline 2\n");
      assert.equal(await ctl.ok(["get", "put/stdin", "--print-value-only"]), "line 1\nline 2\n\n");
    });

    it("put keeps the value or the lease where it is told to", async () => {
      const granted = await ctl.ok(["lease", "grant", "100"]);
      const id = /lease ([0-9a-f]{16})/.exec(granted)![1]!;
      await ctl.ok(["put", "put/kept", "v", `--lease=${id}`]);
      await ctl.ok(["put", "put/kept", "w", "--ignore-lease"]);
      await ctl.ok(["put", "put/kept", "--ignore-value", `--lease=${id}`]);
      const kept = await ctl.ok(["get", "put/kept", "-w", "fields"]);
      assert.match(kept, /"Value" : "w"\n/);
      assert.ok(kept.includes(`"Lease" : ${BigInt(`0x${id}`)}\n`), kept);
      assert.deepEqual(await refused(["put", "put/absent", "--ignore-value"]), [1, "Error: etcdserver: key not found"]);
      await ctl.ok(["lease", "revoke", id]);
    });

    it("a range ends before its end, --prefix and --from-key reach further", async () => {
      assert.equal(await ctl.ok(["get", "get/b", "get/d"]), "get/b\n0\nget/c\n3\n");
      assert.equal(
        await ctl.ok(["get", "get/", "--prefix", "--keys-only"]),
        "get/a\n\nget/b\n\nget/c\n\nget/d\n\nget/e\n\n",
      );
      const fromKey = await ctl.ok(["get", "get/d", "--from-key", "--keys-only"]);
      assert.ok(fromKey.startsWith("get/d\n\nget/e\n\nput/"), fromKey);
      const all = await ctl.json<JsonRange>(["get", "", "--prefix"]);
      assert.ok(all.count! >= 8);
    });

    it("--limit cuts the answer but not the count", async () => {
      const answer = await ctl.json<JsonRange>(["get", "get/", "--prefix", "--limit=2"]);
      assert.deepEqual(
        answer.kvs!.map((kv) => text(kv.key)),
        ["get/a", "get/b"],
      );
      assert.equal(answer.count, 5);
      assert.equal(answer.more, true);
    });

    it("every order by every target", async () => {
      const order = async (...flags: string[]): Promise<string> => {
        const answer = await ctl.json<JsonRange>(["get", "get/", "--prefix", ...flags]);
        return answer.kvs!.map((kv) => text(kv.key).slice(-1)).join("");
      };
      assert.equal(await order("--order=DESCEND"), "edcba");
      assert.equal(await order("--sort-by=KEY", "--order=ASCEND"), "abcde");
      assert.equal(await order("--sort-by=CREATE", "--order=DESCEND"), "edcba");
      assert.equal(await order("--sort-by=MODIFY", "--order=ASCEND"), "acdeb");
      assert.equal(await order("--sort-by=VALUE"), "bedca");
      assert.equal((await order("--sort-by=VERSION", "--order=DESCEND"))[0], "b");
      assert.equal(await order("--sort-by=VALUE", "--order=DESCEND", "--limit=2"), "ac");
    });

    it("--rev reads the past, also after a delete", async () => {
      const then = await revision();
      await ctl.ok(["put", "past/a", "new"]);
      const created = await revision();
      await ctl.ok(["del", "past/a"]);
      assert.equal(await ctl.ok(["get", "past/a"]), "");
      assert.equal(await ctl.ok(["get", "past/a", `--rev=${created}`]), "past/a\nnew\n");
      assert.equal(await ctl.ok(["get", "past/a", `--rev=${then}`]), "");
    });

    it("a future revision is refused", async () => {
      assert.deepEqual(await refused(["get", "get/a", "--rev=100000"]), [
        1,
        "Error: etcdserver: mvcc: required revision is a future revision",
      ]);
    });

    it("a serializable read sees what a linearizable one does", async () => {
      assert.equal(
        await ctl.ok(["get", "get/a", "--consistency=s"]),
        await ctl.ok(["get", "get/a", "--consistency=l"]),
      );
    });

    it("-w json and -w fields show revisions and version", async () => {
      const before = await revision();
      await ctl.ok(["put", "form/a", "1"]);
      await ctl.ok(["put", "form/a", "2"]);
      const { header, kvs } = await ctl.json<JsonRange>(["get", "form/a"]);
      assert.equal(header.revision, before + 2);
      assert.deepEqual(kvs, [
        {
          key: base64("form/a"),
          create_revision: before + 1,
          mod_revision: before + 2,
          version: 2,
          value: base64("2"),
        },
      ]);
      const fields = await ctl.ok(["get", "form/a", "-w", "fields"]);
      const expected =
        `"Revision" : ${before + 2}\n"RaftTerm" : 2\n"Key" : "form/a"\n"CreateRevision" : ${before + 1}\n` +
        `"ModRevision" : ${before + 2}\n"Version" : 2\n"Value" : "2"\n"Lease" : 0\n"More" : false\n"Count" : 1\n`;
      assert.ok(fields.endsWith(expected), fields);
    });

    it("bytes that are no text survive", async () => {
      await ctl.ok(["put", "bytes", "--"], "ÿ\u0001\0\u0002");
      const { kvs } = await ctl.json<JsonRange>(["get", "bytes"]);
      assert.equal(kvs![0]!.value, base64("ÿ\u0001\0\u0002"));
    });

    it("the empty key is refused", async () => {
      assert.deepEqual(await refused(["put", "", "x"]), [1, "Error: etcdserver: key is not provided"]);
    });

    it("a request over the limit is refused, one below is taken", async () => {
      assert.equal(await ctl.ok(["put", "large"], "x".repeat(1_500_000)), "OK\n");
      assert.deepEqual(await refused(["put", "large"], "x".repeat(1_600_000)), [
        1,
        "Error: etcdserver: request is too large",
      ]);
      const end = await ctl.run(["put", "large"], "x".repeat(2_200_000));
      assert.equal(end.code, 1);
      assert.match(end.stderr, /ResourceExhausted desc = (grpc: )?(trying to send|received) message larger than max/);
      assert.equal((await ctl.ok(["get", "large", "--print-value-only"])).length, 1_500_001);
      await ctl.ok(["del", "large"]);
    });
  });

  describe("del", () => {
    it("counts what it deleted and uses no revision for nothing", async () => {
      await ctl.ok(["put", "del/one", "1"]);
      const before = await revision();
      assert.equal(await ctl.ok(["del", "del/one"]), "1\n");
      assert.equal(await ctl.ok(["del", "del/one"]), "0\n");
      assert.equal(await revision(), before + 1);
    });

    it("--prev-kv shows what went, --prefix and ranges take all of theirs in one revision", async () => {
      for (const key of ["del/a", "del/b", "del/c", "del/x/1", "del/x/2"]) await ctl.ok(["put", key, `of ${key}`]);
      const before = await revision();
      assert.equal(await ctl.ok(["del", "del/a", "del/c", "--prev-kv"]), "2\ndel/a\nof del/a\ndel/b\nof del/b\n");
      assert.equal(await ctl.ok(["del", "del/x/", "--prefix"]), "2\n");
      assert.equal(await revision(), before + 2);
      assert.equal(await ctl.ok(["get", "del/", "--prefix"]), "del/c\nof del/c\n");
    });

    it("a key that is put again begins at version 1", async () => {
      await ctl.ok(["put", "del/again", "1"]);
      await ctl.ok(["put", "del/again", "1"]);
      await ctl.ok(["del", "del/again"]);
      await ctl.ok(["put", "del/again", "1"]);
      const { kvs } = await ctl.json<JsonRange>(["get", "del/again"]);
      assert.equal(kvs![0]!.version, 1);
      assert.equal(kvs![0]!.create_revision, kvs![0]!.mod_revision);
    });
  });

  describe("txn", () => {
    it("runs the first branch when every comparison holds, in one revision, and sees its own writes", async () => {
      await ctl.ok(["put", "txn/a", "1"]);
      const before = await revision();
      const input =
        'value("txn/a") = "1"\nver("txn/a") = "1"\n\nput txn/b 2\nget txn/ --prefix\ndel txn/a\n\nget txn/a\n\n';
      assert.equal(await ctl.ok(["txn"], input), "SUCCESS\n\nOK\n\ntxn/a\n1\ntxn/b\n2\n\n1\n");
      assert.equal(await revision(), before + 1);
    });

    it("runs the other branch otherwise, and uses no revision for reads", async () => {
      const before = await revision();
      const input = 'value("txn/b") = "not this"\n\nput txn/b 3\n\nget txn/b\n\n';
      assert.equal(await ctl.ok(["txn"], input), "FAILURE\n\ntxn/b\n2\n");
      assert.equal(await revision(), before);
    });

    it("asks for each part in interactive mode", async () => {
      assert.equal(
        await ctl.ok(["txn", "--interactive"], "\nget txn/b\n\n\n"),
        "compares:\nsuccess requests (get, put, del):\nfailure requests (get, put, del):\nSUCCESS\n\ntxn/b\n2\n",
      );
    });

    it("compares value, version, create and mod revision by =, !=, < and >", async () => {
      await ctl.ok(["put", "cmp/a", "m"]);
      await ctl.ok(["put", "cmp/a", "m"]);
      const { kvs } = await ctl.json<JsonRange>(["get", "cmp/a"]);
      const { create_revision: created, mod_revision: modified, version } = kvs![0]!;
      const holds = async (comparison: string): Promise<boolean> =>
        (await ctl.ok(["txn"], `${comparison}\n\n\n\n`)).startsWith("SUCCESS");
      const numeric = { ver: version, version, c: created, create: created, m: modified, mod: modified };
      for (const [target, actual] of Object.entries(numeric)) {
        const is = (operator: string, value: number): Promise<boolean> =>
          holds(`${target}("cmp/a") ${operator} "${value}"`);
        const found = await Promise.all([
          is("=", actual),
          is("=", actual + 1),
          is("!=", actual),
          is("!=", actual + 1),
          is("<", actual + 1),
          is("<", actual),
          is(">", actual - 1),
          is(">", actual),
        ]);
        assert.deepEqual(found, [true, false, false, true, true, false, true, false], target);
      }
      const values = await Promise.all(
        ['= "m"', '= "n"', '!= "m"', '!= "n"', '< "n"', '< "m"', '> "l"', '> "m"'].map((rest) =>
          holds(`val("cmp/a") ${rest}`),
        ),
      );
      assert.deepEqual(values, [true, false, false, true, true, false, true, false]);
    });

    it("a missing key compares as version, create and mod revision 0, and never by value", async () => {
      for (const target of ["ver", "create", "mod"]) {
        assert.equal(await ctl.ok(["txn"], `${target}("cmp/none") = "0"\n\n\n\n`), "SUCCESS\n", target);
      }
      assert.equal(await ctl.ok(["txn"], 'val("cmp/none") = ""\n\n\n\n'), "FAILURE\n");
      assert.equal(await ctl.ok(["txn"], 'val("cmp/none") != "x"\n\n\n\n'), "FAILURE\n");
    });

    it("putting a key twice is refused and changes nothing", async () => {
      const before = await revision();
      assert.deepEqual(await refused(["txn"], "\nput twice 1\nput twice 2\n\n\n"), [
        1,
        "Error: etcdserver: duplicate key given in txn request",
      ]);
      assert.equal(await revision(), before);
      assert.equal(await ctl.ok(["get", "twice"]), "");
    });

    it("more operations than the limit are refused", async () => {
      const puts = (count: number): string => Array.from({ length: count }, (_, i) => `put many/${i} x\n`).join("");
      assert.deepEqual(await refused(["txn"], `\n${puts(129)}\n\n`), [
        1,
        "Error: etcdserver: too many operations in txn request",
      ]);
      assert.match(await ctl.ok(["txn"], `\n${puts(128)}\n\n`), /^SUCCESS\n/);
    });
  });

  describe("watch", () => {
    it("tells of puts and deletes of its key only", async () => {
      const watch = ctl.start(["watch", "watch/a"]);
      await watching(watch, "watch/a");
      await ctl.ok(["put", "watch/b", "not this one"]);
      await ctl.ok(["put", "watch/a", "1"]);
      await ctl.ok(["del", "watch/a"]);
      assert.deepEqual(await watch.lines(6), ["PUT", "watch/a", "1", "DELETE", "watch/a", ""]);
      await watch.stop();
    });

    it("a prefix with --prev-kv shows what was there before", async () => {
      await ctl.ok(["put", "watch/p/1", "old"]);
      const watch = ctl.start(["watch", "watch/p/", "--prefix", "--prev-kv"]);
      await watching(watch, "watch/p/0");
      await ctl.ok(["put", "watch/p/1", "new"]);
      await ctl.ok(["del", "watch/p/1"]);
      assert.deepEqual(await watch.lines(5), ["PUT", "watch/p/1", "old", "watch/p/1", "new"]);
      assert.deepEqual(await watch.lines(5), ["DELETE", "watch/p/1", "new", "watch/p/1", ""]);
      await watch.stop();
    });

    it("--rev delivers history in order, then what happens", async () => {
      const from = (await revision()) + 1;
      for (const value of ["1", "2", "3"]) await ctl.ok(["put", "watch/h", value]);
      const watch = ctl.start(["watch", "watch/h", `--rev=${from}`]);
      const history = await watch.lines(9);
      assert.deepEqual(
        history.filter((_, i) => i % 3 === 2),
        ["1", "2", "3"],
      );
      await ctl.ok(["put", "watch/h", "4"]);
      assert.deepEqual(await watch.lines(3), ["PUT", "watch/h", "4"]);
      await watch.stop();
    });

    it("events of one transaction come in one response", async () => {
      const watch = ctl.start(["watch", "watch/t/", "--prefix", "-w", "json"]);
      await watching(watch, "watch/t/0");
      await ctl.ok(["txn"], "\nput watch/t/1 1\nput watch/t/2 2\n\n\n");
      const { Events } = JSON.parse(await watch.line()) as { Events: { kv: JsonKeyValue }[] };
      assert.deepEqual(
        Events.map((event) => text(event.kv.key)),
        ["watch/t/1", "watch/t/2"],
      );
      assert.equal(Events[0]!.kv.mod_revision, Events[1]!.kv.mod_revision);
      await watch.stop();
    });

    it("a watch from a revision in the future waits for it", async () => {
      const from = (await revision()) + 3;
      const watch = ctl.start(["watch", "watch/f", `--rev=${from}`]);
      await sleep(200);
      for (const value of ["1", "2", "3"]) await ctl.ok(["put", "watch/f", value]);
      assert.deepEqual(await watch.lines(3), ["PUT", "watch/f", "3"]);
      await watch.stop();
    });

    it("interactive mode serves several watches on one stream and reports progress when asked", async () => {
      const watch = ctl.start(["watch", "--interactive"]);
      const asked = await revision();
      // The client creates one watch after the other, so the answer to the last line says that both are in place.
      watch.write("watch watch/i/1\nwatch watch/i/2\nprogress\n");
      assert.deepEqual(await watch.lines(2), [`progress notify: ${asked}`, `progress notify: ${asked}`]);
      await ctl.ok(["put", "watch/i/1", "x"]);
      assert.deepEqual(await watch.lines(3), ["PUT", "watch/i/1", "x"]);
      await ctl.ok(["put", "watch/i/2", "y"]);
      assert.deepEqual(await watch.lines(3), ["PUT", "watch/i/2", "y"]);
      watch.child.stdin!.end();
      assert.equal((await watch.end()).code, 3);
    });

    /** Puts a key until the watch has told of it: only then is it known to be in place. */
    async function watching(watch: ReturnType<Etcdctl["start"]>, key: string): Promise<void> {
      const first = watch.line();
      let isThere = false;
      void first.then(() => {
        isThere = true;
      });
      let puts = 0;
      while (!isThere) {
        await ctl.ok(["put", key, `try ${++puts}`]);
        await sleep(50);
      }
      const isJson = (await first).startsWith("{");
      // The rest of what those puts brought: every event up to the last put.
      let last = await first;
      while (!last.includes(isJson ? base64(`try ${puts}`) : `try ${puts}`)) last = await watch.line();
    }
  });

  describe("lease", () => {
    const idOf = (granted: string): string => /lease ([0-9a-f]{16}) granted/.exec(granted)![1]!;

    it("grant, attach, timetolive, list, keep-alive and revoke", async () => {
      const granted = await ctl.ok(["lease", "grant", "60"]);
      assert.match(granted, /^lease [0-9a-f]{16} granted with TTL\(60s\)\n$/);
      const id = idOf(granted);
      await ctl.ok(["put", "lease/a", "1", `--lease=${id}`]);
      await ctl.ok(["put", "lease/b", "1", `--lease=${id}`]);
      assert.match(await ctl.ok(["lease", "timetolive", id]), /granted with TTL\(60s\), remaining\((60|59)s\)\n$/);
      assert.match(await ctl.ok(["lease", "timetolive", id, "--keys"]), /, attached keys\(\[lease\/a lease\/b\]\)\n$/);
      assert.equal(await ctl.ok(["lease", "list"]), `found 1 leases\n${id}\n`);
      assert.equal(await ctl.ok(["lease", "keep-alive", "--once", id]), `lease ${id} keepalived with TTL(60)\n`);
      const before = await revision();
      assert.equal(await ctl.ok(["lease", "revoke", id]), `lease ${id} revoked\n`);
      assert.equal(await ctl.ok(["get", "lease/", "--prefix"]), "");
      assert.equal(await revision(), before + 1);
      assert.equal(await ctl.ok(["lease", "list"]), "found 0 leases\n");
      assert.equal(await ctl.ok(["lease", "timetolive", id]), `lease ${id} already expired\n`);
    });

    it("a lease that nobody renews expires and takes its keys; one kept alive does not", async () => {
      const short = idOf(await ctl.ok(["lease", "grant", "2"]));
      const kept = idOf(await ctl.ok(["lease", "grant", "2"]));
      await ctl.ok(["put", "lease/short", "1", `--lease=${short}`]);
      await ctl.ok(["put", "lease/kept", "1", `--lease=${kept}`]);
      const keeper = ctl.start(["lease", "keep-alive", kept]);
      assert.equal(await keeper.line(), `lease ${kept} keepalived with TTL(2)`);
      const watch = ctl.start(["watch", "lease/", "--prefix", `--rev=${(await revision()) + 1}`]);
      assert.deepEqual(await watch.lines(2), ["DELETE", "lease/short"]);
      await sleep(1000);
      assert.equal(await ctl.ok(["get", "lease/", "--prefix"]), "lease/kept\n1\n");
      await ctl.ok(["lease", "revoke", kept]);
      let line = await keeper.line();
      while (line.startsWith(`lease ${kept} keepalived`)) line = await keeper.line();
      assert.equal(line, `lease ${kept} expired or revoked.`);
      assert.equal((await keeper.end()).code, 0);
      await watch.stop();
    });

    it("unknown leases and impossible TTLs are refused with etcd's words", async () => {
      assert.deepEqual(await refused(["lease", "revoke", "1234"]), [
        1,
        "Error: failed to revoke lease (etcdserver: requested lease not found)",
      ]);
      assert.deepEqual(await refused(["put", "lease/x", "1", "--lease=1234"]), [
        1,
        "Error: etcdserver: requested lease not found",
      ]);
      assert.deepEqual(await refused(["lease", "keep-alive", "--once", "1234"]), [
        2,
        "Error: etcdserver: requested lease not found",
      ]);
      assert.deepEqual(await refused(["lease", "grant", "9000000001"]), [
        1,
        "Error: failed to grant lease (etcdserver: too large lease TTL)",
      ]);
      // The least TTL there is.
      assert.match(await ctl.ok(["lease", "grant", "0"]), /granted with TTL\(2s\)\n$/);
    });
  });

  describe("compaction", () => {
    it("forgets the past up to its revision and no further", async () => {
      await ctl.ok(["put", "compact/a", "1"]);
      await ctl.ok(["put", "compact/a", "2"]);
      const at = await revision();
      await ctl.ok(["put", "compact/a", "3"]);
      assert.equal(await ctl.ok(["compaction", `${at}`]), `compacted revision ${at}\n`);
      assert.deepEqual(await refused(["get", "compact/a", `--rev=${at - 1}`]), [
        1,
        "Error: etcdserver: mvcc: required revision has been compacted",
      ]);
      assert.equal(await ctl.ok(["get", "compact/a", `--rev=${at}`]), "compact/a\n2\n");
      assert.equal(await ctl.ok(["get", "compact/a"]), "compact/a\n3\n");
    });

    it("--physical returns when the space is free", async () => {
      const at = await revision();
      assert.equal(await ctl.ok(["compaction", "--physical", `${at}`]), `compacted revision ${at}\n`);
      const hash = await ctl.json<{ HashKV: { compact_revision: number } }[]>(["endpoint", "hashkv"]);
      assert.equal(hash[0]!.HashKV.compact_revision, at);
    });

    it("a revision twice, or one that is not there yet, is refused", async () => {
      const at = await revision();
      await ctl.ok(["put", "compact/a", "4"]);
      await ctl.ok(["compaction", `${at + 1}`]);
      assert.deepEqual(await refused(["compaction", `${at}`]), [
        1,
        "Error: etcdserver: mvcc: required revision has been compacted",
      ]);
      assert.deepEqual(await refused(["compaction", `${at + 1}`]), [
        1,
        "Error: etcdserver: mvcc: required revision has been compacted",
      ]);
      assert.deepEqual(await refused(["compaction", `${at + 1000}`]), [
        1,
        "Error: etcdserver: mvcc: required revision is a future revision",
      ]);
    });

    it("a watch from before it is cancelled with the reason", async () => {
      const end = await ctl.run(["watch", "compact/a", "--rev=1"]);
      assert.equal(end.code, 5);
      assert.match(end.stderr, /watch was canceled \(etcdserver: mvcc: required revision has been compacted\)\n/);
    });
  });

  describe("the member as seen from outside", () => {
    it("endpoint health commits a proposal", async () => {
      const end = await ctl.run(["endpoint", "health"]);
      assert.equal(end.code, 0);
      assert.match(end.stdout + end.stderr, /is healthy: successfully committed proposal: took = /);
    });

    it("endpoint status reports the version, the leader and equal indexes", async () => {
      const [{ Status }] = (await ctl.json<{ Status: Record<string, number | string> }[]>(["endpoint", "status"])) as [
        { Status: Record<string, number | string> },
      ];
      if (!isEtcd) assert.equal(Status.version, "3.7.1");
      assert.equal(Status.leader, (Status.header as unknown as { member_id: number }).member_id);
      assert.equal(Status.raftIndex, Status.raftAppliedIndex);
      assert.equal(Status.raftTerm, 2);
      assert.ok((Status.dbSize as number) >= (Status.dbSizeInUse as number));
      assert.ok((Status.dbSizeInUse as number) > 0);
    });

    it("endpoint hashkv is the same for the same revision and changes with the next write", async () => {
      const hash = async (): Promise<number> =>
        (await ctl.json<{ HashKV: { hash: number } }[]>(["endpoint", "hashkv"]))[0]!.HashKV.hash;
      const first = await hash();
      assert.equal(await hash(), first);
      await ctl.ok(["put", "hash/a", "1"]);
      assert.notEqual(await hash(), first);
    });

    it("member list shows the one member, started, with its URLs", async () => {
      const [id, status, name, peer, client, isLearner] = (await ctl.ok(["member", "list"])).trimEnd().split(", ");
      assert.match(id!, /^[0-9a-f]{1,16}$/);
      assert.deepEqual(
        [status, name, peer, client, isLearner],
        [
          "started",
          "default",
          `http://127.0.0.1:${server.ports.peer}`,
          `http://127.0.0.1:${server.ports.client}`,
          "false",
        ],
      );
    });

    it("defrag finishes, data stays, alarm list is empty", async () => {
      await ctl.ok(["put", "defrag/a", "1"]);
      assert.equal(await ctl.ok(["defrag"]), `Finished defragmenting etcd member[${server.endpoint}]\n`);
      assert.equal(await ctl.ok(["get", "defrag/a"]), "defrag/a\n1\n");
      assert.equal(await ctl.ok(["alarm", "list"]), "");
    });
  });

  describe("check perf", () => {
    if (!isSlow)
      console.error("\n*** SKIPPED: etcdctl check perf takes a minute; set QUORATE_SLOW_TESTS=1 to run it ***\n");
    it("passes at the small load", { skip: !isSlow }, async () => {
      const output = await ctl.ok(["check", "perf", "--load=s"]);
      assert.match(output, /PASS: Throughput is \d+ writes\/s/);
      assert.match(output, /PASS: Slowest request took/);
      assert.match(output, /PASS: Stddev is/);
      assert.match(output, /\nPASS\n$/);
    });
  });
});
