/**
 * Counters, gauges and histograms, and their Prometheus text form (exposition format 0.0.4).
 *
 * On the paths that count, a metric is a number in an object: no label lookup, no string, no promise. Whoever counts
 * keeps the series it asked for once; text is made only when somebody scrapes. Values that a room already keeps (queue
 * lengths, indexes, sizes) are read at scrape time through a sampled gauge instead of being pushed.
 */
export class Counter {
  value = 0;
  add(by = 1): void {
    this.value += by;
  }
}

export class Gauge {
  value = 0;
  set(value: number): void {
    this.value = value;
  }
}

export class Histogram {
  readonly bounds: readonly number[];
  /** Per bound, plus one for everything above; not cumulative. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let i = 0;
    while (i < this.bounds.length && value > this.bounds[i]!) i++;
    this.counts[i]!++;
    this.sum += value;
  }
}

/** n upper bounds: first, first·factor, first·factor², ... */
export function exponentialBounds(first: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first * factor ** i);
}

type Labels = Readonly<Record<string, string>>;
type Series = Counter | Gauge | Histogram | (() => number);
/** All series of a family, as of now. */
type ReadFamily = () => readonly (readonly [Labels, number])[];
type Kind = "counter" | "gauge" | "histogram";

interface Family {
  readonly name: string;
  readonly help: string;
  readonly kind: Kind;
  readonly series: { readonly labels: string; readonly series: Series }[];
  /** null: none but these. */
  readonly read: ReadFamily | null;
}

export class MetricsRegistry {
  readonly #families = new Map<string, Family>();

  counter(name: string, help: string, labels: Labels = {}): Counter {
    return this.#add(name, help, "counter", labels, new Counter());
  }
  gauge(name: string, help: string, labels: Labels = {}): Gauge {
    return this.#add(name, help, "gauge", labels, new Gauge());
  }
  histogram(name: string, help: string, bounds: readonly number[], labels: Labels = {}): Histogram {
    return this.#add(name, help, "histogram", labels, new Histogram(bounds));
  }
  /** A value somebody already keeps, read when scraped. */
  sampled(kind: "counter" | "gauge", name: string, help: string, read: () => number, labels: Labels = {}): void {
    this.#add(name, help, kind, labels, read);
  }

  /** As {@link sampled}, for a family whose series come and go. Once for each name. */
  sampledFamily(kind: "counter" | "gauge", name: string, help: string, read: ReadFamily): void {
    this.#families.set(name, { name, help, kind, series: [], read });
  }

  /** The text of `/metrics`, families in name order. */
  render(): string {
    let text = "";
    for (const family of [...this.#families.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
      text += `# HELP ${family.name} ${family.help}\n# TYPE ${family.name} ${family.kind}\n`;
      for (const { labels, series } of family.series) text += seriesText(family.name, labels, series);
      for (const [labels, value] of family.read?.() ?? []) {
        text += `${family.name}${braced(labelsText(labels))} ${value}\n`;
      }
    }
    return text;
  }

  #add<T extends Series>(name: string, help: string, kind: Kind, labels: Labels, series: T): T {
    let family = this.#families.get(name);
    if (family === undefined) {
      family = { name, help, kind, series: [], read: null };
      this.#families.set(name, family);
    }
    family.series.push({ labels: labelsText(labels), series });
    return series;
  }
}

function seriesText(name: string, labels: string, series: Series): string {
  if (typeof series === "function") return `${name}${braced(labels)} ${series()}\n`;
  if (!(series instanceof Histogram)) return `${name}${braced(labels)} ${series.value}\n`;
  let text = "";
  let cumulative = 0;
  const prefix = labels === "" ? "" : `${labels},`;
  for (let i = 0; i < series.counts.length; i++) {
    cumulative += series.counts[i]!;
    const bound = i < series.bounds.length ? String(series.bounds[i]) : "+Inf";
    text += `${name}_bucket{${prefix}le="${bound}"} ${cumulative}\n`;
  }
  return `${text}${name}_sum${braced(labels)} ${series.sum}\n${name}_count${braced(labels)} ${cumulative}\n`;
}

function braced(labels: string): string {
  return labels === "" ? "" : `{${labels}}`;
}

function labelsText(labels: Labels): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`))}"`)
    .join(",");
}
