/**
 * Where the etcd at hand is not to be followed: etcds before 3.7 answer some things otherwise than 3.7, which Quorate
 * follows, and 3.7 has a fault or two that Quorate does not share (docs/divergences.md). Each row says how the comparison
 * is made all the same, if it can be.
 */
import { errors, SortOrder, SortTarget, StatusCode } from "@quorate/api";
import { type HashKVResponse, RangeRequest, RangeResponse, TxnRequest, type TxnResponse } from "@quorate/api/messages";
import type { Answer } from "./answers.ts";
import { type Operation, operation } from "./operation.ts";
import { show } from "./show.ts";

export interface KnownDifference {
  readonly reason: string;
  /** The etcds that differ. */
  readonly before: string;
  /** Whether the difference explains these answers, which are not the same. */
  covers?(operation: Operation, theirs: Answer, ours: Answer): boolean;
  /** Their answer as 3.7 would have given it, for comparing. */
  corrects?(operation: Operation, theirs: Answer): Answer;
}

export const knownDifferences: readonly KnownDifference[] = [
  {
    reason: "RangeStream came with 3.7; what it refuses cannot be compared, what it answers is compared with Range",
    before: "3.7",
    covers: ({ path }, theirs, ours) =>
      path === RANGE_STREAM && theirs.code === StatusCode.Unimplemented && ours.code !== StatusCode.Ok,
  },
  {
    reason: "since 3.7 a range of keys only is answered without looking at the records, so it shows no leases",
    before: "3.7",
    corrects: (operation, theirs) =>
      mapRanges(operation, theirs, ({ keysOnly, sortTarget }, response) => {
        if (!keysOnly || sortTarget === SortTarget.VALUE) return response;
        return { ...response, kvs: response.kvs.map((kv) => ({ ...kv, lease: 0n })) };
      }),
  },
  {
    reason: "the revision hashed is named since 3.6",
    before: "3.6",
    covers: (_operation, theirs, ours) => {
      const [before, now] = [hashOf(theirs), hashOf(ours)];
      return (
        before !== null && now !== null && before.hash === now.hash && before.compactRevision === now.compactRevision
      );
    },
  },
  {
    reason: "the revision of the last compaction itself can be hashed since 3.5",
    before: "3.5",
    covers: ({ path }, theirs, ours) =>
      path === HASH_KV && theirs.message === errors.Compacted.message && ours.code === StatusCode.Ok,
  },
  {
    reason:
      "since 3.5 the hash made by a compaction is kept, and answers for that revision with what was compacted before",
    before: "3.5",
    covers: (_operation, theirs, ours) => {
      const [before, now] = [hashOf(theirs), hashOf(ours)];
      return before !== null && now !== null && now.compactRevision < before.compactRevision;
    },
  },
  {
    reason: "a transaction wrong in several ways is refused for the first of them since 3.7; puts were looked at first",
    before: "3.7",
    covers: ({ path }, theirs, ours) =>
      path === TXN && APPLY_REFUSALS.includes(theirs.message) && APPLY_REFUSALS.includes(ours.message),
  },
  {
    reason: "a status says its own version, and later ones more",
    before: "3.7",
    corrects: ({ path }, theirs) => {
      if (path !== STATUS) return theirs;
      const downgradeInfo = { enabled: false, targetVersion: "" };
      const added = { version: "3.7.0", storageVersion: "3.7.0", dbSizeQuota: 2 * 1024 ** 3, downgradeInfo };
      return { ...theirs, response: { ...theirs.response, ...added } };
    },
  },
  {
    reason: "alarms are answered with a header since 3.5",
    before: "3.5",
    covers: ({ path }, theirs, ours) =>
      path === ALARM && show({ ...theirs.response, header: 0 }) === show({ ...ours.response, header: 0 }),
  },
];

/** Their answer without what they are known to do otherwise. */
export function corrected(operation: Operation, theirs: Answer, version: string): Answer {
  let answer = theirs;
  for (const { before, corrects } of knownDifferences) {
    if (corrects !== undefined && isBefore(version, before)) answer = corrects(operation, answer);
  }
  return answer;
}

/** Every range in the answer of a range or a transaction, to any depth. */
function mapRanges(operation: Operation, answer: Answer, map: RangeMap): Answer {
  if (answer.response === null) return answer;
  const { path, bytes } = operation;
  if (path === RANGE || path === RANGE_STREAM) {
    return { ...answer, response: map(RangeRequest.decode(bytes), answer.response as RangeResponse) };
  }
  if (path !== TXN) return answer;
  return { ...answer, response: mapTxn(TxnRequest.decode(bytes), answer.response as TxnResponse, map) };
}

type RangeMap = (request: RangeRequest, response: RangeResponse) => RangeResponse;

function mapTxn(request: TxnRequest, response: TxnResponse, map: RangeMap): TxnResponse {
  const ops = response.succeeded ? request.success : request.failure;
  const responses = response.responses.map((each, i) => {
    const { requestRange, requestTxn } = ops[i]!;
    const { responseRange, responseTxn } = each;
    if (requestRange !== undefined) return { ...each, responseRange: map(requestRange, responseRange!) };
    if (requestTxn !== undefined) return { ...each, responseTxn: mapTxn(requestTxn, responseTxn!, map) };
    return each;
  });
  return { ...response, responses };
}

function hashOf({ response }: Answer): HashKVResponse | null {
  return response !== null && "compactRevision" in response ? (response as HashKVResponse) : null;
}

/** What the operations of a transaction may be refused for when it is applied. */
const APPLY_REFUSALS: readonly string[] = [
  errors.KeyNotFound.message,
  errors.LeaseNotFound.message,
  errors.Compacted.message,
  errors.FutureRevision.message,
];
const RANGE = "/etcdserverpb.KV/Range";
const ALARM = "/etcdserverpb.Maintenance/Alarm";
const HASH_KV = "/etcdserverpb.Maintenance/HashKV";
const STATUS = "/etcdserverpb.Maintenance/Status";
const TXN = "/etcdserverpb.KV/Txn";
const RANGE_STREAM = "/etcdserverpb.KV/RangeStream";

/**
 * What to ask the reference instead. A stream that etcd does not know, or whose chunks it would sort (it then loses keys
 * and repeats others), is answered as Range answers.
 */
export function askedOfReference(asked: Operation, version: string): Operation {
  if (asked.path !== RANGE_STREAM) return asked;
  let request: RangeRequest;
  try {
    request = RangeRequest.decode(asked.bytes);
  } catch {
    return asked;
  }
  const { sortOrder, sortTarget } = request;
  const isStreamed = sortOrder === SortOrder.NONE || (sortOrder === SortOrder.ASCEND && sortTarget === SortTarget.KEY);
  const isFiltered =
    request.minModRevision + request.maxModRevision + request.minCreateRevision + request.maxCreateRevision !== 0;
  if (!isStreamed || isFiltered) return asked;
  if (isBefore(version, "3.7") || sortTarget !== SortTarget.KEY) {
    return { ...operation(RANGE, RangeRequest, RangeResponse, {}), bytes: asked.bytes };
  }
  return asked;
}

/** Whether a version, as 3.4.23, comes before another, as 3.7. */
export function isBefore(version: string, other: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [otherMajor = 0, otherMinor = 0] = other.split(".").map(Number);
  return major < otherMajor || (major === otherMajor && minor < otherMinor);
}
