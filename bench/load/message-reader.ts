/** Puts gRPC messages of one stream together from DATA frames and counts them; hands each out if asked. */
export class MessageReader {
  count = 0;
  #rest: Buffer | null = null;

  /** `onMessage` gets each whole message, borrowed until return. */
  push(
    buffer: Buffer,
    start: number,
    end: number,
    onMessage?: (buffer: Buffer, start: number, end: number) => void,
  ): void {
    let from = start;
    let to = end;
    let bytes = buffer;
    if (this.#rest !== null) {
      bytes = Buffer.concat([this.#rest, buffer.subarray(start, end)]);
      from = 0;
      to = bytes.length;
      this.#rest = null;
    }
    while (to - from >= 5) {
      const length = bytes.readUInt32BE(from + 1);
      if (to - from < 5 + length) break;
      this.count++;
      onMessage?.(bytes, from + 5, from + 5 + length);
      from += 5 + length;
    }
    if (from < to) this.#rest = Buffer.from(bytes.subarray(from, to));
  }
}
