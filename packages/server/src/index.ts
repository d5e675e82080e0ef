/** The server as others start it: the CLI, and tests that run a member in their own process. */
export type { ServerObservers } from "./observers.ts";
export type { PeerObserver, PeerRequest } from "./peers/peer-observer.ts";
export { serve } from "./serve.ts";
