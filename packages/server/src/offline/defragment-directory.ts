/** Gives back the free space of a stopped member's database. */
import type { Log } from "@quorate/world";
import { type StoppedMemberOptions, withStoppedMember } from "./stopped-member.ts";

/** Throws StoppedMemberError, DirectoryLockError, DefragmentError. */
export async function defragmentDirectory(options: StoppedMemberOptions): Promise<void> {
  const log: Log = options.log;
  await withStoppedMember(options, (storage) => {
    const path = `${options.directory}/member/db`;
    const beforeBytes = storage.sizeBytes();
    log.info("defragmenting", {
      path,
      "current-db-size-bytes": beforeBytes,
      "current-db-size-in-use-bytes": storage.sizeInUseBytes(),
    });
    return new Promise<void>((done, failed) => {
      storage.defragment((error) => {
        if (error !== null) return failed(error);
        log.info("finished defragmenting directory", {
          path,
          "current-db-size-bytes-diff": storage.sizeBytes() - beforeBytes,
          "current-db-size-bytes": storage.sizeBytes(),
          "current-db-size-in-use-bytes": storage.sizeInUseBytes(),
        });
        done();
      });
    });
  });
}
