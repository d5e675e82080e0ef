/** One request, to be sent to both servers. */
import type { Init, MessageType } from "@quorate/api/messages";
import { show } from "./show.ts";

export type CallKind = "unary" | "serverStream";

export interface Operation {
  readonly path: string;
  readonly kind: CallKind;
  readonly requestType: MessageType<object>;
  readonly responseType: MessageType<object>;
  readonly request: object;
  /** What is sent: the request's encoding, or a distortion of it. */
  readonly bytes: Uint8Array;
}

export function operation<Request extends object, Response extends object>(
  path: string,
  requestType: MessageType<Request>,
  responseType: MessageType<Response>,
  request: Init<Request>,
  kind: CallKind = "unary",
): Operation {
  return {
    path,
    kind,
    requestType: requestType as unknown as MessageType<object>,
    responseType: responseType as unknown as MessageType<object>,
    request,
    bytes: requestType.encode(request),
  };
}

export function showOperation({ path, request, requestType, bytes }: Operation): string {
  const canonical = requestType.encode(request as never);
  const distortion = Buffer.compare(canonical, bytes) === 0 ? "" : `, sent as ${Buffer.from(bytes).toString("hex")}`;
  return `${path.slice(path.lastIndexOf(".") + 1)} ${show(request)}${distortion}`;
}
