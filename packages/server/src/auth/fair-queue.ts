/**
 * Work that waits for its turn, in a queue for each who is asked about (./passwords.ts: the user whose password is checked).
 * The queues take turns, so whoever is asked about a lot makes nobody else wait. Within a queue it is first come, first
 * served.
 *
 *   alice  ■ ■ ■ ■ ■ ■ ■ ■ ─┐
 *   bob    ■ ───────────────┼─ one of each in turn ─▶ next()
 *   null   ■ ■ ─────────────┘
 *
 * When a queue is full, or all of them are together, a newcomer takes the place of one drawn by lot, in the longest queue:
 * who floods a queue would otherwise keep out of it whoever it is about. Only those who came from where most of that queue
 * came from draw, so that whoever comes alone stays.
 */
import type { Random } from "@quorate/world";

export interface FairQueueOptions<Item> {
  readonly max: number;
  /** The queue of null has no limit of its own. */
  readonly maxPerOwner: number;
  readonly random: Random;
  /** Where an item came from: the same for those who may well be one. */
  readonly sourceOf: (item: Item) => unknown;
}

export class FairQueue<Item> {
  readonly #max: number;
  readonly #maxPerOwner: number;
  readonly #random: Random;
  readonly #sourceOf: (item: Item) => unknown;
  /** None is empty; the one whose turn is next comes first. */
  #queues = new Map<string | null, Item[]>();
  #size = 0;

  constructor({ max, maxPerOwner, random, sourceOf }: FairQueueOptions<Item>) {
    this.#max = max;
    this.#maxPerOwner = maxPerOwner;
    this.#random = random;
    this.#sourceOf = sourceOf;
  }

  isFullFor(owner: string | null): boolean {
    return this.#size >= this.#max || this.#isOwnFull(owner);
  }

  /** What has lost its place to this one: itself, if all queues are full and none is longer; null: nothing. */
  add(owner: string | null, item: Item): Item | null {
    const queue = this.#queues.get(owner) ?? [];
    let displaced: Item | null = null;
    if (this.isFullFor(owner)) {
      const crowded = this.#isOwnFull(owner) ? queue : this.#longestOr(queue);
      if (crowded.length < 2) return item;
      displaced = crowded.splice(this.#draw(crowded), 1)[0]!;
      this.#size--;
    }
    queue.push(item);
    this.#queues.set(owner, queue);
    this.#size++;
    return displaced;
  }

  next(): Item | undefined {
    for (const [owner, queue] of this.#queues) {
      const item = queue.shift();
      this.#size--;
      this.#queues.delete(owner);
      if (queue.length > 0) this.#queues.set(owner, queue);
      return item;
    }
    return undefined;
  }

  /** Those removed. */
  removeIf(isUnwanted: (item: Item) => boolean): Item[] {
    const removed: Item[] = [];
    for (const [owner, queue] of this.#queues) {
      const kept: Item[] = [];
      for (const item of queue) (isUnwanted(item) ? removed : kept).push(item);
      if (kept.length === 0) this.#queues.delete(owner);
      else if (kept.length < queue.length) this.#queues.set(owner, kept);
    }
    this.#size -= removed.length;
    return removed;
  }

  #isOwnFull(owner: string | null): boolean {
    return owner !== null && (this.#queues.get(owner)?.length ?? 0) >= this.#maxPerOwner;
  }

  /** The place of one that has to go. */
  #draw(queue: readonly Item[]): number {
    const places = new Map<unknown, number[]>();
    for (const [place, item] of queue.entries()) {
      const source = this.#sourceOf(item);
      const same = places.get(source) ?? [];
      same.push(place);
      places.set(source, same);
    }
    const most = Math.max(...[...places.values()].map((same) => same.length));
    const drawing = [...places.values()].filter((same) => same.length === most).flat();
    return drawing[this.#random.below(drawing.length)]!;
  }

  /** Of equals the given one. */
  #longestOr(given: Item[]): Item[] {
    let longest = given;
    for (const queue of this.#queues.values()) if (queue.length > longest.length) longest = queue;
    return longest;
  }
}
