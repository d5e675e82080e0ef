/**
 * What etcd answers about a range that holds no key, because it ends where it begins or before: `delete b..a` is a request
 * that an entry of the log may carry, and members that decide otherwise than etcd's would apply it otherwise. There is no
 * right answer; etcd's comes from walking its tree of grants with such a range, so it depends on the shape of the tree.
 * Hence this is one of the same shape: a red-black tree, balanced bottom-up (CLRS, 3rd ed., 13.3), whose nodes know the
 * last end below them, filled role by role in the order in which a role keeps its permissions (etcd 3.7, pkg/adt).
 *
 *                  [c,e) last e                 asked for [d,b): is right of whatever ends by d; meets what holds d;
 *                 ╱            ╲                is left of nothing, for its own end comes too early
 *      [a,b) last b         [d,\0) last null
 *
 * Ordinary ranges get the same answers from {@link Intervals}, quicker. Made by it when first needed, which is hardly ever.
 */
import { compareBytes } from "@quorate/world";

/** [begin, end) by bytes; null as an end, and as the beginning of what etcd calls affine: behind all keys. */
export interface Span {
  readonly begin: Uint8Array | null;
  readonly end: Uint8Array | null;
}

interface Node extends Span {
  /** The latest end of this and everything below. */
  last: Uint8Array | null;
  left: Node | null;
  right: Node | null;
  isRed: boolean;
}

export class GrantTree {
  #root: Node | null = null;

  /** The order matters. Keeps the bytes. */
  constructor(grants: readonly Span[]) {
    for (const { begin, end } of grants) {
      this.#root = inserted(this.#root, { begin, end, last: end, left: null, right: null, isRed: true });
      this.#root.isRed = false;
    }
  }

  /** Whether the grants that etcd finds for the range join up and reach from its beginning to its end. */
  covers(asked: Span): boolean {
    let first: Span | null = null;
    let end: Uint8Array | null = null;
    const joinsUp = visit(this.#root, asked, (grant) => {
      if (first === null) {
        first = grant;
        end = grant.end;
        return true;
      }
      if (compareEnds(end, grant.begin) < 0) return false;
      if (compareEnds(grant.end, end) > 0) end = grant.end;
      return true;
    });
    if (first === null || !joinsUp) return false;
    return compareEnds(end, asked.end) >= 0 && compareEnds((first as Span).begin, asked.begin) <= 0;
  }
}

/** Asks `see` about the grants that the walk meets, in order, until it says no; false then. */
function visit(node: Node | null, asked: Span, see: (grant: Span) => boolean): boolean {
  if (node === null) return true;
  const side = sideOf(asked, node);
  if (side < 0) return visit(node.left, asked, see);
  if (side > 0) {
    if (sideOf({ begin: node.begin, end: node.last }, asked) !== 0) return true;
    return visit(node.left, asked, see) && visit(node.right, asked, see);
  }
  return visit(node.left, asked, see) && see(node) && visit(node.right, asked, see);
}

/** -1: `a` is left of `b`; 1: right of it; 0: neither, which between ordinary ranges means that they overlap. */
function sideOf(a: Span, b: Span): -1 | 0 | 1 {
  if (compareEnds(a.begin, b.begin) < 0 && compareEnds(a.end, b.begin) <= 0) return -1;
  return compareEnds(a.begin, b.end) >= 0 ? 1 : 0;
}

function inserted(node: Node | null, added: Node): Node {
  if (node === null) return added;
  if (isBefore(added, node)) node.left = inserted(node.left, added);
  else node.right = inserted(node.right, added);
  return balanced(node);
}

/** Equals go behind one another. */
function isBefore(a: Span, b: Span): boolean {
  return (compareEnds(a.begin, b.begin) || compareEnds(a.end, b.end)) < 0;
}

/** The subtree without two red nodes in a row below its top, which is black if there were. */
function balanced(node: Node): Node {
  const { left, right } = node;
  const isLeftWrong = left?.isRed === true && (isRed(left.left) || isRed(left.right));
  const isRightWrong = right?.isRed === true && (isRed(right.left) || isRed(right.right));
  if (!isLeftWrong && !isRightWrong) return measured(node);
  if (isRed(left) && isRed(right)) {
    left!.isRed = false;
    right!.isRed = false;
    node.isRed = true;
    return measured(node);
  }
  node.isRed = true;
  let top: Node;
  if (isLeftWrong) {
    if (isRed(left.right)) node.left = turnedLeft(left);
    top = turnedRight(node);
  } else {
    if (isRed(right!.left)) node.right = turnedRight(right!);
    top = turnedLeft(node);
  }
  top.isRed = false;
  return top;
}

/** Its right child takes its place. */
function turnedLeft(node: Node): Node {
  const top = node.right!;
  node.right = top.left;
  top.left = measured(node);
  return measured(top);
}

/** Its left child takes its place. */
function turnedRight(node: Node): Node {
  const top = node.left!;
  node.left = top.right;
  top.right = measured(node);
  return measured(top);
}

function measured(node: Node): Node {
  node.last = node.end;
  for (const child of [node.left, node.right]) {
    if (child !== null && compareEnds(child.last, node.last) > 0) node.last = child.last;
  }
  return node;
}

function isRed(node: Node | null): boolean {
  return node?.isRed === true;
}

function compareEnds(a: Uint8Array | null, b: Uint8Array | null): number {
  if (a === null || b === null) return (a === null ? 1 : 0) - (b === null ? 1 : 0);
  return compareBytes(a, 0, a.length, b, 0, b.length);
}
