/**
 * The JSON form of a member: stored in table `members`, listed by `/members` of the peer port, and carried as the context
 * of configuration changes in the log. Its `id` is a bare decimal number up to 2^64-1, which JSON.parse would round, so
 * digits are read from the source text. Field order, omissions and escapes are those of Go's encoder: every member of a
 * mixed cluster must write the same bytes.
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
  const attributes = encodeAttributes(member, ",");
  return `{"id":${member.id},${raftAttributes(member)}${attributes}}`;
}

/** What the log decides of a member: its peer URLs, and whether it learns only. */
export function encodeRaftAttributes(member: Member): string {
  return `{${raftAttributes(member)}}`;
}

/** What a member tells of itself: name and client URLs. */
export function encodeOwnAttributes(member: Member): string {
  return `{${encodeAttributes(member, "")}}`;
}

/** The context that turns AddNode into a promotion. */
export function encodePromotion(id: bigint): string {
  return `{"id":${id},"peerURLs":null,"isPromote":true}`;
}

/** Throws {@link MalformedMember}. */
export function decodeMember(text: string): Member {
  return memberOf(parse(text), text);
}

/** A member, or the promotion of one. Throws {@link MalformedMember}. */
export function decodeChangeContext(text: string): { readonly member: Member; readonly isPromote: boolean } {
  const parsed = parse(text);
  const member = memberOf(parsed, text);
  return { member, isPromote: (parsed as { isPromote?: unknown }).isPromote === true };
}

/** The list that `/members` of a peer port answers with, in its order. Throws {@link MalformedMember}. */
export function decodeMembers(text: string): Member[] {
  const parsed = parse(text);
  if (!Array.isArray(parsed)) throw new MalformedMember(`not a list of members: ${excerpt(text)}`);
  return parsed.map((each) => memberOf(each, text));
}

/** The answer of `/members`: a line of JSON. */
export function encodeMembers(members: readonly Member[]): string {
  return `[${members.map(encodeMember).join(",")}]\n`;
}

function raftAttributes(member: Member): string {
  return `"peerURLs":${strings(member.peerUrls)}${member.isLearner ? ',"isLearner":true' : ""}`;
}

/** `before` stands in front of the first field, if there is one. */
function encodeAttributes(member: Member, before: "" | ","): string {
  const fields: string[] = [];
  if (member.name !== "") fields.push(`"name":${string(member.name)}`);
  if (member.clientUrls.length > 0) fields.push(`"clientURLs":${strings(member.clientUrls)}`);
  return fields.length === 0 ? "" : before + fields.join(",");
}

function strings(values: readonly string[]): string {
  return `[${values.map(string).join(",")}]`;
}

/** Go escapes what could end a script element, and the two line ends that JavaScript once did not allow in strings. */
function string(value: string): string {
  return JSON.stringify(value.toWellFormed()).replace(/[<>&\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function parse(text: string): unknown {
  try {
    return parseWithSource(text, exactIds);
  } catch (error) {
    throw new MalformedMember(`member is not JSON: ${excerpt(text)}`, { cause: error });
  }
}

/** JSON.parse hands revivers the source text (ECMA-262, 2025); TypeScript's library does not describe that yet. */
const parseWithSource = JSON.parse as (
  text: string,
  reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
) => unknown;

function exactIds(key: string, value: unknown, context: { source?: string }): unknown {
  return key === "id" && typeof value === "number" && /^\d{1,20}$/.test(context.source ?? "")
    ? BigInt(context.source!)
    : value;
}

function memberOf(parsed: unknown, text: string): Member {
  const fields = parsed as Partial<Record<"id" | "peerURLs" | "isLearner" | "name" | "clientURLs", unknown>>;
  if (typeof parsed !== "object" || parsed === null || typeof fields.id !== "bigint" || fields.id >= 2n ** 64n) {
    throw new MalformedMember(`member has no id: ${excerpt(text)}`);
  }
  return {
    id: fields.id,
    peerUrls: stringsOf(fields.peerURLs),
    isLearner: fields.isLearner === true,
    name: typeof fields.name === "string" ? fields.name : "",
    clientUrls: stringsOf(fields.clientURLs),
  };
}

function stringsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === "string") : [];
}

function excerpt(text: string): string {
  return text.slice(0, 200);
}
