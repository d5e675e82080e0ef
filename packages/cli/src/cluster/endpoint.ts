/**
 * One address of a cluster as a client asks it: where it is, how to get there, and a call with a limit of time. Made by
 * `cluster status` for every address it is given or learns of.
 */
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { AuthenticateRequest, AuthenticateResponse, type Init, type MessageType } from "@quorate/api/messages";
import { type Metadata, RpcClient } from "@quorate/rpc";
import type { Clock, Timers } from "@quorate/world";

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
}

export interface Credentials {
  /** PEM. Undefined: the authorities that Node trusts. */
  readonly authority: Buffer | undefined;
  readonly certificate: Buffer | undefined;
  readonly key: Buffer | undefined;
  readonly checksServer: boolean;
  readonly user: { readonly name: string; readonly password: string } | undefined;
}

/** The text names no address that a client could connect to. */
export class BadAddress extends Error {
  readonly kind = "BadAddress";
}

const DEFAULT_PORT = 2379;

/** `host:port`, `http://host:port` or `https://host:port`. Without a scheme `isTls` decides. Throws {@link BadAddress}. */
export function parseAddress(text: string, isTls: boolean): Address {
  let url: URL;
  try {
    url = new URL(text.includes("://") ? text : `${isTls ? "https" : "http"}://${text}`);
  } catch (error) {
    throw new BadAddress(`${JSON.stringify(text)} is no endpoint; one is host:port, http://... or https://...`, {
      cause: error,
    });
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new BadAddress(`${JSON.stringify(text)}: only http and https endpoints can be asked`);
  }
  const hasTls = url.protocol === "https:";
  // URL leaves out the port that its scheme implies.
  const isImplied = url.port === "" && text.endsWith(hasTls ? ":443" : ":80");
  const port = url.port !== "" ? Number(url.port) : isImplied ? (hasTls ? 443 : 80) : DEFAULT_PORT;
  return { host: url.hostname.replace(/^\[(.*)\]$/, "$1"), port, isTls: hasTls };
}

/** As etcdctl prints and takes it. */
export function addressText({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

const clock: Clock = { monotonicMs: () => performance.now(), wallMs: () => Date.now() };
const timers: Timers = {
  after(delayMs, fire) {
    const handle = setTimeout(fire, delayMs);
    return { cancel: () => clearTimeout(handle) };
  },
  nextTurn: (run) => void setImmediate(run),
};

export class Endpoint {
  readonly text: string;
  readonly #client: RpcClient;
  readonly #user: Credentials["user"];
  readonly #limitMs: number;
  #session: Promise<Metadata> | null;
  #connectProblem: string | null = null;

  /**
   * Connects with the first call. `limitMs`: how long each call may take, connecting included. `session`: of another
   * endpoint of the same cluster, where a token is good as well; a learner makes none of its own.
   */
  constructor(address: Address, credentials: Credentials, limitMs: number, session: Promise<Metadata> | null = null) {
    this.#session = session;
    this.text = addressText(address);
    this.#user = credentials.user;
    this.#limitMs = limitMs;
    const { host, port, isTls } = address;
    this.#client = new RpcClient({
      connect: () => {
        const socket = isTls
          ? connectTls({
              host,
              port,
              ALPNProtocols: ["h2"],
              rejectUnauthorized: credentials.checksServer,
              ...(credentials.authority === undefined ? {} : { ca: credentials.authority }),
              ...(credentials.certificate === undefined ? {} : { cert: credentials.certificate }),
              ...(credentials.key === undefined ? {} : { key: credentials.key }),
            })
          : connect({ host, port, noDelay: true });
        socket.on("error", (error) => {
          this.#connectProblem = error.message === "" ? ((error as NodeJS.ErrnoException).code ?? null) : error.message;
        });
        return socket;
      },
      authority: this.text,
      scheme: isTls ? "https" : "http",
      clock,
      timers,
    });
  }

  /** Rejects with an Error whose message a person understands. */
  async call<Request extends object, Response extends object>(
    path: string,
    requestType: MessageType<Request>,
    responseType: MessageType<Response>,
    request: Init<Request>,
  ): Promise<Response> {
    const metadata = await this.session();
    return this.#call(path, requestType, responseType, request, metadata);
  }

  close(): void {
    this.#client.close();
  }

  /** What goes with every call: the user's token, made with the first one. Rejects as {@link call} does. */
  session(): Promise<Metadata> {
    const { name, password } = this.#user ?? { name: "", password: "" };
    this.#session ??=
      this.#user === undefined
        ? Promise.resolve([])
        : this.#call(
            "/etcdserverpb.Auth/Authenticate",
            AuthenticateRequest,
            AuthenticateResponse,
            { name, password },
            [],
          ).then(({ token }): Metadata => [["token", token]]);
    return this.#session;
  }

  #call<Request extends object, Response extends object>(
    path: string,
    requestType: MessageType<Request>,
    responseType: MessageType<Response>,
    request: Init<Request>,
    metadata: Metadata,
  ): Promise<Response> {
    const deadlineMs = clock.monotonicMs() + this.#limitMs;
    return new Promise((resolve, reject) => {
      this.#client.unary(path, requestType.encode(request), { deadlineMs, metadata }, (error, response) => {
        if (error !== null) {
          const isLate = error.message === "context deadline exceeded";
          const text = isLate ? `no answer within ${this.#limitMs / 1000} s` : (this.#connectProblem ?? error.message);
          reject(new Error(text, { cause: error }));
          return;
        }
        try {
          resolve(responseType.decode(response!, 0, response!.length));
        } catch (problem) {
          reject(new Error(`an answer that cannot be read: ${(problem as Error).message}`, { cause: problem }));
        }
      });
    });
  }
}
