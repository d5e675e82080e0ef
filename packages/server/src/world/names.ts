/** Names as this machine's resolver knows them. */
import { lookup, resolveSrv } from "node:dns/promises";
import type { NameService } from "../bootstrap/discovery-world.ts";

export const machineNames: NameService = {
  async services(name) {
    const records = await resolveSrv(name);
    return records
      .sort((a, b) => a.priority - b.priority || b.weight - a.weight)
      .map((record) => ({ target: record.name, port: record.port }));
  },
  async addresses(host) {
    const found = await lookup(host, { all: true, order: "ipv4first" });
    return found.map((each) => each.address);
  },
};
