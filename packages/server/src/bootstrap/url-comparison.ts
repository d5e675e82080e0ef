/**
 * Whether two lists of URLs lead to the same places: compared as they are written, and only if that fails by the
 * addresses of their hosts, because one side may name what the other side counts. All comparisons of one start share one
 * time limit, as resolvers of clusters that are just being made need a few tries.
 */
import { isIP, isIPv6 } from "node:net";
import type { Clock, Log, Timers } from "@quorate/world";
import { parseUrl } from "../config/urls.ts";
import { type NameService, sleep } from "./discovery-world.ts";

export interface UrlComparisonOptions {
  readonly names: NameService;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

const LIMIT_MS = 30_000;
const RETRY_MS = 1_000;

export class UrlComparison {
  readonly #options: UrlComparisonOptions;
  readonly #endMs: number;

  /** The time limit begins here. */
  constructor(options: UrlComparisonOptions) {
    this.#options = options;
    this.#endMs = options.clock.monotonicMs() + LIMIT_MS;
  }

  /** Null if they are the same, in whatever order; else why not, in etcd's words. */
  async difference(a: readonly string[], b: readonly string[]): Promise<string | null> {
    if (a.length !== b.length) return `len(${quoted(a)}) != len(${quoted(b)})`;
    if (isWrittenTheSame(a, b)) return null;
    const resolved: string[][] = [];
    for (const urls of [a, b]) {
      const into: string[] = [];
      for (const url of urls) {
        const outcome = await this.#resolve(url);
        if (outcome instanceof Error) return outcome.message;
        into.push(outcome);
      }
      resolved.push(into.sort());
    }
    const [left, right] = resolved as [string[], string[]];
    const at = left.findIndex((url, i) => url !== right[i]);
    return at < 0 ? null : `resolved urls: ${JSON.stringify(left[at])} != ${JSON.stringify(right[at])}`;
  }

  /** The URL with an address for its host; "localhost" and sockets stay as they are. */
  async #resolve(text: string): Promise<string | Error> {
    const url = parsed(text);
    if (url === null) return new Error(`failed to parse string to URL: ${JSON.stringify(text)}`);
    if (url.path !== "" || url.host === "localhost") return text;
    if (isIP(url.host) !== 0) return normalized(text);
    for (;;) {
      const outcome = await this.#lookUp(url.host);
      if (!(outcome instanceof Error)) {
        const address = `${isIPv6(outcome) ? `[${outcome}]` : outcome}:${url.port}`;
        this.#options.log.info("resolved URL Host", { url: text, host: url.host, "resolved-addr": address });
        return normalized(`${url.scheme}://${address}`);
      }
      this.#options.log.warn("failed to resolve URL Host", { url: text, host: url.host, error: outcome });
      if (this.#leftMs() <= RETRY_MS) {
        return new Error(`failed to resolve ${JSON.stringify(text)} (${outcome.message})`, { cause: outcome });
      }
      await sleep(this.#options.timers, RETRY_MS);
    }
  }

  async #lookUp(host: string): Promise<string | Error> {
    const { names, timers } = this.#options;
    let stop = (): void => {};
    const late = new Promise<Error>((resolve) => {
      const timer = timers.after(Math.max(0, this.#leftMs()), () => resolve(new Error("context deadline exceeded")));
      stop = () => timer.cancel();
    });
    try {
      return await Promise.race([names.addresses(host).then(preferred), late]);
    } catch (error) {
      return error as Error;
    } finally {
      stop();
    }
  }

  #leftMs(): number {
    return this.#endMs - this.#options.clock.monotonicMs();
  }
}

/** Without asking anybody. */
export function isWrittenTheSame(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false;
  const left = a.map(normalized).sort();
  const right = b.map(normalized).sort();
  return left.every((url, at) => url === right[at]);
}

/** Of several addresses all members have to pick the same: the first of version 4, as Go does, else the first. */
export function preferred(addresses: readonly string[]): string {
  return addresses.find((each) => isIP(each) === 4) ?? addresses[0]!;
}

/** An IPv6 address can be written in many ways; everything else stays as it is. */
function normalized(text: string): string {
  const url = parsed(text);
  if (url === null || !isIPv6(url.host) || url.host.includes("%")) return text;
  return `${url.scheme}://${new URL(`http://[${url.host}]/`).hostname}:${url.port}`;
}

function parsed(text: string): ReturnType<typeof parseUrl> | null {
  try {
    return parseUrl(text);
  } catch {
    return null;
  }
}

/** As Go shows a list of strings. */
function quoted(urls: readonly string[]): string {
  return `[${urls.map((url) => JSON.stringify(url)).join(" ")}]`;
}
