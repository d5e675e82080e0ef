import assert from "node:assert/strict";
import { type AddressInfo, createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { type Init, type Member, MemberListResponse, StatusResponse } from "@quorate/api/messages";
import { type Method, RpcServer, StatusCode } from "@quorate/rpc";
import { parseAddress } from "./endpoint.ts";
import { type Survey, type SurveyOptions, survey } from "./survey.ts";

const CREDENTIALS = {
  authority: undefined,
  certificate: undefined,
  key: undefined,
  checksServer: true,
  user: undefined,
};
const CLUSTER_ID = 7n;

/** What a member would answer; a function is asked anew for each call. Undefined: refused. */
interface Played {
  id: bigint;
  clusterId?: bigint;
  status?: (call: number) => Init<StatusResponse> | "silence";
  members?: () => readonly Init<Member>[];
}

/** A member that answers Status and MemberList as it is told; resolves with its port. */
async function play(t: TestContext, member: Played): Promise<number> {
  const header = { clusterId: member.clusterId ?? CLUSTER_ID, memberId: member.id };
  let statusCalls = 0;
  const answering = (encode: () => Uint8Array | "silence" | undefined): Method => ({
    kind: "unary",
    handle(call) {
      const answer = encode();
      if (answer === undefined) call.fail(StatusCode.Unavailable, "etcdserver: rpc not supported for learner");
      else if (answer !== "silence") call.respond(answer, 0, answer.length);
    },
  });
  const status = answering(() => {
    const given = member.status?.(statusCalls++);
    return given === undefined || given === "silence" ? given : StatusResponse.encode({ header, ...given });
  });
  const members = answering(() => member.members && MemberListResponse.encode({ header, members: member.members() }));
  const server = new RpcServer({
    methods: new Map([
      ["/etcdserverpb.Maintenance/Status", status],
      ["/etcdserverpb.Cluster/MemberList", members],
    ]),
    clock: { monotonicMs: () => performance.now(), wallMs: () => Date.now() },
    timers: {
      after(delayMs, fire) {
        const handle = setTimeout(fire, delayMs).unref();
        return { cancel: () => clearTimeout(handle) };
      },
      nextTurn: (run) => void setImmediate(run),
    },
  });
  const listener = createServer((socket) => {
    t.after(() => socket.destroy());
    server.accept(socket);
  });
  t.after(() => listener.close());
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  return (listener.address() as AddressInfo).port;
}

function ask(ports: readonly number[], options: Partial<SurveyOptions> = {}): Promise<Survey> {
  const addresses = ports.map((port) => parseAddress(`127.0.0.1:${port}`, false));
  return survey({ addresses, credentials: CREDENTIALS, limitMs: 5000, secondLookMs: 1, ...options });
}

function listed(ID: bigint, port: number, rest: Init<Member> = {}): Init<Member> {
  return { ID, name: `m${ID}`, clientURLs: [`http://127.0.0.1:${port}`], ...rest };
}

test("one endpoint is enough to find the others", async (t) => {
  const second = await play(t, { id: 2n, status: () => ({ leader: 1n, raftIndex: 5, raftAppliedIndex: 5 }) });
  const members: Init<Member>[] = [listed(2n, second)];
  const first = await play(t, { id: 1n, status: () => ({ leader: 1n, raftIndex: 9 }), members: () => members });
  // Advertised where nobody can go from here; it answered at the endpoint that was given.
  members.push(listed(1n, 1));
  const seen = await ask([first]);
  assert.deepEqual(
    seen.members.map(({ name, endpoint, lag }) => [name, endpoint, lag]),
    [
      ["m1", `127.0.0.1:${first}`, 9],
      ["m2", `127.0.0.1:${second}`, 4],
    ],
  );
  assert.equal(seen.clusterId, CLUSTER_ID);
});

test("the list of the member that has applied most is believed, and who differs is named", async (t) => {
  const old = await play(t, { id: 1n, status: () => ({ raftAppliedIndex: 5 }), members: () => [listed(1n, 1)] });
  const members: Init<Member>[] = [listed(1n, old)];
  const recent = await play(t, { id: 2n, status: () => ({ raftAppliedIndex: 6 }), members: () => members });
  members.push(listed(2n, recent));
  const seen = await ask([old, recent]);
  assert.deepEqual(seen.differing, [`127.0.0.1:${old}`]);
  assert.equal(seen.members.length, 2);
});

test("an endpoint of another cluster is left out and named", async (t) => {
  const members: Init<Member>[] = [];
  const own = await play(t, { id: 1n, status: () => ({ raftAppliedIndex: 9 }), members: () => members });
  members.push(listed(1n, own));
  const other = await play(t, { id: 2n, clusterId: 8n, status: () => ({}), members: () => [listed(2n, 1)] });
  const seen = await ask([own, other]);
  assert.deepEqual(seen.foreign, [`127.0.0.1:${other}`]);
  assert.deepEqual(seen.differing, []);
  assert.equal(seen.members.length, 1);
});

test("a member that is behind twice is left behind; one that has moved on is not", async (t) => {
  const slow = (later: number) => (call: number) => ({ leader: 1n, raftAppliedIndex: call === 0 ? 1000 : later });
  const stuck = await play(t, { id: 2n, status: slow(4999) });
  const busy = await play(t, { id: 3n, status: slow(5000) });
  const members = [listed(2n, stuck), listed(3n, busy)];
  const leader = await play(t, {
    id: 1n,
    status: () => ({ leader: 1n, raftIndex: 5000, raftAppliedIndex: 5000 }),
    members: () => members,
  });
  members.push(listed(1n, leader));
  const seen = await ask([leader]);
  assert.deepEqual(
    seen.members.map(({ name, lag, isLeftBehind }) => [name, lag, isLeftBehind]),
    [
      ["m1", 0, false],
      ["m2", 4000, true],
      ["m3", 4000, false],
    ],
  );
});

test("a member that does not answer in time is told so, and asked once", async (t) => {
  let calls = 0;
  const silent = await play(t, {
    id: 2n,
    status: () => {
      calls++;
      return "silence";
    },
  });
  const members = [listed(2n, silent)];
  const first = await play(t, { id: 1n, status: () => ({}), members: () => members });
  members.push(listed(1n, first));
  const seen = await ask([first, silent], { limitMs: 200 });
  const [, member] = seen.members;
  assert.deepEqual([member!.status, member!.problem], [null, "no answer within 0.2 s"]);
  assert.deepEqual(seen.silent, [{ endpoint: `127.0.0.1:${silent}`, problem: "no answer within 0.2 s" }]);
  assert.equal(calls, 1);
});

test("an address that another member answers is no answer of this one", async (t) => {
  const members: Init<Member>[] = [];
  const first = await play(t, { id: 1n, status: () => ({}), members: () => members });
  const impostor = await play(t, { id: 9n, status: () => ({}) });
  members.push(listed(1n, first), listed(2n, impostor));
  const seen = await ask([first]);
  assert.match(seen.members[1]!.problem!, /is answered by member 9/);
});

test("a member that never started is not asked, and a lone learner cannot say who is there", async (t) => {
  const members: Init<Member>[] = [{ ID: 2n, peerURLs: ["http://127.0.0.1:1"] }];
  const first = await play(t, { id: 1n, status: () => ({}), members: () => members });
  members.push(listed(1n, first));
  const [added] = (await ask([first])).members;
  assert.deepEqual([added!.hasStarted, added!.endpoint], [false, "127.0.0.1:1"]);
  const learner = await play(t, { id: 3n, status: () => ({ isLearner: true }) });
  const seen = await ask([learner]);
  assert.deepEqual([seen.clusterId, seen.silent], [null, []]);
});
