/** Protobuf's wire format: the one place that knows varints, tags and lengths. Other rooms use it for their own records. */
export { InexactInteger, MalformedMessage, MessageTooLarge } from "./malformed.ts";
export { DEPTH_MAX, Reader, WireType } from "./reader.ts";
export {
  BOUND_MAX,
  boundSize,
  int64FromHalves,
  uint64FromHalves,
  VARINT_SIZE_MAX,
  varintSize,
  varintSizeBig,
  varintSizeHalves,
  writeBound,
  writeVarint,
  writeVarintBig,
  writeVarintHalves,
} from "./varint.ts";
export { copyBytes, MESSAGE_SIZE_MAX, Writer } from "./writer.ts";
