/** Why a watcher was not created; the server answers created and canceled at once, with the reason etcd gives. */

/** A bounded range whose end is not above its start: nothing could ever match. */
export class EmptyWatcherRangeError extends Error {
  readonly kind = "EmptyWatcherRange";
  constructor() {
    super("watch create: the range's end is not above its start");
    this.name = "EmptyWatcherRangeError";
  }
}

/** The id asked for belongs to another watcher of the stream. */
export class DuplicateWatchIdError extends Error {
  readonly kind = "DuplicateWatchId";
  constructor(id: bigint) {
    super(`watch create: id ${id} is taken on this stream`);
    this.name = "DuplicateWatchIdError";
  }
}
