/** Why a member is not carried over. Nothing was changed or left behind. */

/** A member cannot be carried over as it is; the message is one line for the operator. */
export class ExchangeError extends Error {
  readonly kind = "Exchange";
}

/** An etcd is running on the directory. */
export class EtcdRunningError extends ExchangeError {}

/** Runs `action`; what the system says of a file becomes an {@link ExchangeError}. */
export async function withSystemErrors<Result>(action: () => Promise<Result>): Promise<Result> {
  try {
    return await action();
  } catch (error) {
    if (typeof (error as { syscall?: unknown } | null)?.syscall !== "string") throw error;
    throw new ExchangeError((error as Error).message, { cause: error });
  }
}
