/**
 * Members named by SRV records of a domain: `_etcd-server-ssl._tcp.DOMAIN` for those reached by TLS and
 * `_etcd-server._tcp.DOMAIN` for the others, both optional. A record that leads to our own advertised address is us;
 * the others get numbers for names, which nothing depends on, except that each service counts from 0 anew, so that the
 * first of both are taken for one member with two URLs. That is etcd's way, and ids follow from it.
 */
import type { Log } from "@quorate/world";
import { parseUrl, type ServiceUrl } from "../config/urls.ts";
import type { NameService } from "./discovery-world.ts";
import { preferred } from "./url-comparison.ts";

export interface DnsDiscoveryOptions {
  readonly domain: string;
  /** Suffix of the services' names; may be empty. */
  readonly serviceName: string;
  /** Our own. */
  readonly name: string;
  readonly advertisePeerUrls: readonly string[];
  readonly names: NameService;
  readonly log: Log;
}

export interface DnsDiscovery {
  /** `name=url` each. */
  readonly nodes: readonly string[];
  /** Why a service named nobody, in the order asked. */
  readonly problems: readonly string[];
}

export async function discoverByDns(options: DnsDiscoveryOptions): Promise<DnsDiscovery> {
  const nodes: string[] = [];
  const problems: string[] = [];
  const suffix = options.serviceName === "" ? "" : `-${options.serviceName}`;
  for (const [scheme, base] of [
    ["https", "etcd-server-ssl"],
    ["http", "etcd-server"],
  ] as const) {
    const service = base + suffix;
    const outcome = await nodesOf(service, scheme, options);
    const found = typeof outcome === "string" ? [] : outcome;
    nodes.push(...found);
    if (typeof outcome === "string") problems.push(outcome);
    options.log.info(`get cluster for ${base} SRV`, {
      "service-scheme": scheme,
      "service-name": service,
      "server-name": options.name,
      "discovery-srv": options.domain,
      "advertise-peer-urls": options.advertisePeerUrls,
      "found-cluster": found,
      ...(typeof outcome === "string" ? { error: outcome } : {}),
    });
  }
  return { nodes, problems };
}

/** The nodes of one service, or why there are none. */
async function nodesOf(
  service: string,
  scheme: "http" | "https",
  { domain, name, advertisePeerUrls, names }: DnsDiscoveryOptions,
): Promise<string[] | string> {
  const ours = new Map<string, ServiceUrl>();
  for (const text of advertisePeerUrls) {
    const url = parseUrl(text);
    try {
      ours.set(addressOf(preferred(await names.addresses(url.host)), url.port), url);
    } catch (error) {
      return (error as Error).message;
    }
  }
  const inQuery = (problem: string): string => `error querying DNS SRV records for _${service} ${problem}`;
  const nodes: string[] = [];
  let problem: string | null = null;
  try {
    let count = 0;
    for (const { target, port } of await names.services(`_${service}._tcp.${domain}`)) {
      const host = target.replace(/\.$/, "");
      let address: string;
      try {
        address = addressOf(preferred(await names.addresses(host)), port);
      } catch (error) {
        problem = (error as Error).message;
        continue;
      }
      const own = ours.get(address);
      // A record that is passed over below has used its number up all the same.
      const nodeName = own === undefined ? String(count++) : name;
      const url = `${scheme}://${addressOf(host, port)}`;
      if (own !== undefined && own.scheme !== scheme) {
        problem = `bootstrap at ${url} from DNS for ${service} has scheme mismatch with expected peer ${own.text}`;
      } else {
        nodes.push(`${nodeName}=${url}`);
      }
    }
  } catch (error) {
    return inQuery((error as Error).message);
  }
  return nodes.length === 0 && problem !== null ? inQuery(problem) : nodes;
}

function addressOf(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
