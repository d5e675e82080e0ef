/** A whole cluster in one thread, from one seed; and the checks of what its clients were told. */
export * from "./linearizability/index.ts";
export { FAULT_KINDS, type FaultKind, type Scenario, type ScenarioOverrides } from "./scenario.ts";
export { type SimOptions, type SimResult, simulate } from "./sim-cluster.ts";
export { Violation } from "./violation.ts";
