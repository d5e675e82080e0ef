import assert from "node:assert/strict";
import { test } from "node:test";
import { DropList } from "./drop-list.ts";
import { Rng } from "./testing/records.ts";

test("finds exactly what was added, through growth and cuts", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const rng = new Rng(seed);
    let list = new DropList();
    let twin: string[] = [];
    for (let step = 0; step < 400; step++) {
      const main = rng.below(60) + (rng.below(4) === 0 ? 2 ** 40 : 0);
      const sub = rng.below(4) * (rng.below(5) === 0 ? 2 ** 29 : 1);
      const isTombstone = rng.below(2) === 0;
      const name = `${main}/${sub}/${isTombstone}`;
      assert.equal(list.has(main, sub, isTombstone), twin.includes(name), `seed ${seed}, step ${step}`);
      list.add(main, sub, isTombstone);
      twin.push(name);
      if (rng.below(60) === 0) {
        const count = rng.below(twin.length + 1);
        const first = list.takeFirst(count);
        assert.deepEqual(namesOf(first), twin.slice(0, count));
        for (const gone of new Set(twin.slice(0, count))) {
          assert.equal(hasName(list, gone), twin.slice(count).includes(gone));
          assert.equal(hasName(first, gone), true);
        }
        twin = twin.slice(count);
        if (rng.below(5) === 0) {
          list = new DropList();
          twin = [];
        }
      }
      assert.equal(list.length, twin.length);
    }
    assert.deepEqual(namesOf(list), twin);
  }
});

function namesOf(list: DropList): string[] {
  const pairs = list.toPairs();
  const names: string[] = [];
  for (let i = 0; i < pairs.length; i += 2) {
    names.push(`${pairs[i]}/${Math.floor(pairs[i + 1]! / 2)}/${pairs[i + 1]! % 2 === 1}`);
  }
  return names;
}

function hasName(list: DropList, name: string): boolean {
  const [main, sub, isTombstone] = name.split("/");
  return list.has(Number(main), Number(sub), isTombstone === "true");
}
