/** Carrying a stopped member from etcd to us and back. Apart from the server's own entry, which must start without it. */
export { ExchangeError } from "./errors.ts";
export { type ExportOptions, exportEtcd } from "./export-etcd.ts";
export { type ExchangeSummary, type ImportOptions, importEtcd } from "./import-etcd.ts";
