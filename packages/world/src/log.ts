/**
 * Where a room's log lines go. Messages are constant texts (tools wait for some of them); what varies goes into
 * fields. Logging never throws. Build expensive fields only after asking `isEnabled`.
 */
export interface Log {
  isEnabled(level: LogLevel): boolean;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Field names are kebab-case, as etcd's are. An Error is rendered as its message. bigint is rendered in decimal. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Hears nothing; for tests and for rooms whose owner does not care. */
export const silentLog: Log = {
  isEnabled: () => false,
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};
