/** Our client and our server, joined by wires that tests control. */
import { RpcClient } from "../client/client.ts";
import type { RpcLimits } from "../limits.ts";
import type { Method, RpcObserver } from "../server/method.ts";
import { RpcServer } from "../server/server.ts";
import { FakeSocket } from "./fake-socket.ts";
import type { ManualWorld } from "./manual-world.ts";

export interface Joined {
  readonly client: RpcClient;
  readonly server: RpcServer;
  /** The pairs of sockets made so far: [client's, server's]. */
  readonly wires: [FakeSocket, FakeSocket][];
}

/** How bytes travel: as written, or cut into chunks by a number generator. */
export type Cut = (bytes: Buffer) => Buffer[];

export function joined(
  world: ManualWorld,
  methods: Map<string, Method>,
  options: {
    client?: Partial<RpcLimits>;
    server?: Partial<RpcLimits>;
    observer?: RpcObserver;
    cut?: Cut;
    /** Deliver within the write, so that both ends run nested in each other. */
    isSynchronous?: boolean;
  } = {},
): Joined {
  const wires: [FakeSocket, FakeSocket][] = [];
  const server = new RpcServer({
    methods,
    clock: world,
    timers: world,
    ...(options.server === undefined ? {} : { limits: options.server }),
    ...(options.observer === undefined ? {} : { observer: options.observer }),
  });
  const cut: Cut = options.cut ?? ((bytes) => [bytes]);
  const deliver = (to: FakeSocket) => (bytes: Buffer) => {
    const arrive = () => {
      for (const piece of cut(bytes)) if (!to.destroyed) to.emit("data", piece);
    };
    if (options.isSynchronous === true) arrive();
    else world.nextTurn(arrive);
  };
  const client = new RpcClient({
    connect() {
      const near = new FakeSocket();
      const far = new FakeSocket();
      near.peer = deliver(far);
      far.peer = deliver(near);
      wires.push([near, far]);
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        one.once("close", () => world.nextTurn(() => other.destroy()));
      }
      // As with a real connection, the server hears of it a little later.
      world.nextTurn(() => {
        if (!far.destroyed) server.accept(far.asDuplex());
      });
      return near.asDuplex();
    },
    authority: "test",
    clock: world,
    timers: world,
    ...(options.client === undefined ? {} : { limits: options.client }),
  });
  return { client, server, wires };
}
