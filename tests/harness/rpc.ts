/**
 * Calls to a member by our own RPC client, typed by the API's messages: for tests that need what no ready-made client
 * offers, such as thousands of writes under way when the server is killed.
 */
import { connect } from "node:net";
import type { Init, MessageType } from "@quorate/api/messages";
import { type CallOptions, type ClientCall, RpcClient, type RpcError } from "@quorate/rpc";
import type { Clock, Timers } from "@quorate/world";

export const machineClock: Clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };

export const machineTimers: Timers = {
  after(delayMs, fire) {
    const handle = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
  nextTurn(run) {
    setImmediate(run);
  },
};

export class Calls {
  readonly client: RpcClient;

  constructor(port: number, host = "127.0.0.1") {
    this.client = new RpcClient({
      connect: () => connect({ port, host, noDelay: true }),
      authority: `${host}:${port}`,
      clock: machineClock,
      timers: machineTimers,
    });
  }

  /** `method` without its slash: "etcdserverpb.KV/Put". Rejects with RpcError. */
  unary<Request extends object, Response extends object>(
    method: string,
    requestType: MessageType<Request>,
    responseType: MessageType<Response>,
    request: Init<Request>,
    options: CallOptions = {},
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      this.client.unary(`/${method}`, requestType.encode(request), options, (error, response) => {
        if (error !== null) reject(error);
        else resolve(responseType.decode(response!, 0, response!.length));
      });
    });
  }

  /** A stream whose messages go to `received`; `ended` hears of its end. */
  stream<Response extends object>(
    method: string,
    responseType: MessageType<Response>,
    received: (response: Response) => void,
    ended: (error: RpcError | null) => void,
    options: CallOptions = {},
  ): ClientCall {
    return this.client.stream(`/${method}`, options, {
      message: (_call, buffer, start, end) => received(responseType.decode(buffer, start, end)),
      ended: (_call, error) => ended(error),
    });
  }

  close(): void {
    this.client.close();
  }
}

/** Sends one message on a stream. */
export function send<Request extends object>(
  call: ClientCall,
  type: MessageType<Request>,
  request: Init<Request>,
): void {
  const bytes = type.encode(request);
  call.send(bytes, 0, bytes.length);
}
