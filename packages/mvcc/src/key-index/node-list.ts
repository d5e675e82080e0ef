/** A growable list of nodes, kept by the caller and reused: a range answer is collected without an object per key. */
export class NodeList {
  /** Entries at and beyond `length` mean nothing. Replaced when it grows. */
  nodes: Uint32Array;
  length = 0;

  constructor(capacity = 64) {
    this.nodes = new Uint32Array(Math.max(1, capacity));
  }

  push(node: number): void {
    if (this.length === this.nodes.length) this.#grow();
    this.nodes[this.length] = node;
    this.length++;
  }

  clear(): void {
    this.length = 0;
  }

  #grow(): void {
    const grown = new Uint32Array(this.nodes.length * 2);
    grown.set(this.nodes);
    this.nodes = grown;
  }
}
