/**
 * The address by which this machine is reached from elsewhere, as far as its routing table tells: that of the interface
 * with the default route. A member that listens on every address and was not told what to advertise advertises this one.
 * Only Linux keeps the table where we look; elsewhere there is no such address, as with etcd.
 */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";

/** An IPv4 address; null if there is no default route or the interface has none. */
export function defaultHost(): string | null {
  let table: string;
  try {
    table = readFileSync("/proc/net/route", "utf8");
  } catch {
    return null;
  }
  const name = defaultInterface(table);
  if (name === null) return null;
  return networkInterfaces()[name]?.find((each) => each.family === "IPv4")?.address ?? null;
}

/** `table` is /proc/net/route: a heading, then rows of "interface destination gateway flags …", addresses in hex. */
export function defaultInterface(table: string): string | null {
  for (const row of table.split("\n").slice(1)) {
    const [name, destination, , , , , , mask] = row.trim().split(/\s+/);
    if (name !== undefined && destination === "00000000" && mask === "00000000") return name;
  }
  return null;
}
