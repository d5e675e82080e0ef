/**
 * The JSON form of a member: stored in table `members`, and carried as the context of configuration changes in the log.
 * Its `id` is a bare decimal number up to 2^64-1, which JSON.parse would round, so digits are read from the source text.
 * Field order and omissions are etcd's: every member of a mixed cluster must write the same bytes.
 */
export interface Member {
  readonly id: bigint;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
  /** Empty until the member has started and published itself. */
  readonly name: string;
  readonly clientUrls: readonly string[];
}

/** The bytes were not a member as JSON: damage, never something to apply. */
export class MalformedMember extends Error {
  readonly kind = "MalformedMember";
}

export function encodeMember(member: Member): string {
  const learner = member.isLearner ? ',"isLearner":true' : "";
  const name = member.name === "" ? "" : `,"name":${JSON.stringify(member.name)}`;
  const clientUrls = member.clientUrls.length === 0 ? "" : `,"clientURLs":${JSON.stringify(member.clientUrls)}`;
  return `{"id":${member.id},"peerURLs":${JSON.stringify(member.peerUrls)}${learner}${name}${clientUrls}}`;
}

/** Throws {@link MalformedMember}. */
export function decodeMember(text: string): Member {
  let parsed: unknown;
  try {
    parsed = parseWithSource(text, exactIntegers);
  } catch (error) {
    throw new MalformedMember(`member is not JSON: ${text.slice(0, 200)}`, { cause: error });
  }
  const fields = parsed as Partial<Record<"id" | "peerURLs" | "isLearner" | "name" | "clientURLs", unknown>>;
  if (typeof parsed !== "object" || parsed === null || typeof fields.id !== "bigint") {
    throw new MalformedMember(`member has no id: ${text.slice(0, 200)}`);
  }
  return {
    id: fields.id,
    peerUrls: strings(fields.peerURLs),
    isLearner: fields.isLearner === true,
    name: typeof fields.name === "string" ? fields.name : "",
    clientUrls: strings(fields.clientURLs),
  };
}

/** JSON.parse hands revivers the source text (ECMA-262, 2025); TypeScript's library does not describe that yet. */
const parseWithSource = JSON.parse as (
  text: string,
  reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
) => unknown;

function exactIntegers(key: string, value: unknown, context: { source?: string }): unknown {
  return key === "id" && typeof value === "number" && /^\d+$/.test(context.source ?? "")
    ? BigInt(context.source!)
    : value;
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === "string") : [];
}
