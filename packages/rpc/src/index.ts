/** HTTP/2 (RFC 9113), HPACK (RFC 7541) and gRPC framing, server and client, on any duplex socket. Knows no service. */
export { ClientCall, type ClientStreamHandler, type UnaryDone } from "./client/call.ts";
export { type CallOptions, RpcClient, type RpcClientOptions } from "./client/client.ts";
export { InvalidMetadata, type Metadata } from "./grpc/metadata.ts";
export { RpcError, StatusCode } from "./grpc/status.ts";
export type { CloseReason } from "./http2/connection.ts";
export { clientPreface } from "./http2/frame.ts";
export type { BodySource } from "./http2/send-queue.ts";
export { defaultLimits, InvalidLimit, type RpcLimits } from "./limits.ts";
export type {
  AcceptedSocket,
  CallOwner,
  Method,
  ObservedCall,
  RpcObserver,
  ServerCall,
  ServerPeer,
  StreamHandler,
} from "./server/method.ts";
export type { PlainAnswer, PlainHandler, PlainRequest } from "./server/plain-exchange.ts";
export { RpcServer, type RpcServerOptions } from "./server/server.ts";
