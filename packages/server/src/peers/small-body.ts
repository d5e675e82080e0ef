/** Bodies that are small by their nature, requests' and answers', read whole under a limit of size and of silence. */
import type { IncomingMessage } from "node:http";
import { SMALL_BODY_BYTES } from "./limits.ts";

export type BodyProblem = "too large" | "cut off";

export interface BodyLimits {
  /** The longest that nothing may come. */
  readonly silenceMs: number;
  /** Default SMALL_BODY_BYTES. */
  readonly sizeBytes?: number;
}

/** `done` is called once, with null if the body was too large or never came to an end. The rest of it is not read. */
export function readSmallBody(
  message: IncomingMessage,
  { silenceMs, sizeBytes = SMALL_BODY_BYTES }: BodyLimits,
  done: (body: Buffer | null, problem: BodyProblem | null) => void,
): void {
  const { socket } = message;
  const chunks: Buffer[] = [];
  let length = 0;
  let isDone = false;
  const finish = (body: Buffer | null, problem: BodyProblem | null): void => {
    if (isDone) return;
    isDone = true;
    socket.off("timeout", silent);
    // An agent that keeps the connection has taken it back, and sets a time limit of its own.
    if (message.socket === socket) socket.setTimeout(0);
    done(body, problem);
  };
  const silent = (): void => {
    message.destroy();
  };
  socket.setTimeout(silenceMs, silent);
  message.on("data", (chunk: Buffer) => {
    if (isDone) return;
    length += chunk.length;
    if (length <= sizeBytes) chunks.push(chunk);
    else finish(null, "too large");
  });
  message.on("end", () => finish(Buffer.concat(chunks), null));
  message.on("error", () => finish(null, "cut off"));
  message.on("close", () => finish(null, "cut off"));
}
