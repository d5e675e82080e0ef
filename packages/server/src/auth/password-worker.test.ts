import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { getPriority, platform } from "node:os";
import { test } from "node:test";
import { silentLog } from "@quorate/world";
import { MachineTimers } from "../world/clock.ts";
import { MachineRandom } from "../world/random.ts";
import { Passwords } from "./passwords.ts";

const OPEN = { isOpen: true, connection: {} };
const LONG = "x".repeat(72);

/** Hashes made by golang.org/x/crypto/bcrypt, which etcd uses, and whether it takes the password for them. */
const MADE_BY_GO: readonly [string, string, boolean][] = [
  ["", "$2a$04$p2dZUtk.UQSvOqceD8YVR.4CIlYNeOpMIg9fzEAndzz4Z1sTv74z6", true],
  ["123", "$2a$04$yeIQA8d3kll0I1kyhyWlEuFL0HTQ3iziFDRbeCG1PRJk9WX3l/RYm", true],
  ["124", "$2a$04$H73W9v/FELtwcPoCejakB.opvAMe1y3ZUX6wgdAXit0JHUtu8EVn.", false],
  ["pässwörd€😀", "$2a$04$VX9qPHZqzGtZwm79TidT7OagR59AXKfgerOYRKa7Dnj7239xZFNRC", true],
  ["a\u0000b", "$2a$04$ITF/GA9aECW.mISm9kKzHumxKlqPfoJjyNqjZi/zEmUsMrZMrhjLi", true],
  ["a\u0000c", "$2a$04$fa.SSECpn6bxIRM1VKLQrOKAdmAtJDh4Nur0nr/7ctumr03qBA6bO", false],
  [LONG, "$2a$04$EWg3.0N7LuAqQGWzTh8Sne9aN9wHoxS4pwk.UB7wnG186qZTrThYC", true],
  // Only 72 bytes are looked at when a password is checked.
  [`${LONG}y`, "$2a$04$U4mlsrGP3sflN0pFF3gtBeY97RJdbCE57Py7ZmUAAB11v55lG.Jv.", true],
  [`${LONG}${"y".repeat(100_000)}`, "$2a$04$U4mlsrGP3sflN0pFF3gtBeY97RJdbCE57Py7ZmUAAB11v55lG.Jv.", true],
  [LONG.slice(1), "$2a$04$q8ROCe..UJlTSu4yn0q5AO0L/mQ.XIXOO2wPla6jD0QcXS8IqwsSi", false],
  [`${LONG.slice(2)}éz`, "$2a$04$DrVcvmYPSfgY2x9XXKHvFedEcwFjg3s0xCu6Dz9axKvshwy9CllGe", true],
  [`${LONG.slice(3)}€😀`, "$2a$04$XeRZtUvAAC7rN2v7rkI.qeVZWC5PS0bGWhN/KQDev7oqPTHn2DpBS", true],
  [`${LONG.slice(1)}😀`, "$2a$04$dKySBE1xt54ontofSGYGs.pXP5ieD4HpuEazzAwEfqnQi06PDZ2Gi", false],
  // Whatever stands behind the 2, the algorithm is the same.
  ["abc", "$2b$04$XZhCtnJPHBSDJAcVtnIgHevBVRpTjVKsQD1O6AKpd/.r8RIOmttl2", true],
  ["abc", "$2y$04$XZhCtnJPHBSDJAcVtnIgHevBVRpTjVKsQD1O6AKpd/.r8RIOmttl2", true],
  ["abc", "$2$04$XZhCtnJPHBSDJAcVtnIgHevBVRpTjVKsQD1O6AKpd/.r8RIOmttl2", true],
  ["abc", "$3a$04$XZhCtnJPHBSDJAcVtnIgHevBVRpTjVKsQD1O6AKpd/.r8RIOmttl2", false],
  ["abc", "$2a$04$XZhCtnJPHBSDJAcVtnIgHevBVRpTjVKsQD1O6AKpd/.r8RIOmttl", false],
  ["abc", "", false],
];

test("the thread takes exactly the passwords that Go's bcrypt takes, and what it hashes it takes", async (t) => {
  const passwords = new Passwords({
    cost: 4,
    timers: new MachineTimers(),
    random: new MachineRandom(),
    log: silentLog,
  });
  t.after(() => passwords.stop());
  const verify = (password: string, hash: Uint8Array): Promise<string> =>
    new Promise((resolve) => passwords.verify({ user: "alice", hash, password, call: OPEN }, resolve));
  for (const [password, hash, isRight] of MADE_BY_GO) {
    assert.equal(
      await verify(password, Buffer.from(hash)),
      isRight ? "right" : "wrong",
      `${hash} ${password.slice(0, 80)}`,
    );
  }
  for (const password of ["", "123", "pässwörd€😀", LONG]) {
    const hash = await new Promise<Uint8Array>((resolve) =>
      passwords.hash(password, OPEN, (result) => {
        assert.ok(typeof result !== "string", String(result));
        resolve(result);
      }),
    );
    assert.match(Buffer.from(hash).toString(), /^\$2a\$04\$[./A-Za-z0-9]{53}$/);
    assert.equal(await verify(password, hash), "right");
    assert.equal(await verify(`${password.slice(1)}?`, hash), "wrong");
  }
});

test("the event loop turns while passwords are hashed", async (t) => {
  const passwords = new Passwords({
    cost: 9,
    timers: new MachineTimers(),
    random: new MachineRandom(),
    log: silentLog,
  });
  t.after(() => passwords.stop());
  let turns = 0;
  let isDone = false;
  const turn = (): void => {
    turns++;
    if (!isDone) setImmediate(turn);
  };
  turn();
  await new Promise<void>((resolve) => passwords.hash("x", OPEN, () => resolve()));
  isDone = true;
  assert.ok(turns > 20, `${turns} turns`);
});

test("the thread stands back behind all others", { skip: platform() !== "linux" }, async (t) => {
  const before = nicenessOfThreads();
  const passwords = new Passwords({
    cost: 4,
    timers: new MachineTimers(),
    random: new MachineRandom(),
    log: silentLog,
  });
  t.after(() => passwords.stop());
  await new Promise<void>((resolve) => passwords.hash("x", OPEN, () => resolve()));
  const after = nicenessOfThreads();
  const back = Math.min(19, getPriority(0) + 10);
  const started = [...after].filter(([id]) => !before.has(id)).map(([, niceness]) => niceness);
  assert.ok(started.includes(back), `${started}`);
  for (const [id, niceness] of before) assert.equal(after.get(id) ?? niceness, niceness);
});

/** Thread id → niceness, of this process. */
function nicenessOfThreads(): Map<string, number> {
  const threads = readdirSync("/proc/self/task");
  return new Map(
    threads.map((id) => {
      const stat = readFileSync(`/proc/self/task/${id}/stat`, "utf8");
      // Fields are counted from behind the name, which may hold anything: the 17th of them.
      return [id, Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[16])];
    }),
  );
}
