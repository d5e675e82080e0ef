/**
 * The messages of gRPC's standard health service.
 * What the fields mean: proto/.
 */

import { ServingStatus } from "../enums.ts";
import { embedded, entry, enumeration, message, type NoFields, repeated, string } from "./fields.ts";
import type { MessageType } from "./message-type.ts";

export interface HealthCheckRequest {
  readonly service: string;
}
export const HealthCheckRequest: MessageType<HealthCheckRequest> = message<HealthCheckRequest>(
  "grpc.health.v1.HealthCheckRequest",
  {
    service: string(1),
  },
);

export interface HealthCheckResponse {
  /** ServingStatus. */
  readonly status: number;
}
export const HealthCheckResponse: MessageType<HealthCheckResponse> = message<HealthCheckResponse>(
  "grpc.health.v1.HealthCheckResponse",
  {
    status: enumeration(1, ServingStatus),
  },
);

export type HealthListRequest = NoFields;
export const HealthListRequest: MessageType<HealthListRequest> = message<HealthListRequest>(
  "grpc.health.v1.HealthListRequest",
  {},
);

export interface HealthListEntry {
  readonly key: string;
  readonly value: HealthCheckResponse | undefined;
}
export const HealthListEntry: MessageType<HealthListEntry> = message<HealthListEntry>(
  "grpc.health.v1.HealthListResponse.StatusesEntry",
  {
    key: entry(string(1)),
    value: entry(embedded(2, () => HealthCheckResponse)),
  },
);

export interface HealthListResponse {
  readonly statuses: readonly HealthListEntry[];
}
export const HealthListResponse: MessageType<HealthListResponse> = message<HealthListResponse>(
  "grpc.health.v1.HealthListResponse",
  {
    statuses: repeated(embedded(1, () => HealthListEntry)),
  },
);
