/** A watch of everything on both servers, which must tell the same story; what it tells is what is known. */
import assert from "node:assert/strict";
import { type Event, WatchRequest, WatchResponse } from "@quorate/api/messages";
import type { Connection, Stream } from "./connection.ts";
import type { KnownState } from "./known-state.ts";
import { show } from "./show.ts";

const PATIENCE_MS = 10_000;
const EVERYTHING = Buffer.of(0);

export class History {
  readonly #known: KnownState;
  readonly #stories: readonly Story[];

  private constructor(known: KnownState, stories: readonly Story[]) {
    this.#known = known;
    this.#stories = stories;
  }

  /** From the revision after the known one. */
  static async open(connections: readonly Connection[], known: KnownState): Promise<History> {
    const stories = connections.map((connection) => new Story(connection, known.revision + 1));
    for (const story of stories) {
      assert.ok(await story.stream.until(() => story.isOpen, PATIENCE_MS), "a watch of everything is answered");
    }
    return new History(known, stories);
  }

  /**
   * Waits until both servers have brought all watchers up to date: etcd takes in all that are behind in one pass, so once
   * one that joins them now has its event, the others have theirs, or are known to have none.
   */
  static async untilWatchersAreSynced(connections: readonly Connection[], { revision }: KnownState): Promise<void> {
    if (revision === 1) return;
    for (const connection of connections) {
      const late = new Story(connection, revision);
      const isThere = await late.stream.until(() => late.events.length > 0, PATIENCE_MS);
      assert.ok(isThere, "a late watch of everything gets the last change");
      late.stream.cancel();
    }
  }

  /** Waits until both servers have told everything up to the revision. */
  async reach(revision: number): Promise<void> {
    for (const { stream, events } of this.#stories) {
      const isThere = await stream.until(() => (events.at(-1)?.kv?.modRevision ?? 0) >= revision, PATIENCE_MS);
      assert.ok(isThere, `a watch of everything hears of revision ${revision}`);
    }
    const [theirs, ours] = this.#stories.map(({ events }) => events.splice(0)) as [Event[], Event[]];
    assert.equal(show(ours), show(theirs), `the events up to revision ${revision}`);
    for (const event of theirs) this.#known.learn(event);
  }
}

class Story {
  readonly stream: Stream;
  readonly events: Event[] = [];
  isOpen = false;

  constructor(connection: Connection, startRevision: number) {
    this.stream = connection.stream("/etcdserverpb.Watch/Watch", (message) => {
      const response = WatchResponse.decode(message);
      this.isOpen ||= response.created;
      this.events.push(...response.events);
    });
    const createRequest = { key: EVERYTHING, rangeEnd: EVERYTHING, startRevision };
    this.stream.send(WatchRequest.encode({ createRequest }));
  }
}
