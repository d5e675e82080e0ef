/** Small words of the codec tests. */

/** What came of decoding: the value, or the kind of the refusal. Anything but a named refusal is thrown on. */
export function attempt<T>(decode: () => T): { value: T } | { refused: string } {
  try {
    return { value: decode() };
  } catch (error) {
    const kind = (error as { kind?: unknown }).kind;
    if (kind === "MalformedMessage" || kind === "InexactInteger") return { refused: kind };
    throw error;
  }
}
