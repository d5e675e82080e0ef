/**
 * Asks a cluster how it is: every given address for its view of the membership and its status, then every member nobody
 * has heard of yet at the addresses it advertises. All at once, each with a limit; what does not answer is a finding, not
 * a failure.
 *
 * Only calls that a member answers by itself are used (serializable MemberList, Status), so that a cluster without a
 * quorum can still be asked what is wrong with it. Alarms come with Status, because listing them is a write in etcd.
 */
import {
  type Member,
  MemberListRequest,
  MemberListResponse,
  StatusRequest,
  StatusResponse,
} from "@quorate/api/messages";
import { type Address, addressText, type Credentials, Endpoint, parseAddress } from "./endpoint.ts";

export interface SurveyedMember {
  readonly id: bigint;
  /** Empty for a member that was added and has never started. */
  readonly name: string;
  /** Where it answered; else the first address it advertises; else its first peer address. */
  readonly endpoint: string;
  readonly isLearner: boolean;
  readonly hasStarted: boolean;
  /** Null if it did not answer; `problem` says why. */
  readonly status: StatusResponse | null;
  readonly problem: string | null;
  /** Entries that the leader had and it had not applied; null without status. */
  readonly lag: number | null;
  /** A second later it had still not applied what the leader had at first. */
  readonly isLeftBehind: boolean;
}

export interface Survey {
  /** Null if nobody could say who is in the cluster. */
  readonly clusterId: bigint | null;
  /** In the order of their names. */
  readonly members: readonly SurveyedMember[];
  /** Given addresses that did not answer, and why. */
  readonly silent: readonly { readonly endpoint: string; readonly problem: string }[];
  /** Given addresses of another cluster than `clusterId`. */
  readonly foreign: readonly string[];
  /** Given addresses whose member knows other members than the list above. */
  readonly differing: readonly string[];
}

export interface SurveyOptions {
  /** At least one. */
  readonly addresses: readonly Address[];
  readonly credentials: Credentials;
  /** Of each call. */
  readonly limitMs: number;
  /** Before a member that seems far behind is asked again. */
  readonly secondLookMs: number;
}

/** Fewer than this a busy cluster writes between two of our answers. */
const LAG_WORTH_A_LOOK = 1000;

/** One given address and what it said. */
interface Voice {
  readonly endpoint: Endpoint;
  readonly status: StatusResponse | null;
  readonly members: MemberListResponse | null;
  readonly problem: string | null;
}

export async function survey(options: SurveyOptions): Promise<Survey> {
  const open: Endpoint[] = [];
  const reach = (address: Address, like?: Endpoint): Endpoint => {
    const endpoint = new Endpoint(address, options.credentials, options.limitMs, like?.session() ?? null);
    open.push(endpoint);
    return endpoint;
  };
  try {
    const voices = await Promise.all(options.addresses.map((address) => listen(reach(address))));
    const silent = voices
      .filter((voice) => voice.problem !== null)
      .map(({ endpoint, problem }) => ({ endpoint: endpoint.text, problem: problem! }));
    const best = bestInformed(voices);
    if (best === undefined) return { clusterId: null, members: [], silent, foreign: [], differing: [] };
    const clusterId = best.members!.header?.clusterId ?? 0n;
    const own = voices.filter((voice) => clusterIdOf(voice) === clusterId);
    const members = await Promise.all(
      best.members!.members.map((member) => look(member, voices, (address) => reach(address, best.endpoint))),
    );
    return {
      clusterId,
      members: (await measureLag(members, options)).sort(byName),
      silent,
      foreign: voices.filter((voice) => clusterIdOf(voice) !== null && !own.includes(voice)).map(textOf),
      differing: own.filter((voice) => voice.members !== null && idsOf(voice) !== idsOf(best)).map(textOf),
    };
  } finally {
    for (const endpoint of open) endpoint.close();
  }
}

async function listen(endpoint: Endpoint): Promise<Voice> {
  const [status, members] = await Promise.allSettled([statusOf(endpoint), membersOf(endpoint)]);
  return {
    endpoint,
    status: status.status === "fulfilled" ? status.value : null,
    // A learner answers nothing but Status.
    members: members.status === "fulfilled" ? members.value : null,
    problem: status.status === "rejected" ? (status.reason as Error).message : null,
  };
}

/** The list of whoever has applied most: others may not have heard of the latest change. */
function bestInformed(voices: readonly Voice[]): Voice | undefined {
  return voices
    .filter((voice) => voice.members !== null)
    .sort((a, b) => (b.status?.raftAppliedIndex ?? 0) - (a.status?.raftAppliedIndex ?? 0))[0];
}

/** A member by what it said at a given address, else by what it says where it says it is. */
async function look(
  member: Member,
  voices: readonly Voice[],
  reach: (address: Address) => Endpoint,
): Promise<Surveyed> {
  const known = voices.find(({ status }) => status?.header?.memberId === member.ID);
  if (known !== undefined) return surveyed(member, known.endpoint, known.status, null);
  if (member.clientURLs.length === 0) return surveyed(member, null, null, "it has never started");
  const problems: string[] = [];
  const tries = member.clientURLs.map(async (url): Promise<Surveyed> => {
    try {
      const address = parseAddress(url, false);
      // It was asked at this very place already, and the user should not wait for its silence twice.
      const silent = voices.find(({ endpoint, status }) => status === null && endpoint.text === addressText(address));
      if (silent !== undefined) throw new Error(silent.problem!);
      const endpoint = reach(address);
      const status = await statusOf(endpoint);
      const answered = status.header?.memberId ?? 0n;
      if (answered !== member.ID) throw new Error(`${url} is answered by member ${answered.toString(16)}`);
      return surveyed(member, endpoint, status, null);
    } catch (error) {
      problems.push((error as Error).message);
      throw error;
    }
  });
  return Promise.any(tries).catch(() => surveyed(member, null, null, problems.join("; ")));
}

/** A member while it is still being looked at. */
interface Surveyed extends SurveyedMember {
  /** Where it can be asked again; null if it did not answer. */
  readonly at: Endpoint | null;
}

function surveyed(
  member: Member,
  at: Endpoint | null,
  status: StatusResponse | null,
  problem: string | null,
): Surveyed {
  const advertised = member.clientURLs[0] ?? member.peerURLs[0] ?? "";
  return {
    id: member.ID,
    name: member.name,
    endpoint: at?.text ?? advertised.replace(/^https?:\/\//, ""),
    isLearner: member.isLearner,
    hasStarted: member.clientURLs.length > 0,
    status,
    problem,
    lag: null,
    isLeftBehind: false,
    at,
  };
}

/**
 * Indexes of a busy cluster differ between any two answers. So whoever seems far behind is asked again later: it lags if
 * it then has not even reached where the leader was before.
 */
async function measureLag(members: readonly Surveyed[], { secondLookMs }: SurveyOptions): Promise<SurveyedMember[]> {
  const leaderIndex = leaderIndexOf(members);
  const lags = members.map(({ status }) => status && Math.max(0, leaderIndex - status.raftAppliedIndex));
  const isLate = lags.map((lag) => lag !== null && lag >= LAG_WORTH_A_LOOK);
  if (isLate.includes(true)) await new Promise((resolve) => setTimeout(resolve, secondLookMs));
  return Promise.all(
    members.map(async ({ at, ...member }, i): Promise<SurveyedMember> => {
      const lag = lags[i] ?? null;
      if (!isLate[i]) return { ...member, lag };
      const later = await statusOf(at!).catch(() => null);
      return { ...member, lag, isLeftBehind: later === null || later.raftAppliedIndex < leaderIndex };
    }),
  );
}

/** The last index of the leader; without one, the highest anybody has. */
function leaderIndexOf(members: readonly Surveyed[]): number {
  const leader = members.find(({ id, status }) => status !== null && status.leader === id);
  if (leader !== undefined) return leader.status!.raftIndex;
  return Math.max(0, ...members.map(({ status }) => status?.raftIndex ?? 0));
}

function statusOf(endpoint: Endpoint): Promise<StatusResponse> {
  return endpoint.call("/etcdserverpb.Maintenance/Status", StatusRequest, StatusResponse, {});
}

function membersOf(endpoint: Endpoint): Promise<MemberListResponse> {
  const request = { linearizable: false };
  return endpoint.call("/etcdserverpb.Cluster/MemberList", MemberListRequest, MemberListResponse, request);
}

function clusterIdOf({ members, status }: Voice): bigint | null {
  return members?.header?.clusterId ?? status?.header?.clusterId ?? null;
}

function idsOf({ members }: Voice): string {
  return members!.members
    .map(({ ID }) => ID.toString(16))
    .sort()
    .join();
}

function textOf({ endpoint }: Voice): string {
  return endpoint.text;
}

function byName(a: SurveyedMember, b: SurveyedMember): number {
  return a.name.localeCompare(b.name, "en", { numeric: true }) || (a.id < b.id ? -1 : 1);
}
