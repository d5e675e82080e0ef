/**
 * What a node checks of a message before it believes anything in it: that its parts agree with each other. Peers are
 * correct as a rule, but a message that is not would break our own log, or end the process, if it got further.
 */
import { confChangeOf } from "./codec.ts";
import { MalformedMessage } from "./errors.ts";
import { type Message, MessageType, type Snapshot } from "./message.ts";
import { type ConfState, EntryType } from "./types.ts";

/** Throws MalformedMessage (known failure RA-20). */
export function checkMessage(m: Message): void {
  switch (m.type) {
    case MessageType.App: {
      if (m.term === 0) throw new MalformedMessage("a message that belongs to a term has none");
      let term: number = m.logTerm;
      for (let i = 0; i < m.entries.length; i++) {
        const entry = m.entries[i]!;
        if (entry.index !== m.index + 1 + i) throw new MalformedMessage("the entries of a MsgApp are not contiguous");
        if (entry.term < term) throw new MalformedMessage("the terms of a MsgApp decrease");
        term = entry.term;
      }
      if (term > m.term) throw new MalformedMessage("a MsgApp has entries of a later term than its own");
      return;
    }
    case MessageType.Prop:
      if (m.entries.length === 0) throw new MalformedMessage("a MsgProp has no entries");
      for (let i = 0; i < m.entries.length; i++) {
        if (m.entries[i]!.type !== EntryType.Normal) confChangeOf(m.entries[i]!);
      }
      return;
    case MessageType.ReadIndex:
      if (m.entries.length !== 1) throw new MalformedMessage("a MsgReadIndex has not exactly one entry");
      return;
    case MessageType.AppResp:
    case MessageType.Vote:
    case MessageType.VoteResp:
    case MessageType.Heartbeat:
    case MessageType.HeartbeatResp:
    case MessageType.TimeoutNow:
    case MessageType.ReadIndexResp:
    case MessageType.PreVote:
    case MessageType.PreVoteResp:
      // Without a term it would pass the gate that keeps messages of earlier terms out.
      if (m.term === 0) throw new MalformedMessage("a message that belongs to a term has none");
      return;
    case MessageType.Snap:
      if (m.term === 0) throw new MalformedMessage("a message that belongs to a term has none");
      if (m.snapshot !== null && m.snapshot.metadata.index !== 0) checkSnapshot(m.snapshot, m.term);
      return;
  }
}

function checkSnapshot({ metadata }: Snapshot, term: number): void {
  if (metadata.term === 0 || metadata.term > term) {
    throw new MalformedMessage("a snapshot ends in no term, or in a later one than its message");
  }
  // Found out only when it is put in force, the log would be gone already.
  if (!isConfiguration(metadata.confState)) throw new MalformedMessage("a snapshot's configuration contradicts itself");
}

/** Whether legal changes can lead there: the invariants of tracker.ts. Nobody at all is one, that of who was never told. */
function isConfiguration({ voters, learners, votersOutgoing, learnersNext, autoLeave }: ConfState): boolean {
  const all = [...voters, ...learners, ...votersOutgoing, ...learnersNext];
  if (voters.length === 0) return all.length === 0 && !autoLeave;
  if (all.includes(0n)) return false;
  for (const each of [voters, learners, votersOutgoing, learnersNext])
    if (new Set(each).size < each.length) return false;
  if (votersOutgoing.length === 0 && (learnersNext.length > 0 || autoLeave)) return false;
  return (
    learners.every((id) => !voters.includes(id) && !votersOutgoing.includes(id)) &&
    learnersNext.every((id) => votersOutgoing.includes(id) && !voters.includes(id))
  );
}
