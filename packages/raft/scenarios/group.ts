/**
 * A whole group of nodes in one place, for interaction scenarios: their storages in memory, one queue of messages under
 * way, and for each node the work waiting at its append and apply threads. The state machine appends: its content is
 * the concatenation of all data applied, and every applied entry leaves a snapshot in the node's history.
 *
 * Everything that happens is written to the output as it happens.
 */
import { confChangeOf } from "../src/codec.ts";
import { describeMessage, describeReady } from "../src/describe.ts";
import {
  Entry,
  EntryType,
  type HardState,
  isLocalThread,
  type Message,
  MessageType,
  type NodeId,
  type RaftConfig,
  RawNode,
  type Snapshot,
} from "../src/index.ts";
import { MemoryLogStorage } from "../src/storage.ts";
import type { Output } from "./output.ts";
import { ScenarioError } from "./scenario-file.ts";

/** What a node of a group is told, besides what the group decides. */
export type NodeSettings = Omit<RaftConfig, "id" | "storage" | "log" | "random">;

/** Answers with the newest snapshot of the state machine rather than the one it started from. */
class HistoryStorage extends MemoryLogStorage {
  readonly history: Snapshot[];

  constructor(first: Snapshot) {
    super();
    this.history = [first];
  }

  override snapshot(): Snapshot {
    return this.history.at(-1)!;
  }
}

export class GroupNode {
  readonly id: NodeId;
  readonly raw: RawNode;
  readonly storage: HistoryStorage;
  readonly settings: NodeSettings;
  readonly appendWork: Message[] = [];
  readonly applyWork: Message[] = [];

  constructor(id: NodeId, settings: NodeSettings, start: Snapshot, output: Output) {
    this.id = id;
    this.settings = settings;
    this.storage = new HistoryStorage(start);
    if (start.metadata.index !== 0) this.storage.applySnapshot(start);
    // No file depends on chance; those that need a certain timeout set it. The others get the longest there is.
    const random = { below: (bound: number) => bound - 1 };
    this.raw = new RawNode({ ...settings, id, storage: this.storage, log: output, random });
  }

  persist(state: HardState | null, entries: readonly Entry[], snapshot: Snapshot | null): void {
    if (state !== null) this.storage.setHardState(state);
    if (snapshot !== null) {
      if (entries.length > 0) throw new ScenarioError("can't apply snapshot and entries at same time");
      this.storage.applySnapshot(snapshot);
      return;
    }
    this.storage.append(entries);
  }

  apply(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const before = this.storage.history.at(-1)!;
      let confState = before.metadata.confState;
      let added = entry.data;
      if (entry.type !== EntryType.Normal) {
        const change = confChangeOf(entry);
        added = change.context;
        confState = this.raw.applyConfChange(change);
      }
      const data = new Uint8Array(before.data.length + added.length);
      data.set(before.data);
      data.set(added, before.data.length);
      this.storage.history.push({ data, metadata: { confState, index: entry.index, term: entry.term } });
    }
  }
}

export class Group {
  readonly nodes: GroupNode[] = [];
  readonly #output: Output;
  /** Messages under way, oldest first. */
  #messages: Message[] = [];

  constructor(output: Output) {
    this.#output = output;
  }

  node(id: NodeId): GroupNode {
    const node = this.nodes.find((candidate) => candidate.id === id);
    if (node === undefined) throw new ScenarioError(`there is no node ${id}`);
    return node;
  }

  add(settings: NodeSettings, start: Snapshot): void {
    this.nodes.push(new GroupNode(BigInt(this.nodes.length + 1), settings, start, this.#output));
  }

  enqueue(message: Message): void {
    this.#messages.push(message);
  }

  processReady(node: GroupNode): void {
    const ready = node.raw.ready();
    this.#output.write(describeReady(ready));
    const isAsync = node.settings.asyncStorageWrites;
    if (!isAsync) {
      node.persist(ready.hardState, ready.entries, ready.snapshot);
      node.apply(ready.committedEntries);
    }
    for (const message of ready.messages) {
      if (!isLocalThread(message.to)) this.#messages.push(asSent(message));
      else if (message.type === MessageType.StorageAppend) node.appendWork.push(message);
      else node.applyWork.push(message);
    }
    if (!isAsync) node.raw.advance(ready);
  }

  processAppendThread(node: GroupNode): void {
    const work = node.appendWork.shift();
    if (work === undefined) {
      this.#output.write("no append work to perform");
      return;
    }
    this.#process(work, () => {
      const { term, vote, commit } = work;
      const hasState = term !== 0 || vote !== 0n || commit !== 0;
      node.persist(hasState ? { term, vote, commit } : null, work.entries, work.snapshot);
    });
  }

  processApplyThread(node: GroupNode): void {
    const work = node.applyWork.shift();
    if (work === undefined) {
      this.#output.write("no apply work to perform");
      return;
    }
    this.#process(work, () => node.apply(work.entries));
  }

  #process(work: Message, perform: () => void): void {
    const { responses } = work;
    work.responses = [];
    this.#output.write(`Processing:\n${describeMessage(work)}\n`);
    perform();
    this.#output.write("Responses:\n");
    for (const response of responses) {
      this.#output.write(`${describeMessage(response)}\n`);
      this.#messages.push(response);
    }
  }

  hasMessagesFor(id: NodeId): boolean {
    return this.#messages.some((message) => message.to === id);
  }

  /** Delivers, or drops, messages to one node, of one type if given. Returns how many there were. */
  deliver(to: NodeId, options: { type?: MessageType | undefined; drop: boolean }): number {
    const taken: Message[] = [];
    this.#messages = this.#messages.filter((message) => {
      const isWanted =
        message.to === to &&
        !(options.drop && isLocal(message)) &&
        (options.type === undefined || message.type === options.type);
      if (isWanted) taken.push(message);
      return !isWanted;
    });
    for (const message of taken) {
      this.#output.write(`${options.drop ? "dropped: " : ""}${describeMessage(message)}\n`);
      if (options.drop) continue;
      try {
        this.node(to).raw.step(message);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        this.#output.write(`${error.message}\n`);
      }
    }
    return taken.length;
  }

  /** Lets the given nodes do everything there is to do, until nothing is left. */
  stabilize(nodes: readonly GroupNode[]): void {
    let isBusy = true;
    while (isBusy) {
      isBusy = false;
      for (const node of nodes) {
        if (!node.raw.hasReady()) continue;
        this.#headed(`> ${node.id} handling Ready`, () => this.processReady(node));
        isBusy = true;
      }
      for (const node of nodes) {
        if (!this.hasMessagesFor(node.id)) continue;
        this.#headed(`> ${node.id} receiving messages`, () => this.deliver(node.id, { drop: false }));
        isBusy = true;
      }
      for (const node of nodes) {
        if (node.appendWork.length === 0) continue;
        this.#output.write(`> ${node.id} processing append thread\n`);
        while (node.appendWork.length > 0) this.#output.indented(() => this.processAppendThread(node));
        isBusy = true;
      }
      for (const node of nodes) {
        if (node.applyWork.length === 0) continue;
        this.#output.write(`> ${node.id} processing apply thread\n`);
        while (node.applyWork.length > 0) this.#output.indented(() => this.processApplyThread(node));
        isBusy = true;
      }
    }
  }

  #headed(header: string, body: () => void): void {
    this.#output.write(`${header}\n`);
    this.#output.indented(body);
  }
}

/** What a node says by throwing, as opposed to what breaks it. */
export function isRefusal(error: unknown): error is Error {
  return (
    error instanceof Error && "kind" in error && error.kind !== "BrokenInvariant" && error.kind !== "ScenarioError"
  );
}

/** Messages within one process need reliable delivery. */
function isLocal(message: Message): boolean {
  return message.from === message.to || isLocalThread(message.from) || isLocalThread(message.to);
}

/** A proposal on its way: its entries are the receiver's, so they must not be the sender's objects. */
function asSent(message: Message): Message {
  if (message.type === MessageType.Prop) {
    message.entries = message.entries.map((entry) => new Entry(entry.type, entry.term, entry.index, entry.data));
  }
  return message;
}
