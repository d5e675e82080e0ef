/**
 * What other members pass on to this one as the leader may contain changes of the configuration. Once in the log such a
 * change is decoded by every member, and what none of them can decode ends them all, at every start: so it is looked at here,
 * before it gets there (known failure RA-20). Asked for every message from a peer.
 */
import { decodeChange, MalformedMember } from "@quorate/membership";
import { decodeConfChange, EntryType, MalformedMessage, type Message, MessageType } from "@quorate/raft";

/** Throws MalformedMessage for a proposal that holds a change nobody could apply. */
export function checkForwardedChanges(message: Message): void {
  if (message.type !== MessageType.Prop) return;
  for (const { type, data } of message.entries) {
    if (type === EntryType.Normal) continue;
    if (type !== EntryType.ConfChange) throw new MalformedMessage("only changes of one member at a time are proposed");
    const change = decodeConfChange(data);
    if (change.nodeId === 0n) throw new MalformedMessage("a change of the configuration names no member");
    try {
      decodeChange(change);
    } catch (cause) {
      if (!(cause instanceof MalformedMember)) throw cause;
      throw new MalformedMessage("a change of the configuration that nobody could apply", { cause });
    }
  }
}
