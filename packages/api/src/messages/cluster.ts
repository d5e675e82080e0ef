/**
 * The messages of the Cluster service.
 * What the fields mean: proto/.
 */

import { bool, embedded, message, repeated, string, uid } from "./fields.ts";
import type { MessageType } from "./message-type.ts";
import { ResponseHeader } from "./response-header.ts";

export interface Member {
  readonly ID: bigint;
  readonly name: string;
  readonly peerURLs: readonly string[];
  readonly clientURLs: readonly string[];
  readonly isLearner: boolean;
}
export const Member: MessageType<Member> = message<Member>("etcdserverpb.Member", {
  ID: uid(1),
  name: string(2),
  peerURLs: repeated(string(3)),
  clientURLs: repeated(string(4)),
  isLearner: bool(5),
});

export interface MemberAddRequest {
  readonly peerURLs: readonly string[];
  readonly isLearner: boolean;
}
export const MemberAddRequest: MessageType<MemberAddRequest> = message<MemberAddRequest>(
  "etcdserverpb.MemberAddRequest",
  {
    peerURLs: repeated(string(1)),
    isLearner: bool(2),
  },
);

export interface MemberAddResponse {
  readonly header: ResponseHeader | undefined;
  readonly member: Member | undefined;
  readonly members: readonly Member[];
}
export const MemberAddResponse: MessageType<MemberAddResponse> = message<MemberAddResponse>(
  "etcdserverpb.MemberAddResponse",
  {
    header: embedded(1, () => ResponseHeader),
    member: embedded(2, () => Member),
    members: repeated(embedded(3, () => Member)),
  },
);

export interface MemberRemoveRequest {
  readonly ID: bigint;
}
export const MemberRemoveRequest: MessageType<MemberRemoveRequest> = message<MemberRemoveRequest>(
  "etcdserverpb.MemberRemoveRequest",
  {
    ID: uid(1),
  },
);

export interface MemberRemoveResponse {
  readonly header: ResponseHeader | undefined;
  readonly members: readonly Member[];
}
export const MemberRemoveResponse: MessageType<MemberRemoveResponse> = message<MemberRemoveResponse>(
  "etcdserverpb.MemberRemoveResponse",
  {
    header: embedded(1, () => ResponseHeader),
    members: repeated(embedded(2, () => Member)),
  },
);

export interface MemberUpdateRequest {
  readonly ID: bigint;
  readonly peerURLs: readonly string[];
}
export const MemberUpdateRequest: MessageType<MemberUpdateRequest> = message<MemberUpdateRequest>(
  "etcdserverpb.MemberUpdateRequest",
  {
    ID: uid(1),
    peerURLs: repeated(string(2)),
  },
);

export interface MemberUpdateResponse {
  readonly header: ResponseHeader | undefined;
  readonly members: readonly Member[];
}
export const MemberUpdateResponse: MessageType<MemberUpdateResponse> = message<MemberUpdateResponse>(
  "etcdserverpb.MemberUpdateResponse",
  {
    header: embedded(1, () => ResponseHeader),
    members: repeated(embedded(2, () => Member)),
  },
);

export interface MemberListRequest {
  readonly linearizable: boolean;
}
export const MemberListRequest: MessageType<MemberListRequest> = message<MemberListRequest>(
  "etcdserverpb.MemberListRequest",
  {
    linearizable: bool(1),
  },
);

export interface MemberListResponse {
  readonly header: ResponseHeader | undefined;
  readonly members: readonly Member[];
}
export const MemberListResponse: MessageType<MemberListResponse> = message<MemberListResponse>(
  "etcdserverpb.MemberListResponse",
  {
    header: embedded(1, () => ResponseHeader),
    members: repeated(embedded(2, () => Member)),
  },
);

export interface MemberPromoteRequest {
  readonly ID: bigint;
}
export const MemberPromoteRequest: MessageType<MemberPromoteRequest> = message<MemberPromoteRequest>(
  "etcdserverpb.MemberPromoteRequest",
  {
    ID: uid(1),
  },
);

export interface MemberPromoteResponse {
  readonly header: ResponseHeader | undefined;
  readonly members: readonly Member[];
}
export const MemberPromoteResponse: MessageType<MemberPromoteResponse> = message<MemberPromoteResponse>(
  "etcdserverpb.MemberPromoteResponse",
  {
    header: embedded(1, () => ResponseHeader),
    members: repeated(embedded(2, () => Member)),
  },
);
