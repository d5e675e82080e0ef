/**
 * The frame of unary methods that are not hot: decode, answer, turn what is thrown into a status. And the usual ways to
 * answer: at once, after a linearizable read, or after an entry was applied.
 */
import type { ErrorKind, RaftOp } from "@quorate/api";
import type { Init, MessageType } from "@quorate/api/messages";
import type { Method, ServerCall } from "@quorate/rpc";
import { answerWriter, failThrown, failWith, respondWith } from "../answer.ts";
import type { Member } from "../member/member.ts";
import type { Outcome } from "../member/outcome.ts";

/** A unary method whose handler gets the decoded request and may throw errors of the table. */
export function unary<Request extends object>(
  path: string,
  type: MessageType<Request>,
  handle: (call: ServerCall, request: Request) => void,
): [string, Method] {
  return [
    path,
    {
      kind: "unary",
      handle(call, buffer, start, end) {
        try {
          handle(call, type.decode(buffer, start, end));
        } catch (error) {
          failThrown(call, error);
        }
      },
    },
  ];
}

export function answer<Response extends object>(
  call: ServerCall,
  type: MessageType<Response>,
  response: Init<Response>,
): void {
  if (!call.isOpen) return;
  answerWriter.reset();
  type.write(answerWriter, response);
  respondWith(call, answerWriter);
}

/** The header of an answer; Cluster's calls give revision 0, everything else the store's. */
export function headerOf(
  member: Member,
  revision: number = member.store.revision,
): { clusterId: bigint; memberId: bigint; revision: number; raftTerm: number } {
  return { clusterId: member.membership.clusterId, memberId: member.id, revision, raftTerm: member.appliedTerm };
}

/** Puts a request into the log and answers with what became of it. */
export function proposeFor<Request extends object>(
  member: Member,
  call: ServerCall,
  op: RaftOp,
  type: MessageType<Request>,
  request: Init<Request>,
  applied: (outcome: Outcome) => void,
): void {
  const bytes = type.encode(request);
  member.propose(
    op,
    bytes,
    0,
    bytes.length,
    {
      applied: (_pending, outcome) => {
        if (outcome.error !== null) failWith(call, outcome.error);
        else if (call.isOpen) applied(outcome);
      },
      failed: (_pending, error: ErrorKind) => failWith(call, error),
    },
    call,
    null,
  );
}

/** Runs `ready` once applied state may be shown to a linearizable reader. */
export function afterRead(member: Member, call: ServerCall, ready: () => void): void {
  member.read({
    readReady: () => {
      if (!call.isOpen) return;
      try {
        ready();
      } catch (error) {
        failThrown(call, error);
      }
    },
    readFailed: (reason) => failWith(call, reason),
  });
}
