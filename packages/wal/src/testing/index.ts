/** What tests and the simulator share: a disk that forgets, chance with a seed, and the suite that every disk passes. */
export { type DiskUnderTest, diskSuite } from "./disk-suite.ts";
export { SeededRandom } from "./seeded-random.ts";
export { SimDisk, type SimDiskCall, type SimDiskOptions, systemError } from "./sim-disk.ts";
