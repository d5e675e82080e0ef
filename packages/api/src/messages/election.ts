/**
 * The messages of the Election service.
 * What the fields mean: proto/.
 */

import { bound, bytes, embedded, id, message } from "./fields.ts";
import { KeyValue } from "./kv.ts";
import type { MessageType } from "./message-type.ts";
import { ResponseHeader } from "./response-header.ts";

export interface CampaignRequest {
  readonly name: Uint8Array;
  readonly lease: bigint;
  readonly value: Uint8Array;
}
export const CampaignRequest: MessageType<CampaignRequest> = message<CampaignRequest>("v3electionpb.CampaignRequest", {
  name: bytes(1),
  lease: id(2),
  value: bytes(3),
});

export interface CampaignResponse {
  readonly header: ResponseHeader | undefined;
  readonly leader: LeaderKey | undefined;
}
export const CampaignResponse: MessageType<CampaignResponse> = message<CampaignResponse>(
  "v3electionpb.CampaignResponse",
  {
    header: embedded(1, () => ResponseHeader),
    leader: embedded(2, () => LeaderKey),
  },
);

export interface LeaderKey {
  readonly name: Uint8Array;
  readonly key: Uint8Array;
  readonly rev: number;
  readonly lease: bigint;
}
export const LeaderKey: MessageType<LeaderKey> = message<LeaderKey>("v3electionpb.LeaderKey", {
  name: bytes(1),
  key: bytes(2),
  rev: bound(3),
  lease: id(4),
});

export interface LeaderRequest {
  readonly name: Uint8Array;
}
export const LeaderRequest: MessageType<LeaderRequest> = message<LeaderRequest>("v3electionpb.LeaderRequest", {
  name: bytes(1),
});

export interface LeaderResponse {
  readonly header: ResponseHeader | undefined;
  readonly kv: KeyValue | undefined;
}
export const LeaderResponse: MessageType<LeaderResponse> = message<LeaderResponse>("v3electionpb.LeaderResponse", {
  header: embedded(1, () => ResponseHeader),
  kv: embedded(2, () => KeyValue),
});

export interface ResignRequest {
  readonly leader: LeaderKey | undefined;
}
export const ResignRequest: MessageType<ResignRequest> = message<ResignRequest>("v3electionpb.ResignRequest", {
  leader: embedded(1, () => LeaderKey),
});

export interface ResignResponse {
  readonly header: ResponseHeader | undefined;
}
export const ResignResponse: MessageType<ResignResponse> = message<ResignResponse>("v3electionpb.ResignResponse", {
  header: embedded(1, () => ResponseHeader),
});

export interface ProclaimRequest {
  readonly leader: LeaderKey | undefined;
  readonly value: Uint8Array;
}
export const ProclaimRequest: MessageType<ProclaimRequest> = message<ProclaimRequest>("v3electionpb.ProclaimRequest", {
  leader: embedded(1, () => LeaderKey),
  value: bytes(2),
});

export interface ProclaimResponse {
  readonly header: ResponseHeader | undefined;
}
export const ProclaimResponse: MessageType<ProclaimResponse> = message<ProclaimResponse>(
  "v3electionpb.ProclaimResponse",
  {
    header: embedded(1, () => ResponseHeader),
  },
);
