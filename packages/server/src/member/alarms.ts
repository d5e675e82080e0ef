/**
 * Alarms raised in the cluster: a set of (member, type), replicated and kept in the table `alarm`, whose key is the
 * encoded AlarmMember {memberID=1, alarm=2} and whose value is empty (etcd's form). Raising twice is raising once
 * (known failure QU-06).
 *
 * While any member's NOSPACE is raised, puts and grants are refused; CORRUPT refuses every write.
 */
import { AlarmType } from "@quorate/api";
import { Reader, Writer } from "@quorate/api/wire";

export interface AlarmMember {
  readonly memberId: bigint;
  /** A number of AlarmType. */
  readonly alarm: number;
}

export interface AlarmTable {
  put(key: Uint8Array, value: Uint8Array | null): void;
}

const EMPTY = new Uint8Array(0);
const MEMBER_ID = 0x08;
const ALARM = 0x10;

export class Alarms {
  readonly #table: AlarmTable;
  #raised: AlarmMember[] = [];

  constructor(table: AlarmTable) {
    this.#table = table;
  }

  /** Replaces everything with what the table holds. */
  load(scan: (visit: (key: Uint8Array, value: Uint8Array) => void) => void): void {
    this.#raised = [];
    scan((key) => this.#raised.push(decode(key)));
  }

  /** All of a type; every one for AlarmType.NONE. */
  list(type: number): AlarmMember[] {
    return this.#raised.filter((each) => type === AlarmType.NONE || each.alarm === type);
  }

  isRaised(type: number): boolean {
    for (let i = 0; i < this.#raised.length; i++) if (this.#raised[i]!.alarm === type) return true;
    return false;
  }

  /** Returns the alarm, whether or not it was raised before. */
  activate(alarm: AlarmMember): AlarmMember {
    if (!this.#raised.some((each) => same(each, alarm))) {
      this.#raised.push(alarm);
      this.#table.put(encode(alarm), EMPTY);
    }
    return alarm;
  }

  /** Returns the alarm if it was raised, null if there was nothing to clear: only an exact match counts. */
  deactivate(alarm: AlarmMember): AlarmMember | null {
    const at = this.#raised.findIndex((each) => same(each, alarm));
    if (at < 0) return null;
    this.#raised.splice(at, 1);
    this.#table.put(encode(alarm), null);
    return alarm;
  }
}

function same(a: AlarmMember, b: AlarmMember): boolean {
  return a.memberId === b.memberId && a.alarm === b.alarm;
}

/** At least a byte long, which a table key must be: nothing raises an alarm of type NONE. */
function encode(alarm: AlarmMember): Uint8Array {
  const writer = new Writer(16);
  if (alarm.memberId !== 0n) {
    writer.byte(MEMBER_ID);
    writer.varintBig(alarm.memberId);
  }
  if (alarm.alarm !== 0) {
    writer.byte(ALARM);
    writer.varint(alarm.alarm);
  }
  return writer.copy();
}

function decode(bytes: Uint8Array): AlarmMember {
  const reader = new Reader();
  reader.reset(bytes, 0, bytes.length);
  let memberId = 0n;
  let alarm = 0;
  while (reader.position < reader.end) {
    const tag = reader.tag();
    if (tag === MEMBER_ID) memberId = reader.uint64Big();
    else if (tag === ALARM) alarm = reader.int32();
    else reader.skip(tag);
  }
  return { memberId, alarm };
}
