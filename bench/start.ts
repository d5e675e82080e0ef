/**
 * How long from starting the process to its first answer, and how much memory does it take: empty, and with a million
 * keys of 256 B? The page cache is warm, as after an upgrade.
 */

import { sleep } from "./load/closed-loop.ts";
import { rowsOf } from "./load/compare.ts";
import { preload } from "./load/preload.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

const MILLION = 1_000_000;
/** Idle means idle: a member that has written nothing for ten seconds gives up what only writing needs. */
const SETTLE_MS = 15_000;
const MEGABYTE = 1e6;

interface Seen {
  readonly emptyReadyMs: number;
  readonly emptyRss: number;
  readonly loadedRss: number;
  readonly restartReadyMs: number;
  readonly restartRss: number;
}
const seen: Record<ServerKind, Seen[]> = { etcd: [], quorate: [] };
const rounds = Number(process.env.BENCH_START_ROUNDS ?? 2);
for (let round = 0; round < rounds; round++) {
  for (const kind of ["etcd", "quorate"] as const) seen[kind].push(await measure(kind));
}

const row = rowsOf(seen);
await row("start, empty", 1, 1, (each) => each.emptyReadyMs, " ms");
await row("RSS idle, empty (owed: below 90 MB)", 0.33, 0.33, (each) => each.emptyRss / MEGABYTE, " MB");
await row("RSS after loading 1M keys", 1, 2, (each) => each.loadedRss / MEGABYTE, " MB");
await row("start with 1M keys", 4, 12, (each) => each.restartReadyMs, " ms");
await row("RSS after a restart with 1M keys", 1, 2, (each) => each.restartRss / MEGABYTE, " MB");

async function measure(kind: ServerKind): Promise<Seen> {
  const empty = await MeasuredServer.start(kind);
  await sleep(SETTLE_MS);
  const emptyRss = empty.memory().rssBytes;
  await preload(empty.port, MILLION);
  await sleep(SETTLE_MS);
  const loadedRss = empty.memory().rssBytes;
  await empty.stop(true);
  const again = await MeasuredServer.start(kind, empty.directory);
  await sleep(SETTLE_MS);
  const restartRss = again.memory().rssBytes;
  await again.stop();
  return { emptyReadyMs: empty.readyMs, emptyRss, loadedRss, restartReadyMs: again.readyMs, restartRss };
}
