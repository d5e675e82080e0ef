/** A process to be killed while it builds a database. Run as `read-child.ts <snapshot> <directory>`. */
import { LmdbStorage } from "../lmdb-storage.ts";

const [path, directory] = process.argv.slice(2);
LmdbStorage.readSnapshot({ path: path!, directory: directory! }, (error, storage) => {
  if (error !== null) throw error;
  storage!.close(() => {});
});
