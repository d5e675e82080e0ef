/**
 * Plays interaction scenarios: each directive is one thing that happens to a group of nodes. A directive that prints
 * nothing prints `ok`; a refusal prints its message. Ids are those of the nodes, from 1.
 */
import { type ConfChange, ConfChangeTransition, type ConfChangeV2 } from "../src/conf-change.ts";
import { describeEntries, describeMessage, roleName } from "../src/describe.ts";
import {
  EMPTY_CONF_STATE,
  type Index,
  Message,
  MessageType,
  messageTypeName,
  NO_BYTES,
  type NodeId,
  type Snapshot,
  type Term,
} from "../src/index.ts";
import { parseChanges } from "./changes.ts";
import { Group, type GroupNode, isRefusal, type NodeSettings } from "./group.ts";
import { Output } from "./output.ts";
import { type Argument, type Directive, ScenarioError, type Stage, wholeNumber } from "./scenario-file.ts";

const DEFAULT_SETTINGS: NodeSettings = {
  electionTicks: 3,
  heartbeatTicks: 1,
  applied: 0 as Index,
  maxSizePerMessageBytes: Number.POSITIVE_INFINITY,
  maxCommittedSizePerReadyBytes: 0,
  maxUncommittedSizeBytes: 0,
  maxInflightMessages: Number.MAX_SAFE_INTEGER,
  maxInflightBytes: 0,
  checkQuorum: false,
  preVote: false,
  readOnly: "safe",
  disableProposalForwarding: false,
  disableConfChangeValidation: false,
  stepDownOnRemoval: false,
  asyncStorageWrites: false,
};

export class InteractionStage implements Stage {
  readonly #output: Output = new Output();
  readonly #group: Group = new Group(this.#output);

  play(directive: Directive): string {
    this.#output.take();
    try {
      this.#perform(directive);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      if (this.#output.isQuiet()) return error.message;
      this.#output.write(error.message);
    }
    const text = this.#output.take();
    return text === "" ? "ok" : text;
  }

  #perform(d: Directive): void {
    switch (d.command) {
      case "_breakpoint":
        return;
      case "add-nodes":
        return this.#addNodes(d);
      case "campaign":
        return this.#first(d).raw.campaign();
      case "compact":
        return this.#compact(d);
      case "deliver-msgs":
        return this.#deliver(d);
      case "process-ready":
        return this.#eachHeaded(d, "handling Ready", (node) => this.#group.processReady(node));
      case "process-append-thread":
        return this.#eachHeaded(d, "processing append thread", (node) => this.#group.processAppendThread(node));
      case "process-apply-thread":
        return this.#eachHeaded(d, "processing apply thread", (node) => this.#group.processApplyThread(node));
      case "log-level":
        return this.#output.setLevel(key(d, 0));
      case "raft-log":
        return this.#raftLog(this.#first(d));
      case "raft-state":
        return this.#raftState();
      case "set-randomized-election-timeout":
        return this.#first(d).raw.setRandomizedElectionTicks(wholeNumber(value(d, "timeout"), d));
      case "stabilize":
        return this.#stabilize(d);
      case "status":
        for (const member of this.#first(d).raw.status().progress) {
          this.#output.write(`${member.id}: ${member.text}\n`);
        }
        return;
      case "tick-election":
        return this.#tick(this.#first(d), (settings) => settings.electionTicks);
      case "tick-heartbeat":
        return this.#tick(this.#first(d), (settings) => settings.heartbeatTicks);
      case "transfer-leadership":
        return this.#group.node(BigInt(value(d, "from"))).raw.transferLeadership(BigInt(value(d, "to")));
      case "forget-leader":
        return this.#first(d).raw.forgetLeader();
      case "send-snapshot":
        return this.#sendSnapshot(d);
      case "propose":
        return this.#first(d).raw.propose(new TextEncoder().encode(key(d, 1)));
      case "propose-conf-change":
        return this.#proposeConfChange(d);
      // Ours: the published files have nothing for reads.
      case "read-index":
        return this.#first(d).raw.readIndex(new TextEncoder().encode(key(d, 1)));
      case "report-snapshot":
        return this.#first(d).raw.reportSnapshot(BigInt(key(d, 1)), key(d, 2) === "failed" ? "failed" : "finished");
      case "report-unreachable":
        return this.#first(d).raw.reportUnreachable(BigInt(key(d, 1)));
      default:
        throw new ScenarioError(`line ${d.line}: unknown command ${d.command}`);
    }
  }

  #addNodes(d: Directive): void {
    const count = wholeNumber(key(d, 0), d);
    const settings: { -readonly [K in keyof NodeSettings]: NodeSettings[K] } = { ...DEFAULT_SETTINGS };
    const voters: NodeId[] = [];
    const learners: NodeId[] = [];
    let index = 0;
    let data = NO_BYTES;
    for (const { key, values } of d.args.slice(1)) {
      const only = values[0] ?? "";
      switch (key) {
        case "voters":
          voters.push(...values.map(BigInt));
          break;
        case "learners":
          learners.push(...values.map(BigInt));
          break;
        case "index":
          index = wholeNumber(only, d);
          settings.applied = index as Index;
          break;
        case "content":
          data = new TextEncoder().encode(only);
          break;
        case "inflight":
          settings.maxInflightMessages = wholeNumber(only, d);
          break;
        // Ours.
        case "max-size-per-msg":
          settings.maxSizePerMessageBytes = wholeNumber(only, d);
          break;
        case "prevote":
          settings.preVote = truth(only, d);
          break;
        case "checkquorum":
          settings.checkQuorum = truth(only, d);
          break;
        case "async-storage-writes":
          settings.asyncStorageWrites = truth(only, d);
          break;
        case "max-committed-size-per-ready":
          settings.maxCommittedSizePerReadyBytes = wholeNumber(only, d);
          break;
        case "disable-conf-change-validation":
          settings.disableConfChangeValidation = truth(only, d);
          break;
        case "step-down-on-removal":
          settings.stepDownOnRemoval = truth(only, d);
          break;
        case "read-only":
          if (only !== "safe" && only !== "lease-based") {
            throw new ScenarioError(`line ${d.line}: invalid read-only option ${only}`);
          }
          settings.readOnly = only === "safe" ? "safe" : "lease";
          break;
        default:
          throw new ScenarioError(`line ${d.line}: unknown argument ${key}`);
      }
    }
    const isBootstrapped = index !== 0 || voters.length > 0 || learners.length > 0 || data.length > 0;
    if (isBootstrapped && index <= 1) throw new ScenarioError(`line ${d.line}: index must be specified as > 1`);
    const start: Snapshot = {
      data,
      metadata: {
        confState: { ...EMPTY_CONF_STATE, voters, learners },
        index: index as Index,
        term: (isBootstrapped ? 1 : 0) as Term,
      },
    };
    for (let i = 0; i < count; i++) this.#group.add(settings, start);
  }

  #compact(d: Directive): void {
    const node = this.#first(d);
    node.storage.compact(wholeNumber(key(d, 1), d) as Index);
    this.#raftLog(node);
  }

  #raftLog(node: GroupNode): void {
    const first = node.storage.firstIndex();
    const last = node.storage.lastIndex();
    if (last < first) {
      this.#output.write(`log is empty: first index=${first}, last index=${last}`);
      return;
    }
    const entries = node.storage.entries(first, (last + 1) as Index, Number.POSITIVE_INFINITY);
    this.#output.write(describeEntries(entries!));
  }

  #raftState(): void {
    for (const { raw } of this.#group.nodes) {
      const { id, role, term, lead, config } = raw.status();
      const isVoter = config.voters.includes(id) || config.votersOutgoing.includes(id);
      this.#output.write(`${id}: ${roleName(role)} ${isVoter ? "(Voter)" : "(Non-Voter)"} Term:${term} Lead:${lead}\n`);
    }
  }

  #deliver(d: Directive): void {
    const recipients: { id: NodeId; drop: boolean }[] = [];
    let type: MessageType | undefined;
    for (const { key, values } of d.args) {
      if (values.length === 0) {
        recipients.push({ id: BigInt(key), drop: false });
      } else if (key === "type") {
        type = Object.values(MessageType).find((candidate) => messageTypeName(candidate) === values[0]);
        if (type === undefined) throw new ScenarioError(`line ${d.line}: unknown message type ${values[0]}`);
      } else if (key === "drop") {
        for (const value of values) {
          const id = BigInt(value);
          if (recipients.some((known) => known.id === id)) {
            throw new ScenarioError(`line ${d.line}: can't both deliver and drop msgs to ${id}`);
          }
          recipients.push({ id, drop: true });
        }
      } else {
        throw new ScenarioError(`line ${d.line}: unknown argument ${key}`);
      }
    }
    let count = 0;
    for (const { id, drop } of recipients) count += this.#group.deliver(id, { type, drop });
    if (count === 0) this.#output.write("no messages\n");
  }

  #eachHeaded(d: Directive, what: string, body: (node: GroupNode) => void): void {
    const nodes = this.#nodes(d);
    for (const node of nodes) {
      if (nodes.length === 1) {
        body(node);
        return;
      }
      this.#output.write(`> ${node.id} ${what}\n`);
      this.#output.indented(() => body(node));
    }
  }

  #stabilize(d: Directive): void {
    const level = this.#output.level;
    const asked = d.args.find(({ key }) => key === "log-level");
    if (asked !== undefined) this.#output.setLevel(asked.values[0] ?? "");
    try {
      const nodes = this.#nodes(d);
      this.#group.stabilize(nodes.length > 0 ? nodes : this.#group.nodes);
    } finally {
      this.#output.setLevel(level);
    }
  }

  #tick(node: GroupNode, ticks: (settings: NodeSettings) => number): void {
    for (let i = ticks(node.settings); i > 0; i--) node.raw.tick();
  }

  #sendSnapshot(d: Directive): void {
    const from = this.#first(d);
    const message = new Message(MessageType.Snap, BigInt(key(d, 1)), from.id);
    message.term = from.raw.term;
    message.snapshot = from.storage.snapshot();
    this.#group.enqueue(message);
    this.#output.write(describeMessage(message));
  }

  #proposeConfChange(d: Directive): void {
    let isV1 = false;
    let transition: ConfChangeTransition = ConfChangeTransition.Auto;
    for (const { key, values } of d.args.slice(1)) {
      if (key === "v1") isV1 = truth(values[0] ?? "", d);
      else if (key === "transition") transition = transitionNamed(values[0] ?? "", d);
      else throw new ScenarioError(`line ${d.line}: unknown argument ${key}`);
    }
    const changes = parseChanges(d.input);
    let change: ConfChange | ConfChangeV2 = { transition, changes, context: NO_BYTES };
    if (isV1) {
      const only = changes[0];
      if (only === undefined || changes.length > 1 || transition !== ConfChangeTransition.Auto) {
        throw new ScenarioError(`line ${d.line}: v1 conf change can only have one operation and no transition`);
      }
      change = { id: 0n, type: only.type, nodeId: only.nodeId, context: NO_BYTES };
    }
    this.#first(d).raw.proposeConfChange(change);
  }

  #first(d: Directive): GroupNode {
    return this.#group.node(BigInt(wholeNumber(key(d, 0), d)));
  }

  /** The nodes named by bare arguments, in the order given. */
  #nodes(d: Directive): GroupNode[] {
    return d.args.filter(isBare).map(({ key }) => this.#group.node(BigInt(wholeNumber(key, d))));
  }
}

function isBare(argument: Argument): boolean {
  return argument.values.length === 0;
}

function key(d: Directive, at: number): string {
  const argument = d.args[at];
  if (argument === undefined) throw new ScenarioError(`line ${d.line}: ${d.command} needs ${at + 1} arguments`);
  return argument.key;
}

function value(d: Directive, key: string): string {
  const found = d.args.find((argument) => argument.key === key)?.values[0];
  if (found === undefined) throw new ScenarioError(`line ${d.line}: ${d.command} needs ${key}=`);
  return found;
}

function truth(text: string, d: Directive): boolean {
  if (text !== "true" && text !== "false") throw new ScenarioError(`line ${d.line}: "${text}" is not true or false`);
  return text === "true";
}

function transitionNamed(name: string, d: Directive): ConfChangeTransition {
  if (name === "auto") return ConfChangeTransition.Auto;
  if (name === "implicit") return ConfChangeTransition.JointImplicit;
  if (name === "explicit") return ConfChangeTransition.JointExplicit;
  throw new ScenarioError(`line ${d.line}: unknown transition ${name}`);
}
