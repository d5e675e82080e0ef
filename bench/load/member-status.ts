/** What a member says of itself (Maintenance.Status), read by hand: the generator depends on no code that it measures. */
import { callOnce } from "./call-once.ts";
import { PATHS } from "./requests.ts";

export interface MemberStatus {
  readonly memberId: bigint;
  readonly revision: number;
  /** 0n: none known. */
  readonly leader: bigint;
  readonly raftIndex: number;
  readonly raftTerm: number;
  readonly appliedIndex: number;
}

/** Throws if there is no answer within `limitMs`. */
export async function memberStatus(port: number, limitMs = 5000): Promise<MemberStatus> {
  const status = fieldsOf(await callOnce(port, PATHS.status, Buffer.alloc(0), limitMs));
  const header = fieldsOf(status.get(1) as Buffer);
  const number = (fields: Fields, field: number): bigint => (fields.get(field) as bigint | undefined) ?? 0n;
  return {
    memberId: number(header, 2),
    revision: Number(number(header, 3)),
    leader: number(status, 4),
    raftIndex: Number(number(status, 5)),
    raftTerm: Number(number(status, 6)),
    appliedIndex: Number(number(status, 7)),
  };
}

type Fields = Map<number, bigint | Buffer>;

/** The last value of each field; varints and length-delimited ones, which is all that Status has. */
function fieldsOf(message: Buffer): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = Number(varint());
    if ((tag & 7) === 0) fields.set(tag >> 3, varint());
    else {
      const length = Number(varint());
      fields.set(tag >> 3, message.subarray(at, at + length));
      at += length;
    }
  }
  return fields;
}
