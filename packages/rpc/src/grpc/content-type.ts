/** Whether a message claims to be gRPC. */

/** application/grpc, alone or with a subtype or parameters. */
export function isGrpcContentType(value: string): boolean {
  if (value === "application/grpc") return true;
  const lower = value.toLowerCase();
  if (!lower.startsWith("application/grpc")) return false;
  const next = lower[16];
  return next === undefined || next === "+" || next === ";";
}
