/**
 * grpc.health.v1.Health: the one service name "" is SERVING from the moment anybody can ask. A watch of it says so once
 * and stays open; a watch of an unknown name says SERVICE_UNKNOWN, as the protocol has it.
 */
import { ServingStatus } from "@quorate/api";
import { HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse } from "@quorate/api/messages";
import type { Method } from "@quorate/rpc";
import { answerWriter, failStreamThrown, failWith, sendWith } from "../answer.ts";
import { answer, unary } from "./simple.ts";

export function healthMethods(): [string, Method][] {
  return [
    unary("/grpc.health.v1.Health/Check", HealthCheckRequest, (call, { service }) => {
      if (service === "") answer(call, HealthCheckResponse, { status: ServingStatus.SERVING });
      else failWith(call, "UnknownService");
    }),
    unary("/grpc.health.v1.Health/List", HealthListRequest, (call) => {
      answer(call, HealthListResponse, { statuses: [{ key: "", value: { status: ServingStatus.SERVING } }] });
    }),
    [
      "/grpc.health.v1.Health/Watch",
      {
        kind: "serverStream",
        handle(call, buffer, start, end) {
          try {
            const { service } = HealthCheckRequest.decode(buffer, start, end);
            const status = service === "" ? ServingStatus.SERVING : ServingStatus.SERVICE_UNKNOWN;
            answerWriter.reset();
            HealthCheckResponse.write(answerWriter, { status });
            sendWith(call, answerWriter);
          } catch (error) {
            failStreamThrown(call, error);
          }
        },
      },
    ],
  ];
}
