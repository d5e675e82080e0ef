/** What the metrics read of a member; each is counted by the part of the member where it happens. */
export class MemberCounters {
  leaderChanges = 0;
  proposalsFailed = 0;
  leasesExpired = 0;
  slowApplies = 0;
  watchEvents = 0;
  /** Called with each durable write of the log and each flush, in milliseconds. */
  onLogSaved: ((tookMs: number) => void) | null = null;
  onFlushed: ((tookMs: number) => void) | null = null;
}
