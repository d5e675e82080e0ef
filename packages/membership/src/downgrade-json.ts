/**
 * The form in which a downgrade of the cluster is stored, etcd's: {"target-version":"3.6.0","enabled":true}, and with an
 * empty target when there is none (any more).
 */

/** The stored text is not a downgrade. */
export class MalformedDowngrade extends Error {
  readonly kind = "MalformedDowngrade";
}

/** `target`: null for none. */
export function encodeDowngrade(target: string | null): string {
  return JSON.stringify({ "target-version": target ?? "", enabled: target !== null });
}

/** The target; null: no downgrade is under way. Throws MalformedDowngrade. */
export function decodeDowngrade(text: string): string | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new MalformedDowngrade(`a downgrade of the cluster is not JSON: ${text}`, { cause: error });
  }
  const { "target-version": target, enabled } = (parsed ?? {}) as { "target-version"?: unknown; enabled?: unknown };
  if (typeof target !== "string" || typeof enabled !== "boolean") {
    throw new MalformedDowngrade(`a downgrade of the cluster has a target and is enabled or not: ${text}`);
  }
  return enabled ? target : null;
}
