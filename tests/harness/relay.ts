/**
 * A network of 127.0.0.1 on which peers reach each other only through relays of ours, one before each member, that hold back
 * bytes and break connections. It needs neither rights nor a kernel that can do so, but it works on whole connections: what
 * TCP makes of a lost packet is a stall of its connection, so stalls stand for losses.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { freePort } from "../../packages/server/src/testing/ports.ts";
import type { Host, Network } from "./network.ts";

export interface Weather {
  /** Every chunk of bytes takes this long, plus up to `jitterMs`. Order is kept. */
  readonly delayMs: number;
  readonly jitterMs: number;
  /** Of chunks, in [0, 1], that take `stallMs` more: the time TCP needs to send again what was lost. */
  readonly stallShare: number;
  readonly stallMs: number;
}

const FAIR: Weather = { delayMs: 0, jitterMs: 0, stallShare: 0, stallMs: 0 };

export class RelayedNetwork implements Network {
  weather: Weather = FAIR;
  readonly #servers: Server[] = [];
  readonly #connections: Set<Socket> = new Set();

  /** Peers connect to `ports.peer`, where the relay is; the member listens elsewhere. */
  async addHost(): Promise<Host> {
    const [client, peer, peerListen] = [await freePort(), await freePort(), await freePort()];
    const server = createServer((socket) => this.#relay(socket, peerListen));
    await new Promise<void>((resolve) => server.listen(peer, "127.0.0.1", resolve));
    this.#servers.push(server);
    return {
      address: "127.0.0.1",
      ports: { client, peer, peerListen },
      command: (program, args) => [program, args],
    };
  }

  /** Breaks every connection between peers there is. They may connect anew. */
  breakConnections(): void {
    for (const socket of this.#connections) {
      // A reset while its end is on the way is never carried out, and the process never ends either (Node 24).
      if (socket.writableEnded) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  heal(): void {
    this.weather = FAIR;
  }

  dispose(): void {
    for (const server of this.#servers) server.close();
    this.breakConnections();
  }

  #relay(from: Socket, port: number): void {
    const to = connect({ host: "127.0.0.1", port, noDelay: true });
    this.#carry(from, to);
    this.#carry(to, from);
  }

  #carry(from: Socket, to: Socket): void {
    this.#connections.add(from);
    from.setNoDelay(true);
    const line = new Line(() => this.#delay());
    from.on("data", (chunk) => line.send(() => to.write(chunk)));
    from.on("end", () => line.send(() => to.end()));
    from.on("error", () => to.destroy());
    from.on("close", () => {
      this.#connections.delete(from);
      line.send(() => to.destroy());
    });
  }

  #delay(): number {
    const { delayMs, jitterMs, stallShare, stallMs } = this.weather;
    return delayMs + Math.random() * jitterMs + (Math.random() < stallShare ? stallMs : 0);
  }
}

/**
 * One direction of a connection: everything comes out in the order it went in, each after a delay of its own or when what
 * went in before has come out. Timers alone keep no order: they count whole milliseconds.
 */
class Line {
  readonly #delay: () => number;
  readonly #underway: { readonly due: number; readonly arrive: () => void }[] = [];

  constructor(delay: () => number) {
    this.#delay = delay;
  }

  send(arrive: () => void): void {
    this.#underway.push({ due: performance.now() + this.#delay(), arrive });
    if (this.#underway.length === 1) this.#waitForFirst();
  }

  #waitForFirst(): void {
    const { due, arrive } = this.#underway[0]!;
    const arrives = (): void => {
      arrive();
      this.#underway.shift();
      if (this.#underway.length > 0) this.#waitForFirst();
    };
    setTimeout(arrives, Math.max(0, due - performance.now()));
  }
}
