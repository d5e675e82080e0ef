import assert from "node:assert/strict";
import { test } from "node:test";
import { exponentialBounds, MetricsRegistry } from "./exposition.ts";

test("families are rendered in name order with HELP and TYPE", () => {
  const registry = new MetricsRegistry();
  registry.sampled("gauge", "b", "Sampled.", () => 2.5);
  registry.counter("a_total", "Counted.", { code: 'x"\\\n' }).add(3);
  assert.equal(
    registry.render(),
    '# HELP a_total Counted.\n# TYPE a_total counter\na_total{code="x\\"\\\\\\n"} 3\n' +
      "# HELP b Sampled.\n# TYPE b gauge\nb 2.5\n",
  );
});

test("a family that is read whole shows the series there are", () => {
  const registry = new MetricsRegistry();
  let of: readonly string[] = ["a", "b"];
  registry.sampledFamily("gauge", "g", "G.", () => of.map((name, i) => [{ name }, i]));
  assert.equal(registry.render(), '# HELP g G.\n# TYPE g gauge\ng{name="a"} 0\ng{name="b"} 1\n');
  of = [];
  assert.equal(registry.render(), "# HELP g G.\n# TYPE g gauge\n");
});

test("a histogram's buckets are cumulative and include their bound", () => {
  const registry = new MetricsRegistry();
  const histogram = registry.histogram("h", "H.", [1, 2], { k: "v" });
  for (const value of [0.5, 1, 1.5, 9]) histogram.observe(value);
  assert.equal(
    registry.render(),
    '# HELP h H.\n# TYPE h histogram\nh_bucket{k="v",le="1"} 2\nh_bucket{k="v",le="2"} 3\n' +
      'h_bucket{k="v",le="+Inf"} 4\nh_sum{k="v"} 12\nh_count{k="v"} 4\n',
  );
});

test("exponential bounds start at the first and grow by the factor", () => {
  assert.deepEqual(exponentialBounds(1, 2, 4), [1, 2, 4, 8]);
});
