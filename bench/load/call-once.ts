/** One unary call on a connection of its own: for what is asked rarely, beside the load. */
import { LoadConnection, type StreamSink } from "./h2-connection.ts";
import { MessageReader } from "./message-reader.ts";

/**
 * Resolves with the answer's message. Throws if there is none, if the connection breaks, or after `limitMs`: a figure
 * beside work that was not done means nothing.
 */
export async function callOnce(
  port: number,
  path: string,
  message: Buffer,
  limitMs = 600_000,
  token?: string,
): Promise<Buffer> {
  let connection: LoadConnection | undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const fail = (why: string): void => reject(new Error(`${path} on port ${port}: ${why}`));
      timer = setTimeout(() => fail(`no answer within ${limitMs} ms`), limitMs);
      const reader = new MessageReader();
      let answer: Buffer | null = null;
      const sink: StreamSink = {
        data: (_streamId, buffer, start, end) =>
          reader.push(buffer, start, end, (bytes, from, to) => {
            answer = Buffer.from(bytes.subarray(from, to));
          }),
        ended: () => (answer === null ? fail("answered with an error") : resolve(answer)),
        lost: () => fail("the connection has gone"),
      };
      LoadConnection.open(port, sink, false, token).then((opened) => {
        connection = opened;
        opened.call(path, message, true);
        opened.flush();
      }, reject);
    });
  } finally {
    clearTimeout(timer);
    connection?.close();
  }
}
