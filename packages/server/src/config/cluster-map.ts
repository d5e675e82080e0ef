/**
 * The members of a cluster by name, as --initial-cluster writes them and v3 discovery stores them:
 * `name=url,name=url2,other=url`. A name that is repeated has several URLs; that is how they are grouped into members.
 */
import { parseUrl } from "./urls.ts";

export interface ClusterMember {
  readonly name: string;
  /** Sorted. */
  readonly peerUrls: readonly string[];
}

/** In order of first mention. Throws Error with etcd's text for what is not a URL. An empty text is an empty cluster. */
export function parseClusterMap(text: string): ClusterMember[] {
  const members = new Map<string, string[]>();
  for (const pair of text.split(",")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = equals < 0 ? pair : pair.slice(0, equals);
    const url = parseUrl(equals < 0 ? "" : pair.slice(equals + 1).trim()).text;
    const urls = members.get(name);
    if (urls === undefined) members.set(name, [url]);
    else urls.push(url);
  }
  return [...members].map(([name, urls]) => ({ name, peerUrls: urls.sort() }));
}

/** Sorted, as etcd shows a cluster in messages and stores it for discovery. */
export function formatClusterMap(cluster: readonly ClusterMember[]): string {
  return cluster
    .flatMap(({ name, peerUrls }) => peerUrls.map((url) => `${name}=${url}`))
    .sort()
    .join(",");
}

export function hasDuplicateUrl(cluster: readonly ClusterMember[]): boolean {
  const urls = cluster.flatMap((each) => each.peerUrls);
  return new Set(urls).size < urls.length;
}
