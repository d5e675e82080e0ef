/** Small services for tests, all under /t.Test/, and an observer that remembers. */
import { StatusCode } from "../grpc/status.ts";
import type { CallOwner, Method, ObservedCall, RpcObserver, ServerCall, StreamHandler } from "../server/method.ts";

/** /t.Test/Echo: the message back. */
export const echo: Method = {
  kind: "unary",
  handle(call, buffer, start, end) {
    call.respond(buffer, start, end);
  },
};

/** /t.Test/Hold: keeps calls for the test to answer, and hears what becomes of them. */
export class Holding implements CallOwner {
  readonly calls: ServerCall[] = [];
  readonly reasons: string[] = [];
  drains = 0;
  readonly method: Method = {
    kind: "unary",
    handle: (call) => {
      call.owner = this;
      this.calls.push(call);
    },
  };
  cancelled(_call: ServerCall, reason: string): void {
    this.reasons.push(reason);
  }
  drained(): void {
    this.drains++;
  }
}

/** /t.Test/Chat: every message back; ends when the client has. */
export const chat: Method = {
  kind: "stream",
  open(): StreamHandler {
    return {
      message: (call, buffer, start, end) => {
        call.send(buffer, start, end);
      },
      halfClosed: (call) => call.end(),
    };
  },
};

/** /t.Test/Count: a message of four bytes n makes n messages 0..n-1. */
export const count: Method = {
  kind: "serverStream",
  handle(call, buffer, start, end) {
    const total = end - start === 4 ? Buffer.from(buffer).readUInt32BE(start) : Number.POSITIVE_INFINITY;
    if (total > 100_000) {
      call.fail(StatusCode.InvalidArgument, "not a number up to 100000");
      return;
    }
    for (let i = 0; i < total; i++) {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(i);
      call.send(bytes, 0, 4);
    }
    call.end();
  },
};

/** /t.Test/Sum: client streaming; the number of bytes received. */
export const sum: Method = {
  kind: "stream",
  open(): StreamHandler {
    let total = 0;
    return {
      message: (_call, _buffer, start, end) => {
        total += end - start;
      },
      halfClosed: (call) => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32BE(total);
        call.respond(bytes, 0, 4);
      },
    };
  },
};

/** /t.Test/Fail: the message is "code text". */
export const failing: Method = {
  kind: "unary",
  handle(call, buffer, start, end) {
    const [code, ...words] = Buffer.from(buffer.subarray(start, end)).toString().split(" ");
    call.fail(Number(code), words.join(" "));
  },
};

/** Keeps account of calls and closed connections. */
export class CountingObserver implements RpcObserver {
  started = 0;
  readonly ended: string[] = [];
  readonly closed: string[] = [];
  received = 0;
  sent = 0;
  callStarted(): void {
    this.started++;
  }
  callEnded({ path }: ObservedCall, code: number): void {
    this.ended.push(`${path} ${code}`);
  }
  messageReceived(): void {
    this.received++;
  }
  messageSent(): void {
    this.sent++;
  }
  connectionClosed(reason: string): void {
    this.closed.push(reason);
  }
}

/** All of the above in a table; `holding` is the caller's. */
export function testMethods(holding: Holding = new Holding()): Map<string, Method> {
  return new Map<string, Method>([
    ["/t.Test/Echo", echo],
    ["/t.Test/Hold", holding.method],
    ["/t.Test/Chat", chat],
    ["/t.Test/Count", count],
    ["/t.Test/Sum", sum],
    ["/t.Test/Fail", failing],
  ]);
}
