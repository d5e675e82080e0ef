/**
 * --feature-gates: "A=true,B=false", with etcd's names, defaults and texts. A gate whose effect does not exist here keeps
 * its default: silence about anything else would be a lie.
 */
interface Gate {
  readonly stage: "alpha" | "beta";
  readonly isOnByDefault: boolean;
  /** `fixed`: there is no such effect yet, only the default is taken. `inert`: nothing here for it to change. */
  readonly support: "built" | "fixed" | "inert";
}

export type GateName =
  | "TxnModeWriteWithSharedBuffer"
  | "FastLeaseKeepAlive"
  | "StopGRPCServiceOnDefrag"
  | "InitialCorruptCheck"
  | "CompactHashCheck"
  | "LeaseCheckpoint"
  | "LeaseCheckpointPersist"
  | "SetMemberLocalAddr"
  | "PriorityRequest";

const GATES: Readonly<Record<GateName, Gate>> = {
  /** A detail of etcd's storage. */
  TxnModeWriteWithSharedBuffer: { stage: "beta", isOnByDefault: true, support: "inert" },
  FastLeaseKeepAlive: { stage: "beta", isOnByDefault: true, support: "built" },
  StopGRPCServiceOnDefrag: { stage: "alpha", isOnByDefault: false, support: "fixed" },
  InitialCorruptCheck: { stage: "alpha", isOnByDefault: false, support: "built" },
  CompactHashCheck: { stage: "alpha", isOnByDefault: false, support: "built" },
  LeaseCheckpoint: { stage: "alpha", isOnByDefault: false, support: "built" },
  /** From cluster version 3.6 on checkpoints are persisted anyway. */
  LeaseCheckpointPersist: { stage: "alpha", isOnByDefault: false, support: "inert" },
  SetMemberLocalAddr: { stage: "alpha", isOnByDefault: false, support: "fixed" },
  PriorityRequest: { stage: "alpha", isOnByDefault: false, support: "fixed" },
};

export type FeatureGates = Readonly<Record<GateName, boolean>>;

const STAGES: Readonly<Record<string, Gate["stage"]>> = { AllAlpha: "alpha", AllBeta: "beta" };
const NAMES = Object.keys(GATES) as GateName[];

export class InvalidFeatureGate extends Error {
  readonly kind = "InvalidFeatureGate";
}

/** Throws {@link InvalidFeatureGate} with etcd's text. */
export function parseFeatureGates(text: string): FeatureGates {
  const given = givenIn(text);
  const gates = {} as Record<GateName, boolean>;
  for (const name of NAMES) {
    const { stage, isOnByDefault } = GATES[name];
    const ofStage = Object.keys(STAGES).find((each) => STAGES[each] === stage)!;
    gates[name] = given.get(name) ?? given.get(ofStage) ?? isOnByDefault;
  }
  return gates;
}

/** Why gates that are well-formed cannot be had together, or here; null if they can. */
export function featureGatesProblem(gates: FeatureGates): string | null {
  if (gates.LeaseCheckpointPersist && !gates.LeaseCheckpoint) {
    return "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint";
  }
  const unbuilt = NAMES.find((name) => GATES[name].support === "fixed" && gates[name] !== GATES[name].isOnByDefault);
  return unbuilt === undefined ? null : `feature gate ${unbuilt} is not supported by this version of quorate`;
}

function givenIn(text: string): ReadonlyMap<string, boolean> {
  const given = new Map<string, boolean>();
  for (const part of text.split(",")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = (equals < 0 ? part : part.slice(0, equals)).trim();
    if (equals < 0) throw new InvalidFeatureGate(`missing bool value for ${name}`);
    given.set(name, truthOf(name, part.slice(equals + 1).trim()));
  }
  for (const name of given.keys()) {
    if (!Object.hasOwn(GATES, name) && !Object.hasOwn(STAGES, name)) {
      throw new InvalidFeatureGate(`unrecognized feature gate: ${name}`);
    }
  }
  return given;
}

function truthOf(name: string, value: string): boolean {
  if (/^(1|t|T|true|TRUE|True)$/.test(value)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(value)) return false;
  const problem = `strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`;
  throw new InvalidFeatureGate(`invalid value of ${name}=${value}, err: ${problem}`);
}
