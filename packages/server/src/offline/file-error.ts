/** What the system says of a file, in the words of etcd's tools: "open /a: no such file or directory". */
export class FileError extends Error {
  readonly kind = "File";
  /** The system's name of it: "ENOENT". */
  readonly code: string;

  constructor(operation: string, path: string, cause: unknown) {
    const { message, code } = cause as { message: string; code?: string };
    // Node's: "ENOENT: no such file or directory, open '/a'".
    const reason = /^[A-Z0-9_]+: (.*?), \w+/.exec(message)?.[1] ?? message;
    super(`${operation} ${path}: ${reason}`, { cause });
    this.name = "FileError";
    this.code = code ?? "";
  }
}

/** Runs `action`; what the system throws becomes a {@link FileError}. */
export function withFile<Result>(operation: string, path: string, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    if (typeof (error as { syscall?: unknown } | null)?.syscall !== "string") throw error;
    throw new FileError(operation, path, error);
  }
}
