/**
 * From `:path` to method: an exact match in a fixed table, nothing else is ever a method (GR-02). What is not found is
 * described as grpc-go describes it.
 */
import { assert } from "@quorate/world";
import { quoted } from "../grpc/timeout.ts";
import type { Method } from "./method.ts";

/** What a path leads to: a method, or the text of an UNIMPLEMENTED. */
export class Route {
  readonly path: string;
  readonly method: Method | null;
  readonly problem: string;
  constructor(path: string, method: Method | null, problem: string) {
    this.path = path;
    this.method = method;
    this.problem = problem;
  }
}

export class Router {
  readonly #routes: Map<string, Route> = new Map();
  readonly #services: Set<string> = new Set();

  constructor(methods: ReadonlyMap<string, Method>) {
    for (const [path, method] of methods) {
      assert(/^\/[^/]+\/[^/]+$/.test(path), "a method's path is /package.Service/Method");
      this.#routes.set(path, new Route(path, method, ""));
      this.#services.add(path.slice(1, path.lastIndexOf("/")));
    }
  }

  resolve(path: string): Route {
    return this.#routes.get(path) ?? new Route(path, null, this.#problem(path));
  }

  #problem(path: string): string {
    const slash = path.lastIndexOf("/");
    if (!path.startsWith("/") || slash === 0) return `malformed method name: ${quoted(path)}`;
    const service = path.slice(1, slash);
    if (!this.#services.has(service)) return `unknown service ${service}`;
    return `unknown method ${path.slice(slash + 1)} for service ${service}`;
  }
}
