/**
 * v3electionpb.Election: the leader is the session whose key is the oldest under the election's name, and the key's value
 * is what it proclaims (semantics §8).
 *
 * A leader that has not noticed its end acts on all the same: see the note in lock.ts.
 */

import { errors } from "@quorate/api";
import {
  CampaignRequest,
  CampaignResponse,
  LeaderRequest,
  LeaderResponse,
  ProclaimRequest,
  ProclaimResponse,
  ResignRequest,
  ResignResponse,
  type ResponseHeader,
} from "@quorate/api/messages";
import type { Method, ServerCall } from "@quorate/rpc";
import { failStreamThrown, failWith } from "../answer.ts";
import { failOuter, type LocalFailure, type LocalMethods } from "./local-call.ts";
import { Observation } from "./observation.ts";
import { firstUnder, isCreatedAt, RANGE, TXN } from "./owner-keys.ts";
import { QueueWait } from "./queue-wait.ts";
import { openSession } from "./session.ts";
import { answer, unary } from "./simple.ts";

export function electionMethods(methods: LocalMethods): [string, Method][] {
  return [
    unary("/v3electionpb.Election/Campaign", CampaignRequest, (call, request) => campaign(methods, call, request)),
    unary("/v3electionpb.Election/Proclaim", ProclaimRequest, (call, { leader, value }) => {
      if (leader === undefined) return failWith(call, "LeaderFieldMissing");
      openSession(methods, call, leader.lease, (failure, lease) => {
        if (failure !== null) return failOuter(call, failure);
        proclaim(methods, call, leader.key, leader.rev, lease, value, (refused, header) => {
          if (refused !== null) failOuter(call, refused);
          else answer(call, ProclaimResponse, { header: header! });
        });
      });
    }),
    unary("/v3electionpb.Election/Leader", LeaderRequest, (call, { name }) => {
      methods.unary(call, RANGE, firstUnder(name), (failure, found) => {
        const kv = found?.kvs[0];
        if (failure !== null) failOuter(call, failure);
        else if (kv === undefined) failWith(call, "ElectionNoLeader");
        else answer(call, LeaderResponse, { header: found!.header, kv });
      });
    }),
    [
      "/v3electionpb.Election/Observe",
      {
        kind: "serverStream",
        handle(call, buffer, start, end) {
          try {
            const { name } = LeaderRequest.decode(buffer, start, end);
            new Observation(methods, call, name).begin();
          } catch (error) {
            failStreamThrown(call, error);
          }
        },
      },
    ],
    // Without a lease etcd grants one here too, which would be of no use.
    unary("/v3electionpb.Election/Resign", ResignRequest, (call, { leader }) => {
      if (leader === undefined) return failWith(call, "LeaderFieldMissing");
      const { key, rev } = leader;
      const request = { compare: [isCreatedAt(key, rev)], success: [{ requestDeleteRange: { key } }] };
      methods.unary(call, TXN, request, (failure, response) => {
        if (failure !== null) failOuter(call, failure);
        else answer(call, ResignResponse, { header: response!.header });
      });
    }),
  ];
}

/** A session that was there already with another value has it proclaimed before it waits. */
function campaign(methods: LocalMethods, call: ServerCall, { name, lease, value }: CampaignRequest): void {
  new QueueWait(
    methods,
    call,
    { name, lease, value, expired: "ElectionNotLeader" },
    {
      wasThere: (place, kv, goOn) => {
        if (Buffer.compare(kv.value, value) === 0) goOn(null);
        else proclaim(methods, call, place.key, place.createRevision, place.lease, value, goOn);
      },
      reached: ({ key, createRevision: rev, lease, header }) =>
        answer(call, CampaignResponse, { header, leader: { name, key, rev, lease } }),
    },
  ).begin();
}

function proclaim(
  methods: LocalMethods,
  call: ServerCall,
  key: Uint8Array,
  createRevision: number,
  lease: bigint,
  value: Uint8Array,
  done: (failure: LocalFailure | null, header?: ResponseHeader) => void,
): void {
  const request = { compare: [isCreatedAt(key, createRevision)], success: [{ requestPut: { key, value, lease } }] };
  methods.unary(call, TXN, request, (failure, response) => {
    if (failure !== null) done(failure);
    else if (!response!.succeeded) done(errors.ElectionNotLeader);
    else done(null, response!.header);
  });
}
