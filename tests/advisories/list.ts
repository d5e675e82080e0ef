/**
 * The security advisories published for etcd, by the number that `covers:` marks use. Each one has a test here that is named
 * after it and holds us to the rule that would have prevented it; complete.test.ts sees to that.
 */
import { it, type TestContext, type TestOptions } from "node:test";

export const ADVISORIES = {
  "SA-01": "CVE-2018-1098 GHSA-5gjm-fj42-x983",
  "SA-02": "CVE-2018-1099 GHSA-wf43-55jj-vwq8",
  "SA-03": "CVE-2018-16886 GHSA-h6xx-pmxh-3wgp",
  "SA-04": "CVE-2020-15106 GHSA-p4g4-wgrh-qrg2",
  "SA-05": "CVE-2020-15112 GHSA-m332-53r6-2w93",
  "SA-06": "CVE-2020-15113 GHSA-chh6-ppwq-jh92",
  "SA-07": "CVE-2020-15114 GHSA-2xhq-gv6c-p224",
  "SA-08": "CVE-2020-15115 GHSA-4993-m7g5-r9hh",
  "SA-09": "CVE-2020-15136 GHSA-wr2v-9rpq-c35q",
  "SA-10": "GHSA-j86v-2vjr-fg8f",
  "SA-11": "GHSA-h8g9-6gvh-5mrc",
  "SA-12": "GHSA-528j-9r78-wffx",
  "SA-13": "GHSA-9gp7-6833-wv89",
  "SA-14": "GHSA-pm3m-32r3-7mfh",
  "SA-15": "GHSA-vjg6-93fv-qv64",
  "SA-16": "GHSA-5x4g-q5rc-36jp",
  "SA-17": "CVE-2021-28235",
  "SA-18": "CVE-2022-34038",
  "SA-19": "CVE-2023-32082 GHSA-3p4g-rcw5-8298",
  "SA-20": "CVE-2026-33413 GHSA-q8m4-xhhv-38mg",
  "SA-21": "CVE-2026-33343 GHSA-rfx7-8w68-q57q",
  "SA-22": "CVE-2026-44283 GHSA-x35m-3gp4-4fh5",
  "SA-23": "GHSA-3wh4-j44w-pg92",
  "SA-24": "CVE-2026-73500 GHSA-6vch-q96h-7gc3",
  "SA-25": "CVE-2026-73499 GHSA-xg4h-6gfc-h4m8",
  "SA-26": "CVE-2026-33817 GHSA-6jwv-w5xf-7j27",
} as const;
export type Advisory = keyof typeof ADVISORIES;

/** What came to etcd through its libraries and would come to us through our own code: where the rule has its test. */
export const LIBRARY_ADVISORIES: Readonly<Record<string, readonly [file: string, mark: string]>> = {
  "CVE-2023-44487": ["packages/rpc/src/server/attacks.test.ts", "H2-01"],
  "CVE-2023-39325": ["packages/rpc/src/server/attacks.test.ts", "H2-01"],
  "CVE-2023-45288": ["packages/rpc/src/server/attacks.test.ts", "H2-03"],
  "CVE-2026-33186": ["packages/rpc/src/server/attacks.test.ts", "GR-02"],
  "CVE-2026-27141": ["packages/rpc/src/server/attacks.test.ts", "H2-20"],
  "CVE-2026-33814": ["packages/rpc/src/server/attacks.test.ts", "H2-09"],
  "CVE-2026-21714": ["packages/rpc/src/server/attacks.test.ts", "H2-14"],
  "CVE-2024-37168": ["packages/rpc/src/server/attacks.test.ts", "GR-01"],
  "CVE-2026-48069": ["packages/rpc/src/server/attacks.test.ts", "GR-01"],
  "CVE-2026-48068": ["packages/rpc/src/fuzz.test.ts", "H2-20"],
};

/** Those that nothing here can have, and why. */
export const NOT_APPLICABLE: Readonly<Record<string, string>> = {
  "CVE-2024-24786": "an endless loop of Go's protobuf-JSON decoder; ours parses JSON with the engine's own parser",
  "CVE-2025-30204":
    "memory for a JWT's header in a Go library; a token's length is bounded by the list of headers (H2-04)",
};

/** A test named after an advisory: `claim` is what holds here. */
export function advisory(
  id: Advisory,
  claim: string,
  test: (context: TestContext) => Promise<void> | void,
  options: TestOptions = {},
): void {
  void it(`${ADVISORIES[id].replaceAll(" ", ", ")} (${id}): ${claim}`, options, test);
}
