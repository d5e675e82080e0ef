/** A whole cluster in one thread, from one seed; and the checks of what its clients were told. */
export * from "./linearizability/index.ts";
