/**
 * What does a request cost in this layer alone? A server that answers every call with the same 40 bytes, to be loaded by
 * h2load and watched by a profiler:
 *
 *   node --cpu-prof packages/rpc/bench/echo.ts 9100          (ends with Ctrl-C; prints CPU per request)
 *   printf '\0\0\0\1\0' > body; head -c 256 /dev/urandom >> body
 *   h2load -n 300000 -c 10 -m 100 -H 'content-type: application/grpc' -H 'te: trailers' -d body \
 *     http://127.0.0.1:9100/bench.Echo/Fixed
 *
 * Answers are given at once (/bench.Echo/Fixed) or in the next turn, as a server that waits for its disk would
 * (/bench.Echo/NextTurn).
 */
import { createServer } from "node:net";
import { type Method, RpcServer, type ServerCall } from "../src/index.ts";
import { realClock, realTimers } from "../src/testing/real-world.ts";

const port = Number(process.argv[2] ?? 9100);
const reply = Buffer.alloc(40, 0x61);
let requests = 0;
let waiting: ServerCall[] = [];

function answerWaiting(): void {
  const calls = waiting;
  waiting = [];
  for (let i = 0; i < calls.length; i++) calls[i]!.respond(reply, 0, reply.length);
  server.flush();
}

const fixed: Method = {
  kind: "unary",
  handle(call) {
    requests++;
    call.respond(reply, 0, reply.length);
  },
};
const nextTurn: Method = {
  kind: "unary",
  handle(call) {
    requests++;
    if (waiting.length === 0) setImmediate(answerWaiting);
    waiting.push(call);
  },
};

const server = new RpcServer({
  methods: new Map([
    ["/bench.Echo/Fixed", fixed],
    ["/bench.Echo/NextTurn", nextTurn],
  ]),
  clock: realClock,
  timers: realTimers,
});
const listener = createServer({ noDelay: true }, (socket) => server.accept(socket));
listener.listen(port, "127.0.0.1", () => console.log(`listening on ${port}`));

let usage = process.cpuUsage();
let seen = 0;
setInterval(() => {
  const spent = process.cpuUsage(usage);
  usage = process.cpuUsage();
  const count = requests - seen;
  seen = requests;
  if (count === 0) return;
  const micros = (spent.user + spent.system) / count;
  console.log(`${count} requests/s, ${micros.toFixed(2)} µs of CPU each (${(spent.user / count).toFixed(2)} user)`);
}, 1000);

process.on("SIGINT", () => process.exit(0));
