/**
 * What a client of a cluster did and was told, in the form the checkers of this folder read. Written by the simulator and
 * by the fault tests; nothing here knows how an operation was carried out.
 *
 * Times are any numbers that grow: milliseconds, ticks or a counter. Only their order is looked at, and operations whose
 * times touch count as concurrent. An operation that certainly had no effect is left out of the history altogether.
 */

/** One call of one client. */
export interface Operation {
  /** Only for the reader of an explanation. */
  readonly client: number;
  readonly call: number;
  /** Null: the outcome is unknown. It may take effect at any time after the call, or never. */
  readonly return: number | null;
  readonly input: KvInput;
  /** Null exactly if `return` is. */
  readonly output: KvOutput | null;
}

/** Keys and values are the caller's own encoding; one operation touches one key. */
export type KvInput =
  | { readonly kind: "get"; readonly key: string }
  | { readonly kind: "put"; readonly key: string; readonly value: string }
  | { readonly kind: "delete"; readonly key: string }
  /** If `compare` holds, puts `write`, or deletes the key where that is null; otherwise gets the key. */
  | { readonly kind: "txn"; readonly key: string; readonly compare: Compare; readonly write: string | null };

/** Equality, as etcd means it: a key that is absent has modification revision 0 and equals no value. */
export type Compare =
  | { readonly target: "mod"; readonly modRevision: number }
  | { readonly target: "value"; readonly value: string };

/** `revision` is always the answer's header revision. */
export type KvOutput =
  | { readonly kind: "get"; readonly revision: number; readonly found: Found | null }
  | { readonly kind: "put"; readonly revision: number }
  | { readonly kind: "delete"; readonly revision: number; readonly deleted: number }
  | {
      readonly kind: "txn";
      readonly revision: number;
      readonly succeeded: boolean;
      /** What the get of a txn that did not succeed has found. Null if it did, or the key is absent. */
      readonly found: Found | null;
    };

/** A key that is present, as a read sees it. */
export interface Found {
  readonly value: string;
  readonly modRevision: number;
}

/** Whether the answer says that the store was changed, at the answer's own revision. */
export function changedStore({ input, output }: Operation): boolean {
  if (output === null) return false;
  switch (output.kind) {
    case "get":
      return false;
    case "put":
      return true;
    case "delete":
      return output.deleted > 0;
    case "txn":
      return output.succeeded && input.kind === "txn" && !deletesWhatIsAbsent(input);
    default:
      return output satisfies never;
  }
}

/** A txn that, if it succeeds, finds nothing to delete. */
export function deletesWhatIsAbsent(input: KvInput & { readonly kind: "txn" }): boolean {
  return input.write === null && input.compare.target === "mod" && input.compare.modRevision === 0;
}

/** What the key holds after `input` has changed it: the value, or null where it deletes. */
export function valueWritten(input: KvInput): string | null {
  switch (input.kind) {
    case "put":
      return input.value;
    case "txn":
      return input.write;
    case "get":
    case "delete":
      return null;
    default:
      return input satisfies never;
  }
}

/** One line for an explanation: who, when, what, and the answer. */
export function describeOperation({ client, call, return: returned, input, output }: Operation): string {
  const answer = output === null ? "outcome unknown" : describeOutput(output);
  return `client ${client} [${call}, ${returned ?? "?"}] ${describeInput(input)} -> ${answer}`;
}

function describeInput(input: KvInput): string {
  switch (input.kind) {
    case "get":
    case "delete":
      return `${input.kind} ${input.key}`;
    case "put":
      return `put ${input.key} = ${input.value}`;
    case "txn": {
      const { compare } = input;
      const condition =
        compare.target === "mod" ? `mod(${input.key}) = ${compare.modRevision}` : `${input.key} = ${compare.value}`;
      return `if ${condition} then ${input.write === null ? `delete ${input.key}` : `put ${input.key} = ${input.write}`}`;
    }
    default:
      return input satisfies never;
  }
}

function describeOutput(output: KvOutput): string {
  const at = `at ${output.revision}`;
  switch (output.kind) {
    case "get":
      return `${describeFound(output.found)} ${at}`;
    case "put":
      return `done ${at}`;
    case "delete":
      return `${output.deleted} deleted ${at}`;
    case "txn":
      return output.succeeded ? `succeeded ${at}` : `not so, ${describeFound(output.found)} ${at}`;
    default:
      return output satisfies never;
  }
}

export function describeFound(found: Found | null): string {
  return found === null ? "absent" : `${found.value} (mod ${found.modRevision})`;
}
