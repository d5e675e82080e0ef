import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LmdbStorage } from "./lmdb-storage.ts";
import { storageSuite } from "./testing/storage-suite.ts";

storageSuite("LmdbStorage", () => {
  const directory = mkdtempSync(join(tmpdir(), "quorate-storage-"));
  return {
    open: () => new LmdbStorage({ directory: join(directory, "storage") }),
    dispose: () => rmSync(directory, { recursive: true }),
  };
});
