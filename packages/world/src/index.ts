/**
 * The ground floor: the outside world as interfaces, `assert`, and the order of bytes. Every room takes what it needs of
 * the world as constructor arguments, so that the simulator can run the real code on a simulated world. Imports nothing.
 */
export { assert, BrokenInvariant } from "./assert.ts";
export { compareBytes } from "./byte-order.ts";
export type { Clock, Random, Timer, Timers } from "./clock.ts";
export type { Disk, DiskFile } from "./disk.ts";
export type { Log, LogFields, LogLevel } from "./log.ts";
export { silentLog } from "./log.ts";
