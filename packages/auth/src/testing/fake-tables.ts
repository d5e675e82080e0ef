/** The auth tables in memory, for tests of this room. */
import type { AuthTable, AuthTables } from "../auth-tables.ts";

export class FakeTables implements AuthTables {
  readonly rows: Map<string, { readonly table: AuthTable; readonly key: Buffer; readonly value: Buffer }> = new Map();

  put(table: AuthTable, key: Uint8Array, value: Uint8Array | null): void {
    const id = `${table}/${Buffer.from(key).toString("latin1")}`;
    if (value === null) this.rows.delete(id);
    else this.rows.set(id, { table, key: Buffer.from(key), value: Buffer.from(value) });
  }

  /** In descending order, since nobody should rely on another. */
  scan(table: AuthTable, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    const rows = [...this.rows.values()].filter((row) => row.table === table);
    for (const { key, value } of rows.sort((a, b) => b.key.compare(a.key))) visit(Buffer.from(key), Buffer.from(value));
  }

  /** "table/key" to value in hex, by key. */
  get hex(): Record<string, string> {
    const entries = [...this.rows].map(([id, row]): [string, string] => [id, row.value.toString("hex")]);
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
