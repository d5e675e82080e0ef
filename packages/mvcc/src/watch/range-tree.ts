/**
 * Which of many ranges contain a key: an AVL tree ordered by (start, end) in which every node also knows the greatest
 * end below it, so that a search turns away from subtrees that end too early. O(log n) to change, O(log n + hits) to ask.
 *
 *              [c, m)  max z
 *             ╱            ╲
 *     [a, d) max f      [k, z) max z          key e: not left of [c, m)'s left child (its max is f > e, so yes),
 *           ╲                                        and right only where starts are ≤ e
 *          [b, f)
 *
 * An end of null is no bound and greater than every other. Ranges are unique; each carries one value.
 */

import { compareKey } from "./key-bytes.ts";

class Node<Value> {
  readonly start: Uint8Array;
  readonly end: Uint8Array | null;
  value: Value;
  left: Node<Value> | null = null;
  right: Node<Value> | null = null;
  height = 1;
  maxEnd: Uint8Array | null;

  constructor(start: Uint8Array, end: Uint8Array | null, value: Value) {
    this.start = start;
    this.end = end;
    this.value = value;
    this.maxEnd = end;
  }
}

export class RangeTree<Value> {
  #root: Node<Value> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(start: Uint8Array, end: Uint8Array | null): Value | undefined {
    let node = this.#root;
    while (node !== null) {
      const order = compareRanges(start, end, node);
      if (order === 0) return node.value;
      node = order < 0 ? node.left : node.right;
    }
    return undefined;
  }

  /** Adds the range or replaces its value. Keeps `start` and `end`: they must not change. */
  set(start: Uint8Array, end: Uint8Array | null, value: Value): void {
    this.#root = this.#insert(this.#root, start, end, value);
  }

  /** Removing an absent range changes nothing. */
  remove(start: Uint8Array, end: Uint8Array | null): void {
    this.#root = this.#removeFrom(this.#root, start, end);
  }

  /** Appends the values of all ranges that contain the key, ascending by (start, end). */
  stab(buffer: Uint8Array, keyStart: number, keyEnd: number, into: Value[]): void {
    if (this.#root !== null) stab(this.#root, buffer, keyStart, keyEnd, into);
  }

  /** Of the tree, for its tests; 0 when empty. */
  get height(): number {
    return this.#root?.height ?? 0;
  }

  #insert(node: Node<Value> | null, start: Uint8Array, end: Uint8Array | null, value: Value): Node<Value> {
    if (node === null) {
      this.#size++;
      return new Node(start, end, value);
    }
    const order = compareRanges(start, end, node);
    if (order === 0) {
      node.value = value;
      return node;
    }
    if (order < 0) node.left = this.#insert(node.left, start, end, value);
    else node.right = this.#insert(node.right, start, end, value);
    return balanced(node);
  }

  #removeFrom(node: Node<Value> | null, start: Uint8Array, end: Uint8Array | null): Node<Value> | null {
    if (node === null) return null;
    const order = compareRanges(start, end, node);
    if (order < 0) {
      node.left = this.#removeFrom(node.left, start, end);
      return balanced(node);
    }
    if (order > 0) {
      node.right = this.#removeFrom(node.right, start, end);
      return balanced(node);
    }
    this.#size--;
    if (node.left === null) return node.right;
    if (node.right === null) return node.left;
    const successor = first(node.right);
    successor.right = withoutFirst(node.right);
    successor.left = node.left;
    return balanced(successor);
  }
}

function stab<Value>(from: Node<Value>, buffer: Uint8Array, keyStart: number, keyEnd: number, into: Value[]): void {
  let node: Node<Value> | null = from;
  while (node !== null) {
    if (node.maxEnd !== null && compareKey(buffer, keyStart, keyEnd, node.maxEnd) >= 0) return;
    if (node.left !== null) stab(node.left, buffer, keyStart, keyEnd, into);
    if (compareKey(buffer, keyStart, keyEnd, node.start) < 0) return;
    if (node.end === null || compareKey(buffer, keyStart, keyEnd, node.end) < 0) into.push(node.value);
    node = node.right;
  }
}

function compareRanges<Value>(start: Uint8Array, end: Uint8Array | null, node: Node<Value>): number {
  return compareKey(start, 0, start.length, node.start) || compareEnds(end, node.end);
}

function compareEnds(a: Uint8Array | null, b: Uint8Array | null): number {
  if (a === null) return b === null ? 0 : 1;
  return b === null ? -1 : compareKey(a, 0, a.length, b);
}

function first<Value>(from: Node<Value>): Node<Value> {
  let node = from;
  while (node.left !== null) node = node.left;
  return node;
}

function withoutFirst<Value>(node: Node<Value>): Node<Value> | null {
  if (node.left === null) return node.right;
  node.left = withoutFirst(node.left);
  return balanced(node);
}

function heightOf<Value>(node: Node<Value> | null): number {
  return node === null ? 0 : node.height;
}

/** The root of the same ranges with children's heights at most one apart, given that they are at most two apart. */
function balanced<Value>(node: Node<Value>): Node<Value> {
  const lean = heightOf(node.left) - heightOf(node.right);
  if (lean > 1) {
    const left = node.left!;
    if (heightOf(left.left) < heightOf(left.right)) node.left = rotatedLeft(left);
    return rotatedRight(node);
  }
  if (lean < -1) {
    const right = node.right!;
    if (heightOf(right.right) < heightOf(right.left)) node.right = rotatedRight(right);
    return rotatedLeft(node);
  }
  refresh(node);
  return node;
}

function rotatedLeft<Value>(node: Node<Value>): Node<Value> {
  const top = node.right!;
  node.right = top.left;
  top.left = node;
  refresh(node);
  refresh(top);
  return top;
}

function rotatedRight<Value>(node: Node<Value>): Node<Value> {
  const top = node.left!;
  node.left = top.right;
  top.right = node;
  refresh(node);
  refresh(top);
  return top;
}

function refresh<Value>(node: Node<Value>): void {
  const { left, right } = node;
  node.height = 1 + Math.max(heightOf(left), heightOf(right));
  let maxEnd = node.end;
  if (left !== null && compareEnds(left.maxEnd, maxEnd) > 0) maxEnd = left.maxEnd;
  if (right !== null && compareEnds(right.maxEnd, maxEnd) > 0) maxEnd = right.maxEnd;
  node.maxEnd = maxEnd;
}
