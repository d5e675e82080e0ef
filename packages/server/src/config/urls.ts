/**
 * Listen and advertise URLs, under etcd's rules and with its texts: http and https need `host:port` and no path; unix
 * and unixs name a socket path; a URL to listen on needs an IP address or "localhost".
 */
export interface ServiceUrl {
  /** As given, which is what ids are hashed from and what other members are told. */
  readonly text: string;
  readonly scheme: "http" | "https" | "unix" | "unixs";
  /** http, https: the host without brackets, may be empty (all addresses). */
  readonly host: string;
  readonly port: number;
  /** unix, unixs: where the socket file is. */
  readonly path: string;
}

/** Parsed, each once, and sorted by text, as etcd does; throws Error with etcd's text. An empty string is an empty list. */
export function parseUrls(text: string): ServiceUrl[] {
  if (text.trim() === "") return [];
  const urls = new Map(
    text
      .split(",")
      .map((each) => parseUrl(each.trim()))
      .map((url) => [url.text, url]),
  );
  return [...urls.values()].sort((a, b) => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0));
}

export function urlListProblem(text: string): string | null {
  try {
    parseUrls(text);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Why etcd would refuse to listen there; null if it would not. */
export function listenProblem(url: ServiceUrl): string | null {
  if (url.scheme === "unix" || url.scheme === "unixs") return null;
  if (url.host === "localhost" || url.host === "") return null;
  return /^\d+\.\d+\.\d+\.\d+$/.test(url.host) || url.host.includes(":")
    ? null
    : `expected IP in URL for binding (${url.text})`;
}

/** Why etcd would refuse to tell others that URL; null if it would not. */
export function advertiseProblem(url: ServiceUrl): string | null {
  if (url.scheme === "unix" || url.scheme === "unixs") return null;
  return url.host === "" ? `unexpected empty host (${url.text})` : null;
}

export function isTls(url: ServiceUrl): boolean {
  return url.scheme === "https" || url.scheme === "unixs";
}

/** One URL, without blanks around it; throws Error with etcd's text. */
export function parseUrl(given: string): ServiceUrl {
  // The scheme is written in lower case before anything is compared or hashed, as Go does.
  const text = given.replace(/^[a-zA-Z][a-zA-Z0-9+.-]*:/, (scheme) => scheme.toLowerCase());
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)/.exec(text);
  const scheme = match?.[1];
  if (scheme !== "http" && scheme !== "https" && scheme !== "unix" && scheme !== "unixs") {
    throw new Error(`URL scheme must be http, https, unix, or unixs: ${text}`);
  }
  const authority = match![2]!;
  const path = match![3]!;
  if (scheme === "unix" || scheme === "unixs") {
    return { text, scheme, host: "", port: 0, path: authority + path };
  }
  const hostPort = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(authority);
  const port = Number(hostPort?.[3]);
  if (hostPort === null || port > 65535) throw new Error(`URL address does not have the form "host:port": ${text}`);
  if (path !== "") throw new Error(`URL must not contain a path: ${text}`);
  return { text, scheme, host: hostPort[1] ?? hostPort[2] ?? "", port, path: "" };
}
