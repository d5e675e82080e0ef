import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, connect as connectTcp, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { type LogFields, silentLog } from "@quorate/world";
import { CertificateMaker, hasOpenssl, tlsConfigFrom } from "../testing/certificates.ts";
import { TlsAcceptor } from "./acceptor.ts";
import { commonNameOf } from "./common-name.ts";
import { Credentials } from "./credentials.ts";

describe("TLS connections", { skip: !hasOpenssl() }, () => {
  const made = new CertificateMaker(mkdtempSync(join(tmpdir(), "acceptor-")));
  const servers: Server[] = [];
  let nowMs = 0;
  let wallMs = Date.now();
  const clock = { monotonicMs: () => nowMs, wallMs: () => wallMs };
  const aSecondPasses = (): void => {
    nowMs += 1000;
  };

  before(() => {
    made.authority("ca");
    made.authority("other-ca");
    made.certificate("server", { names: "IP:127.0.0.1,DNS:localhost", usage: "serverAuth" });
    made.certificate("client", { serial: 0x21, names: "DNS:client.example", usage: "clientAuth" });
    made.certificate("expired", { serial: 0x22, isExpired: true });
    made.certificate("stranger", { serial: 0x23, authority: "other-ca" });
  });
  after(() => {
    for (const server of servers) server.close();
    rmSync(made.directory, { recursive: true, force: true });
  });

  interface Rejection {
    readonly level: "debug" | "warn";
    readonly fields: LogFields;
  }

  /** A listener that answers what it has accepted with the client's common name. */
  class Port {
    readonly port: number;
    readonly rejected: Rejection[];

    private constructor(port: number, rejected: Rejection[]) {
      this.port = port;
      this.rejected = rejected;
    }

    static async open(credentials: Credentials, handshakeMs = 5000): Promise<Port> {
      const rejected: Rejection[] = [];
      const note =
        (level: "debug" | "warn") =>
        (message: string, fields: LogFields = {}): void => {
          assert.equal(message, "rejected connection on client endpoint");
          rejected.push({ level, fields });
        };
      const log = { ...silentLog, debug: note("debug"), warn: note("warn") };
      const protocols = ["h2", "http/1.1"];
      const acceptor = new TlsAcceptor(credentials, { endpoint: "client", protocols, handshakeMs, clock, log });
      const server = createServer((socket) => {
        socket.on("error", () => {});
        acceptor.accept(socket, (secure) => {
          const leaf = secure.getPeerX509Certificate();
          secure.end(leaf === undefined ? "nobody" : commonNameOf(leaf.raw));
        });
      });
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return new Port((server.address() as AddressInfo).port, rejected);
    }

    async rejection(): Promise<Rejection> {
      for (let i = 0; i < 500 && this.rejected.length === 0; i++)
        await new Promise((resolve) => setTimeout(resolve, 2));
      assert.equal(this.rejected.length, 1, "exactly one connection was rejected");
      return this.rejected.pop()!;
    }
  }

  const credentialsOf = (...flags: readonly string[]): Credentials => {
    const files = [`--cert-file=${made.path("server")}`, `--key-file=${made.path("server", "key")}`];
    return new Credentials(tlsConfigFrom("client", ...files, ...flags), clock, silentLog);
  };
  const trusting = (name: string): string => `--trusted-ca-file=${made.path(name)}`;
  const shown = (name: string): ConnectionOptions => ({
    cert: readFileSync(made.path(name)),
    key: readFileSync(made.path(name, "key")),
  });

  interface Conversation {
    /** What the server said; null: it ended the connection. */
    readonly said: string | null;
    readonly isResumed: boolean;
    readonly alpn: string | false | null;
    /** The newest ticket. */
    readonly session: Buffer | undefined;
  }

  function converse({ port }: Port, options: ConnectionOptions = {}): Promise<Conversation> {
    return new Promise((resolve) => {
      let said = "";
      let session: Buffer | undefined;
      let [isResumed, alpn]: [boolean, string | false | null] = [false, null];
      const ca = readFileSync(made.path("ca"));
      const socket: TLSSocket = connect({ host: "127.0.0.1", port, ca, ...options }, () => {
        isResumed = socket.isSessionReused();
        alpn = socket.alpnProtocol;
      });
      socket.on("session", (ticket: Buffer) => {
        session = ticket;
      });
      socket.on("data", (chunk: Buffer) => {
        said += chunk.toString();
      });
      socket.on("error", () => {});
      socket.on("close", () => resolve({ said: said === "" ? null : said, isResumed, alpn, session }));
    });
  }

  test("who is let in and who is not, and for what", async () => {
    const port = await Port.open(credentialsOf(trusting("ca")));
    assert.equal((await converse(port, shown("client"))).said, "client");
    for (const [options, reason] of [
      [{}, /^tls: client didn't provide a certificate$/],
      [
        shown("expired"),
        /^tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current/,
      ],
      [shown("stranger"), /^tls: failed to verify certificate: x509: certificate signed by unknown authority$/],
      [shown("server"), /^tls: failed to verify certificate: x509: certificate specifies an incompatible key usage$/],
      [{ ...shown("client"), minVersion: "TLSv1.1", maxVersion: "TLSv1.1", ciphers: "ALL:@SECLEVEL=0" }, /protocol/],
      [{ ...shown("client"), maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" }, /no shared cipher/],
      [{ ...shown("client"), ALPNProtocols: ["nonsense"] }, /no application protocol/],
    ] as const) {
      assert.equal((await converse(port, options)).said, null);
      const { level, fields } = await port.rejection();
      assert.equal(level, "warn");
      assert.match(String(fields.error), reason);
      assert.match(String(fields["remote-addr"]), /^127\.0\.0\.1:\d+$/);
    }
    const named = await converse(port, { ...shown("stranger"), servername: "localhost" });
    assert.equal(named.said, null);
    const { fields } = await port.rejection();
    assert.deepEqual([fields["server-name"], fields["ip-addresses"], fields["dns-names"]], ["localhost", [], []]);
    assert.equal((await converse(await Port.open(credentialsOf()))).said, "nobody");
  });

  test("hosts that certificates have to be valid for, and names they have to have", async () => {
    const mine = await Port.open(
      credentialsOf(trusting("ca"), "--client-cert-allowed-hostname=a.example,client.example"),
    );
    assert.equal((await converse(mine, shown("client"))).said, "client");
    const other = await Port.open(credentialsOf(trusting("ca"), "--client-cert-allowed-hostname=other.example"));
    assert.equal((await converse(other, shown("client"))).said, null);
    const { fields } = await other.rejection();
    assert.equal(fields.error, "client certificate authentication failed");
    assert.deepEqual(fields["dns-names"], ["client.example"]);
  });

  test("versions and cipher suites are those of the flags", async () => {
    const only12 = await Port.open(
      credentialsOf("--tls-max-version=TLS1.2", "--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    );
    assert.equal((await converse(only12)).said, "nobody");
    assert.equal((await converse(only12, { minVersion: "TLSv1.3" })).said, null);
    assert.equal((await converse(only12, { ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" })).said, null);
    const only13 = await Port.open(credentialsOf("--tls-min-version=TLS1.3", "--tls-max-version=TLS1.3"));
    assert.equal((await converse(only13)).said, "nobody");
    assert.equal((await converse(only13, { maxVersion: "TLSv1.2" })).said, null);
  });

  test("protocols are negotiated where the client does, and left alone where it does not", async () => {
    const port = await Port.open(credentialsOf());
    assert.equal((await converse(port, { ALPNProtocols: ["h2"] })).alpn, "h2");
    assert.equal((await converse(port, { ALPNProtocols: ["http/1.1", "spdy"] })).alpn, "http/1.1");
    assert.equal((await converse(port)).alpn, false);
  });

  // covers: SA-24, H2-24
  test("who leaves or falls silent in the middle of a handshake is no news, and held no longer than its time", async () => {
    const port = await Port.open(credentialsOf(), 60);
    for (const [says, level, error] of [
      ["leaves", "debug", "EOF"],
      ["stays", "warn", "TLS handshake timeout"],
    ] as const) {
      const socket = connectTcp({ host: "127.0.0.1", port: port.port });
      const closed = new Promise((resolve) => socket.on("close", resolve));
      socket.on("error", () => {});
      socket.write(Buffer.from([0x16, 3, 1, 2, 0, 1]));
      if (says === "leaves") socket.end();
      const rejection = await port.rejection();
      assert.deepEqual([rejection.level, rejection.fields.error], [level, error]);
      await closed;
    }
  });

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    describe(`sessions of ${version}`, () => {
      const speaks = { ...{ minVersion: version, maxVersion: version } };

      test("are resumed, by another listener as well", async () => {
        const credentials = credentialsOf(trusting("ca"));
        const [one, two] = [await Port.open(credentials), await Port.open(credentials)];
        const first = await converse(one, { ...shown("client"), ...speaks });
        assert.deepEqual([first.said, first.isResumed], ["client", false]);
        for (const port of [one, two]) {
          const again = await converse(port, { ...shown("client"), ...speaks, session: first.session! });
          assert.deepEqual([again.said, again.isResumed], ["client", true]);
        }
      });

      test("are good for nothing once the revocation list or the authority has changed", async () => {
        const [list, authority] = [made.path("list", "pem"), made.path("authority")];
        made.revocationList([]);
        copyFileSync(made.path("crl", "pem"), list);
        copyFileSync(made.path("ca"), authority);
        const port = await Port.open(credentialsOf(trusting("authority"), `--client-crl-file=${list}`));
        const options = { ...shown("client"), ...speaks };
        const { session } = await converse(port, options);
        assert.equal((await converse(port, { ...options, session: session! })).isResumed, true);

        made.revocationList(["21"]);
        copyFileSync(made.path("crl", "pem"), list);
        aSecondPasses();
        const revoked = await converse(port, { ...options, session: session! });
        assert.deepEqual([revoked.said, revoked.isResumed], [null, false]);
        assert.match(String((await port.rejection()).fields.error), /^transport: certificate serial 21 revoked$/);

        made.revocationList([]);
        copyFileSync(made.path("crl", "pem"), list);
        aSecondPasses();
        const { session: fresh } = await converse(port, options);
        copyFileSync(made.path("other-ca"), authority);
        aSecondPasses();
        const untrusted = await converse(port, { ...options, session: fresh! });
        assert.deepEqual([untrusted.said, untrusted.isResumed], [null, false]);
        assert.match(String((await port.rejection()).fields.error), /signed by unknown authority$/);
      });

      test("end with the certificate they began with", async () => {
        const port = await Port.open(credentialsOf(trusting("ca")));
        const options = { ...shown("client"), ...speaks };
        const { session } = await converse(port, options);
        wallMs = Date.UTC(2050, 1, 1);
        const late = await converse(port, { ...options, session: session! });
        wallMs = Date.now();
        assert.deepEqual([late.said, late.isResumed], [null, true]);
        assert.match(String((await port.rejection()).fields.error), /has expired/);
      });

      test("begun without a certificate do not stand for one", async () => {
        // Two ports that share everything but what they ask for, as no two of a member do.
        const asks = credentialsOf(trusting("ca"));
        const { serverOptions } = asks.current();
        const asksNothing = credentialsOf();
        Object.assign(asksNothing.current().serverOptions!, { ticketKeys: serverOptions!.ticketKeys });
        const { session } = await converse(await Port.open(asksNothing), speaks);
        const port = await Port.open(asks);
        const { said } = await converse(port, { ...speaks, session: session! });
        assert.equal(said, null);
        assert.match(String((await port.rejection()).fields.error), /^tls: client didn't provide a certificate$/);
      });
    });
  }
});
