/** A member cannot be carried over as it is; the message is one line for the operator. Nothing was changed or made. */
export class ExchangeError extends Error {
  readonly kind = "Exchange";
}
