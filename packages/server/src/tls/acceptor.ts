/**
 * The server's end of TLS handshakes, for one listener: a socket whose first bytes are a handshake goes in, a TLS socket that
 * has been looked at comes out, or one log line says who was turned away and why (etcd's "rejected connection on ...").
 * Every TLS connection to a member comes through here.
 *
 * Sessions resume by tickets. All listeners of one {@link Credentials} share the key of the tickets, so that a client may
 * come back by another one; the key changes with the files (tls/credentials.ts).
 */
import type { Socket } from "node:net";
import type { TLSSocket, Server as TlsServer } from "node:tls";
import type { Clock, Log } from "@quorate/world";
import { remoteOf } from "../remote-address.ts";
import { type Credentials, causeOf, type LoadedFiles } from "./credentials.ts";
import { checkAccepted, type Resolver, subjectNames } from "./remote-check.ts";

export interface TlsAcceptorOptions {
  /** Whose port this is, for the log. */
  readonly endpoint: "client" | "peer";
  /** What may be spoken above TLS, in order of preference. Clients that do not negotiate may speak anything. */
  readonly protocols: readonly string[];
  readonly handshakeMs: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Default: the machine's. */
  readonly resolver?: Resolver;
}

interface Handshake {
  /** A socket that has been closed no longer knows it. */
  readonly remote: string;
  readonly accepted: (secure: TLSSocket) => void;
}

interface FilesServer {
  readonly files: LoadedFiles;
  readonly server: TlsServer;
}

export class TlsAcceptor {
  readonly #credentials: Credentials;
  readonly #options: TlsAcceptorOptions;
  readonly #handshakes: WeakMap<Socket, Handshake> = new WeakMap();
  /** Replaced when the files change; handshakes under way keep theirs. */
  #current: FilesServer | null = null;

  /** The credentials have a certificate to show. */
  constructor(credentials: Credentials, options: TlsAcceptorOptions) {
    this.#credentials = credentials;
    this.#options = options;
  }

  /** Takes over a paused socket. `accepted` is called with what has been let in; whatever else happens ends the socket. */
  accept(socket: Socket, accepted: (secure: TLSSocket) => void): void {
    const files = this.#credentials.current();
    if (this.#current?.files !== files) this.#current = { files, server: this.#serverOf(files) };
    this.#handshakes.set(socket, { remote: remoteOf({ socket }), accepted });
    this.#current.server.emit("connection", socket);
  }

  #serverOf(files: LoadedFiles): TlsServer {
    const { protocols, handshakeMs, clock } = this.#options;
    const resolver = this.#options.resolver ?? process.getBuiltinModule("node:dns/promises");
    const server = process.getBuiltinModule("node:tls").createServer({
      ...files.serverOptions,
      handshakeTimeout: handshakeMs,
      ALPNProtocols: [...protocols],
    });
    server.on("tlsClientError", (error: NodeJS.ErrnoException, secure: TLSSocket) => {
      // Whoever goes away without a word is a port scan or a health check, and none of the log's business.
      if (error.code === "ECONNRESET" && !("syscall" in error)) this.#reject(secure, "EOF", "debug");
      else this.#reject(secure, causeOf(error), "warn");
    });
    server.on("secureConnection", (secure: TLSSocket) => {
      secure.on("error", ignoreReset);
      const about = { config: this.#credentials.config, files, wallMs: clock.wallMs(), resolver };
      checkAccepted(secure, about, (refusal) => {
        if (refusal !== null) this.#reject(secure, refusal, "warn");
        else if (!secure.destroyed) this.#handshakeOf(secure)?.accepted(secure);
      });
    });
    return server;
  }

  #reject(secure: TLSSocket, error: string, level: "debug" | "warn"): void {
    const { endpoint, log } = this.#options;
    const leaf = secure.getPeerX509Certificate();
    const shown = leaf === undefined ? null : subjectNames(leaf);
    log[level](`rejected connection on ${endpoint} endpoint`, {
      "remote-addr": this.#handshakeOf(secure)?.remote ?? "",
      "server-name": secure.servername || "",
      ...(shown === null ? {} : { "ip-addresses": shown.addresses, "dns-names": shown.names }),
      error,
    });
    secure.destroy();
  }

  /** Node keeps the socket below a TLS socket in this property, and there is no other way from the one to the other. */
  #handshakeOf(secure: TLSSocket & { readonly _parent?: Socket }): Handshake | undefined {
    return secure._parent === undefined ? undefined : this.#handshakes.get(secure._parent);
  }
}

/** A client that vanishes is normal life; what it leaves behind is handled at "close". */
function ignoreReset(): void {}
