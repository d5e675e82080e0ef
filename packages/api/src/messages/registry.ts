/** Message tables by name, for the gateway, which learns the messages of a call from methods.ts. */

import * as auth from "./auth.ts";
import * as cluster from "./cluster.ts";
import * as election from "./election.ts";
import * as health from "./health.ts";
import * as internal from "./internal.ts";
import * as kv from "./kv.ts";
import * as lease from "./lease.ts";
import * as lock from "./lock.ts";
import * as maintenance from "./maintenance.ts";
import { MessageType } from "./message-type.ts";
import * as responseHeader from "./response-header.ts";
import * as watch from "./watch.ts";

const files = [
  responseHeader,
  kv,
  watch,
  lease,
  cluster,
  maintenance,
  auth,
  internal,
  lock,
  election,
  health,
] as readonly Readonly<Record<string, unknown>>[];

/** Every message by full name, as "etcdserverpb.PutRequest". */
export const messageTypes: ReadonlyMap<string, MessageType<object>> = new Map(
  files
    .flatMap((file) => Object.values(file))
    .filter((value): value is MessageType<object> => value instanceof MessageType)
    .map((type) => [type.name, type]),
);
