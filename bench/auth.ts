/**
 * What does auth cost? Puts and single-key reads of a user with a simple token and one permission, in percent of the same
 * server's without auth; and the longest that one of 500 puts a second takes while 1,000 log-ins arrive at once, ten of
 * each of a hundred users, whose passwords have not been seen before.
 */
import { callOnce } from "./load/call-once.ts";
import { closedLoop, sleep } from "./load/closed-loop.ts";
import { compare, type Measurement, median } from "./load/compare.ts";
import { OpenLoop } from "./load/open-loop.ts";
import { preload } from "./load/preload.ts";
import {
  authenticateRequest,
  authSetup,
  keyOf,
  noiseOf,
  PATHS,
  putRequest,
  rangeRequest,
  tokenOf,
  userAddRequest,
} from "./load/requests.ts";
import { MeasuredServer, type ServerKind } from "./load/servers.ts";

const KEYS = 100_000;
/** Off, on, off, on, ...: the disk changes its mind within seconds. */
const TURNS = 3;
const USERS = 100;
const LOGINS = 1000;
const PUTS_PER_SECOND = 500;
const LIMIT_MS = 120_000;

for (const what of ["put", "range"] as const) {
  const name = `${what} with auth on, percent of auth off, 10 connections x 100`;
  await compare({ name, least: 1, aim: 1, better: "higher" }, (kind) => measureCost(kind, what));
}
const longest = `longest put while ${LOGINS.toLocaleString("en-US")} log-ins arrive`;
await compare({ name: longest, least: 1, aim: 2, better: "lower", rounds: 3 }, measureLogins);

async function measureCost(kind: ServerKind, what: "put" | "range"): Promise<Measurement> {
  const server = await MeasuredServer.start(kind);
  try {
    await setUp(server.port);
    if (what === "range") await preload(server.port, KEYS);
    const off: number[] = [];
    const on: number[] = [];
    for (let turn = 0; turn < TURNS; turn++) {
      off.push(await perSecond(server.port, what));
      await callOnce(server.port, PATHS.authEnable, Buffer.alloc(0));
      on.push(await perSecond(server.port, what, await logIn(server.port, "bench")));
      const root = await logIn(server.port, "root");
      await callOnce(server.port, PATHS.authDisable, Buffer.alloc(0), LIMIT_MS, root);
    }
    return { value: (median(on) / median(off)) * 100, unit: "%", on: median(on), off: median(off) };
  } finally {
    await server.stop();
  }
}

async function perSecond(port: number, what: "put" | "range", token?: string): Promise<number> {
  let n = 0;
  const result = await closedLoop({
    port,
    connections: 10,
    inFlight: 100,
    warmupMs: 1000,
    measureMs: 3000,
    ...(token === undefined ? {} : { token }),
    next: () => {
      n++;
      const key = keyOf(Math.floor(Math.random() * KEYS));
      return what === "put"
        ? { path: PATHS.put, message: putRequest(key, noiseOf(n, 256)) }
        : { path: PATHS.range, message: rangeRequest(key) };
    },
  });
  return result.perSecond;
}

async function measureLogins(kind: ServerKind): Promise<Measurement> {
  const server = await MeasuredServer.start(kind);
  try {
    await setUp(server.port);
    for (let i = 0; i < USERS; i++) await callOnce(server.port, PATHS.userAdd, userAddRequest(`u${i}`, `password${i}`));
    await callOnce(server.port, PATHS.authEnable, Buffer.alloc(0));
    const load = new OpenLoop([server.port], PUTS_PER_SECOND, await logIn(server.port, "bench"));
    await sleep(2000);
    const quietMs = longestOf(load);
    load.forget();
    const startedMs = performance.now();
    const { failures } = await closedLoop({
      port: server.port,
      connections: 10,
      inFlight: LOGINS / 10,
      warmupMs: 0,
      measureMs: 1,
      total: LOGINS,
      // An etcd that is asked for more than it can check in time refuses some.
      toleratesFailures: true,
      next: nextLogin(),
    });
    const tookMs = performance.now() - startedMs;
    await sleep(500);
    const value = longestOf(load);
    load.stop();
    return { value, unit: " ms", quietMs, loginsTookMs: tookMs, failures };
  } finally {
    await server.stop();
  }
}

function nextLogin(): () => { path: string; message: Buffer } {
  let n = 0;
  return () => {
    const user = n++ % USERS;
    return { path: PATHS.authenticate, message: authenticateRequest(`u${user}`, `password${user}`) };
  };
}

function longestOf(load: OpenLoop): number {
  return load.acknowledged.reduce((most, { begunMs, atMs }) => Math.max(most, atMs - begunMs), 0);
}

async function setUp(port: number): Promise<void> {
  const permission = { key: Buffer.from("bench/key/"), rangeEnd: Buffer.from("bench/key0") };
  for (const [path, message] of authSetup("bench", "bench", permission)) await callOnce(port, path, message);
}

async function logIn(port: number, name: string): Promise<string> {
  return tokenOf(await callOnce(port, PATHS.authenticate, authenticateRequest(name, name), LIMIT_MS));
}
