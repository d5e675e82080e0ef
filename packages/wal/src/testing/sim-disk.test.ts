import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { diskSuite } from "./disk-suite.ts";
import { SeededRandom } from "./seeded-random.ts";
import { SimDisk, systemError } from "./sim-disk.ts";

function make(seed = 1): SimDisk {
  const disk = new SimDisk({ random: new SeededRandom(seed) });
  disk.makeDirectory("/d");
  disk.syncDirectory("/");
  return disk;
}

diskSuite("simulated disk", () => {
  const disk = make();
  return { disk, directory: "/d", settle: () => disk.runPending() };
});

const ones = Buffer.alloc(2048, 1);
const twos = Buffer.alloc(2048, 2);

/** How the four sectors of the file look: "1" old, "2" new, "?" anything else; "-" if the file is absent. */
function look(disk: SimDisk, path: string): string {
  if (!disk.exists(path)) return "-";
  const bytes = disk.contents(path);
  let seen = "";
  for (let at = 0; at < bytes.length; at += 512) {
    const sector = Buffer.from(bytes.subarray(at, at + 512));
    seen += sector.equals(ones.subarray(0, 512)) ? "1" : sector.equals(twos.subarray(0, 512)) ? "2" : "?";
  }
  return seen;
}

//
test("a crash keeps any mixture of unsynced sectors, and all synced ones", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const disk = make(seed);
    const file = disk.open("/d/f", "create");
    disk.syncDirectory("/d");
    file.write(ones, 0, 2048, 0);
    file.sync();
    file.write(twos, 0, 2048, 0);
    assert.equal(look(disk, "/d/f"), "2222");
    disk.crash();
    seen.add(look(disk, "/d/f"));
    assert.throws(() => file.sync(), { code: "EBADF" });
  }
  assert.equal(seen.size, 16);
  for (const each of seen) assert.match(each, /^[12]{4}$/);
});

// covers: WA-06
test("a crash keeps any of the unsynced creations, renamings and removals, and none of them half", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 300; seed++) {
    const disk = make(seed);
    for (const name of ["a", "b"]) disk.open(`/d/${name}`, "create").close();
    disk.syncDirectory("/d");
    disk.rename("/d/a", "/d/z");
    disk.remove("/d/b");
    disk.open("/d/c", "create").close();
    disk.crash();
    seen.add(disk.readDirectory("/d").join());
  }
  assert.deepEqual([...seen].sort(), ["a", "a,b", "a,b,c", "a,c", "b,c,z", "b,z", "c,z", "z"]);
});

// covers: WA-08, WA-09
test("after a failed sync the bytes are still read, a later sync does not write them, and a crash loses them", () => {
  for (const call of ["sync", "writeDurably"] as const) {
    const disk = make();
    const file = disk.open("/d/f", "create");
    disk.syncDirectory("/d");
    file.write(ones, 0, 2048, 0);
    file.sync();
    disk.onCall = (each) => (each === call ? systemError("EIO", each, "/d/f") : null);
    if (call === "sync") {
      file.write(twos, 0, 2048, 0);
      assert.throws(() => file.sync(), { code: "EIO" });
    } else {
      let failure: Error | null = null;
      file.writeDurably(twos, 0, 2048, 0, (error) => {
        failure = error;
      });
      disk.runPending();
      assert.match(String(failure), /EIO/);
    }
    disk.onCall = null;
    file.sync();
    assert.equal(look(disk, "/d/f"), "2222");
    disk.crash();
    assert.equal(look(disk, "/d/f"), "1111");
  }
});

test("a durable write is durable when it ends, in doubt before, and never ends after a crash", () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 100; seed++) {
    const disk = make(seed);
    const file = disk.open("/d/f", "create");
    disk.syncDirectory("/d");
    file.writeDurably(ones, 0, 2048, 0, () => {});
    disk.runPending();
    file.writeDurably(twos, 0, 2048, 0, () => assert.fail("ended after the crash"));
    disk.crash();
    disk.runPending();
    seen.add(look(disk, "/d/f"));
  }
  assert.equal(seen.size, 16);
});

test("a killed process loses its files but not what it wrote", () => {
  const disk = make();
  const file = disk.open("/d/f", "create");
  file.write(ones, 0, 2048, 0);
  disk.kill();
  assert.throws(() => file.write(twos, 0, 1, 0), { code: "EBADF" });
  assert.equal(look(disk, "/d/f"), "1111");
});

test("a full disk refuses to grow a file and still overwrites", () => {
  const disk = make();
  const file = disk.open("/d/f", "create");
  file.write(ones, 0, 2048, 0);
  disk.capacityBytes = 2048;
  assert.throws(() => file.write(ones, 0, 1, 2048), { code: "ENOSPC" });
  file.write(twos, 0, 2048, 0);
  assert.equal(look(disk, "/d/f"), "2222");
});
