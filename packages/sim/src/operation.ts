/** What clients ask and are told, in the words of the checks: one Operation per call, from its call to its answer. */

export type OperationRequest =
  | { readonly kind: "put"; readonly key: string; readonly value: string }
  | { readonly kind: "get"; readonly key: string; readonly isSerializable: boolean }
  | { readonly kind: "delete"; readonly key: string }
  /** Puts the value if the key's mod revision is the expected one (0: the key is absent), else reads the key. */
  | { readonly kind: "cas"; readonly key: string; readonly expectedRevision: number; readonly value: string };

export interface StoredValue {
  readonly value: string;
  readonly modRevision: number;
}

export interface OperationAnswer {
  /** Of the header. */
  readonly revision: number;
  /** What a get or a failed cas found; null: no such key. */
  readonly found: StoredValue | null;
  /** Of a cas. */
  readonly succeeded: boolean;
  /** Of a delete. */
  readonly deleted: number;
}

export class Operation {
  readonly client: string;
  readonly request: OperationRequest;
  readonly calledMs: number;
  /** The highest revision any client had been shown when this was asked. */
  readonly floor: number;
  returnedMs: number | null = null;
  /** Null: it is not known whether it happened, or whether it ever will. */
  answer: OperationAnswer | null = null;

  constructor(client: string, request: OperationRequest, calledMs: number, floor: number) {
    this.client = client;
    this.request = request;
    this.calledMs = calledMs;
    this.floor = floor;
  }

  /** It changed the store, for certain. */
  get hasWritten(): boolean {
    const { request, answer } = this;
    if (answer === null) return false;
    if (request.kind === "put") return true;
    if (request.kind === "delete") return answer.deleted > 0;
    return request.kind === "cas" && answer.succeeded;
  }
}

export function describeOperation({ request, answer }: Operation): string {
  const asked =
    request.kind === "put"
      ? `put ${request.key}=${request.value}`
      : request.kind === "get"
        ? `${request.isSerializable ? "serializable " : ""}get ${request.key}`
        : request.kind === "delete"
          ? `delete ${request.key}`
          : `cas ${request.key} @${request.expectedRevision} =${request.value}`;
  if (answer === null) return asked;
  const found = answer.found === null ? "nothing" : `${answer.found.value} @${answer.found.modRevision}`;
  switch (request.kind) {
    case "put":
      return `${asked} → revision ${answer.revision}`;
    case "get":
      return `${asked} → ${found}, revision ${answer.revision}`;
    case "delete":
      return `${asked} → ${answer.deleted}, revision ${answer.revision}`;
    case "cas":
      return `${asked} → ${answer.succeeded ? "done" : found}, revision ${answer.revision}`;
    default:
      return request satisfies never;
  }
}
