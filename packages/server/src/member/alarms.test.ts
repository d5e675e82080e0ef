import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { AlarmType } from "@quorate/api";
import { Alarms } from "./alarms.ts";

class Table {
  readonly keys = new Map<string, Uint8Array>();
  puts = 0;
  put(key: Uint8Array, value: Uint8Array | null): void {
    this.puts++;
    const name = Buffer.from(key).toString("hex");
    if (value === null) this.keys.delete(name);
    else this.keys.set(name, key.slice());
  }
  reload(): Alarms {
    const alarms = new Alarms(this);
    alarms.load((visit) => {
      for (const key of this.keys.values()) visit(key, new Uint8Array(0));
    });
    return alarms;
  }
}

// covers: QU-06
test("raising twice is raising once", () => {
  const table = new Table();
  const alarms = new Alarms(table);
  const alarm = { memberId: 7n, alarm: AlarmType.NOSPACE };
  assert.deepEqual(alarms.activate(alarm), alarm);
  assert.deepEqual(alarms.activate({ ...alarm }), alarm);
  assert.equal(table.puts, 1);
  assert.equal(alarms.list(AlarmType.NONE).length, 1);
});

// covers: QU-06
test("an alarm is cleared only by its own member and type, and ends when the last member's is cleared", () => {
  const alarms = new Alarms(new Table());
  alarms.activate({ memberId: 7n, alarm: AlarmType.NOSPACE });
  alarms.activate({ memberId: 8n, alarm: AlarmType.NOSPACE });
  assert.equal(alarms.deactivate({ memberId: 9n, alarm: AlarmType.NOSPACE }), null);
  assert.equal(alarms.deactivate({ memberId: 7n, alarm: AlarmType.CORRUPT }), null);
  assert.equal(alarms.deactivate({ memberId: 7n, alarm: AlarmType.NONE }), null);
  assert.notEqual(alarms.deactivate({ memberId: 7n, alarm: AlarmType.NOSPACE }), null);
  assert.equal(alarms.isRaised(AlarmType.NOSPACE), true);
  assert.notEqual(alarms.deactivate({ memberId: 8n, alarm: AlarmType.NOSPACE }), null);
  assert.equal(alarms.isRaised(AlarmType.NOSPACE), false);
});

// covers: AP-11
test("what is loaded is what was raised, for any member and any number of a type", () => {
  const table = new Table();
  const alarms = new Alarms(table);
  const raised = [
    { memberId: 0n, alarm: AlarmType.NOSPACE },
    { memberId: 2n ** 64n - 1n, alarm: AlarmType.CORRUPT },
    { memberId: 5n, alarm: 99 },
    { memberId: 5n, alarm: -1 },
    { memberId: 5n, alarm: -(2 ** 31) },
  ];
  for (const each of raised) alarms.activate(each);
  const loaded = table.reload();
  const text = (each: { memberId: bigint; alarm: number }): string => `${each.memberId} ${each.alarm}`;
  assert.deepEqual(loaded.list(AlarmType.NONE).map(text).sort(), raised.map(text).sort());
  for (const each of raised) assert.notEqual(loaded.deactivate(each), null);
  assert.equal(table.keys.size, 0);
});
