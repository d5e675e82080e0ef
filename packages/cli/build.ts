/**
 * `npm run build`: compiles the server into dist/, one file per entry and shared chunks. What runs in earnest is this,
 * because stripping types at start costs a process 20 MB and half a second of a busy core (docs/decisions/0004). Tests
 * and tools run the sources as they are.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const root = join(import.meta.dirname, "../..");
const outdir = join(root, "dist");
rmSync(outdir, { recursive: true, force: true });
await build({
  entryPoints: {
    quorate: join(import.meta.dirname, "src/main.ts"),
    "lmdb-worker": join(root, "packages/mvcc/src/backend/lmdb-worker.ts"),
    "lmdb-copy-worker": join(root, "packages/mvcc/src/backend/lmdb-copy-worker.ts"),
    "lmdb-snapshot-worker": join(root, "packages/mvcc/src/backend/lmdb-snapshot-worker.ts"),
    "password-worker": join(root, "packages/server/src/auth/password-worker.ts"),
  },
  outdir,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node24",
  // Names stay, so that a stack trace says where it happened.
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: "none",
  external: ["bcryptjs", "jose", "lmdb", "yaml"],
  logLevel: "warning",
});
