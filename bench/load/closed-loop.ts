/**
 * The closed loop: so many connections, so many unary calls in flight on each; an answer starts the next call. Run for a
 * time, counted after a warm-up. A failed call ends the run, because a figure with errors in it means nothing, unless
 * failures are what is measured.
 */

import { LoadConnection, type StreamSink } from "./h2-connection.ts";
import { LatencyHistogram } from "./histogram.ts";

export interface ClosedLoopOptions {
  /** Several: the connections are dealt out to them in turn. */
  readonly port: number | readonly number[];
  readonly connections: number;
  readonly inFlight: number;
  readonly warmupMs: number;
  readonly measureMs: number;
  /** Called when measuring starts; measuring goes on until this has resolved too. */
  readonly meanwhile?: () => Promise<void>;
  /** Default false. */
  readonly isTls?: boolean;
  /** Presented with every call. Default: none. */
  readonly token?: string;
  /** Calls that fail are counted instead of ending the run; default false. */
  readonly toleratesFailures?: boolean;
  /** Stop after so many calls instead of after a time. */
  readonly total?: number;
  /** The next request; called once per call. The buffer is copied before return. */
  next(): { path: string; message: Buffer };
}

export interface LoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly longestMs: number;
  readonly calls: number;
  /** Of those; 0 unless they are tolerated. */
  readonly failures: number;
}

class Worker implements StreamSink {
  connection!: LoadConnection;
  readonly #run: Run;
  readonly #startedMs = new Map<number, number>();

  constructor(run: Run) {
    this.#run = run;
  }

  get isBusy(): boolean {
    return this.#startedMs.size > 0;
  }

  begin(): void {
    if (!this.#run.admitsOne()) return;
    const { path, message } = this.#run.options.next();
    this.#startedMs.set(this.connection.call(path, message, true), performance.now());
  }

  data(): void {}

  ended(streamId: number, hadData: boolean): void {
    const startedMs = this.#startedMs.get(streamId)!;
    this.#startedMs.delete(streamId);
    this.#run.finished(startedMs, hadData);
    if (!this.#run.isOver) this.begin();
  }
}

class Run {
  readonly options: ClosedLoopOptions;
  readonly histogram = new LatencyHistogram();
  isOver = false;
  isMeasuring = false;
  failure: Error | null = null;
  failures = 0;
  #begun = 0;

  constructor(options: ClosedLoopOptions) {
    this.options = options;
  }

  /** Whether another call may begin. */
  admitsOne(): boolean {
    return ++this.#begun <= (this.options.total ?? Number.POSITIVE_INFINITY);
  }

  finished(startedMs: number, hadData: boolean): void {
    if (!hadData && !this.isOver) {
      if (this.options.toleratesFailures === true) this.failures++;
      else this.failure ??= new Error("a call was answered with an error");
    }
    if (this.isMeasuring) this.histogram.addMs(performance.now() - startedMs);
  }
}

/** Throws if a call fails. `atStart` and `atEnd` bracket the measured time: read the server's CPU there. */
export async function closedLoop(
  options: ClosedLoopOptions,
  atStart: () => void = () => {},
  atEnd: () => void = () => {},
): Promise<LoadResult> {
  const run = new Run(options);
  const workers: Worker[] = [];
  const ports = typeof options.port === "number" ? [options.port] : options.port;
  for (let i = 0; i < options.connections; i++) {
    const worker = new Worker(run);
    worker.connection = await LoadConnection.open(ports[i % ports.length]!, worker, options.isTls, options.token);
    workers.push(worker);
  }
  for (const worker of workers) {
    for (let i = 0; i < options.inFlight; i++) worker.begin();
    worker.connection.flush();
  }
  if (options.total !== undefined) {
    while (workers.some((worker) => worker.isBusy)) await sleep(5);
  }
  await sleep(options.warmupMs);
  atStart();
  run.isMeasuring = true;
  const startedMs = performance.now();
  await Promise.all([sleep(options.measureMs), options.meanwhile?.()]);
  run.isMeasuring = false;
  const tookMs = performance.now() - startedMs;
  atEnd();
  run.isOver = true;
  for (let waits = 0; waits < 500 && workers.some((worker) => worker.isBusy); waits++) await sleep(10);
  for (const worker of workers) worker.connection.close();
  if (run.failure !== null) throw run.failure;
  return {
    perSecond: (run.histogram.total / tookMs) * 1000,
    p50Ms: run.histogram.quantileMs(0.5),
    p99Ms: run.histogram.quantileMs(0.99),
    p999Ms: run.histogram.quantileMs(0.999),
    longestMs: run.histogram.longestMs,
    calls: run.histogram.total,
    failures: run.failures,
  };
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
