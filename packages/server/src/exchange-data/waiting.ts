/** A member that was just told to stop lets go of its directory in a moment. */

const RETRY_MS = 100;

/**
 * Makes the attempt again while it ends with an error that `isBusy`, for `timeoutMs`; 0: for ever; undefined: once and no
 * more. Rejects with what the last one ended with.
 */
export async function retryWhileBusy<Result>(
  timeoutMs: number | undefined,
  isBusy: (error: unknown) => boolean,
  attempt: () => Promise<Result>,
): Promise<Result> {
  const endMs = timeoutMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + (timeoutMs ?? 0);
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isBusy(error) || performance.now() + RETRY_MS > endMs) throw error;
      await new Promise((wake) => setTimeout(wake, RETRY_MS));
    }
  }
}
