/** The tables of a membership in memory, for tests of this room. */
import type { MembershipTables } from "../membership.ts";

export class FakeTables implements MembershipTables {
  readonly rows: Map<string, { table: string; key: Buffer; value: Buffer }> = new Map();

  put(table: string, key: Uint8Array, value: Uint8Array | null): void {
    const id = `${table}/${Buffer.from(key).toString()}`;
    if (value === null) this.rows.delete(id);
    else this.rows.set(id, { table, key: Buffer.from(key), value: Buffer.from(value) });
  }

  scan(table: string, visit: (key: Uint8Array, value: Uint8Array) => void): void {
    for (const row of this.rows.values()) if (row.table === table) visit(row.key, row.value);
  }

  /** "table/key" to value, as text. */
  get texts(): Record<string, string> {
    return Object.fromEntries([...this.rows].map(([id, row]) => [id, row.value.toString()]));
  }
}
