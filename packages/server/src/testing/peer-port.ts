/** Single requests at a peer port, for tests: what is sent and answered as it is, nothing added by an agent. */
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from "node:http";

export interface PortAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface PortRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Uint8Array | string;
}

/** Rejects if the connection ends without an answer; one that is cut off inside the body (etcd does that) is an answer. */
export function askPort(port: number, { method = "GET", path, headers = {}, body }: PortRequest): Promise<PortAnswer> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
    const asked = request({ host: "127.0.0.1", port, method, path, headers: { ...headers, ...length }, agent: false });
    asked.on("error", reject);
    asked.on("response", (response) => {
      const chunks: Buffer[] = [];
      const answered = (): void =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks).toString("latin1"),
        });
      response.on("error", answered);
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", answered);
    });
    asked.end(body);
  });
}

/** The headers members send each other. */
export function peerHeaders(clusterId: bigint, extra: OutgoingHttpHeaders = {}): OutgoingHttpHeaders {
  return {
    "x-server-version": "3.7.1",
    "x-min-cluster-version": "3.0.0",
    "x-etcd-cluster-id": clusterId.toString(16),
    ...extra,
  };
}
