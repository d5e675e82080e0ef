/** The server as others start it: the CLI, and tests that run a member in their own process. */
export { serve } from "./serve.ts";
