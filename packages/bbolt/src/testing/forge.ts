/** Files put together page by page, for what no writer writes. */
import { Buffer } from "node:buffer";
import {
  BUCKET_FLAG,
  PageFlag as Flag,
  type PageFlag,
  viewOf,
  writeMeta,
  writePageHeader,
  writeUint64,
} from "../page.ts";
import { MemoryFile } from "./files.ts";

export interface ForgedMeta {
  root?: number;
  freelist?: number | null;
  pageCount?: number;
  pageBytes?: number;
  txid?: bigint;
}

export class Forge {
  readonly pageBytes: number;
  readonly #pages: Buffer[] = [];

  constructor(pageBytes = 4096) {
    this.pageBytes = pageBytes;
  }

  get nextPage(): number {
    return 2 + this.#pages.length;
  }

  /** Adds a page; returns its id. `header` overrides what it says of itself. */
  page(
    flag: PageFlag,
    elements: readonly Buffer[],
    count: number,
    header: { id?: number; count?: number; overflow?: number; flag?: number } = {},
  ): number {
    const id = this.nextPage;
    const content = Buffer.concat(elements);
    const pages = Math.ceil((16 + content.length) / this.pageBytes);
    const bytes = Buffer.alloc(pages * this.pageBytes);
    writePageHeader(viewOf(bytes), 0, { id, flag, count, overflow: pages - 1, ...(header as object) });
    content.copy(bytes, 16);
    for (let i = 0; i < pages; i++) this.#pages.push(bytes.subarray(i * this.pageBytes, (i + 1) * this.pageBytes));
    return id;
  }

  leaf(pairs: readonly LeafPair[], header: Parameters<Forge["page"]>[3] = {}): number {
    return this.page(Flag.leaf, [leafContent(pairs)], pairs.length, header);
  }

  branch(
    children: readonly (readonly [key: string, child: number])[],
    header: Parameters<Forge["page"]>[3] = {},
  ): number {
    const elements = Buffer.alloc(children.length * 16);
    const view = viewOf(elements);
    let dataAt = elements.length;
    children.forEach(([key, child], i) => {
      view.setUint32(i * 16, dataAt - i * 16, true);
      view.setUint32(i * 16 + 4, key.length, true);
      writeUint64(view, i * 16 + 8, child);
      dataAt += key.length;
    });
    return this.page(
      Flag.branch,
      [elements, Buffer.from(children.map(([key]) => key).join(""))],
      children.length,
      header,
    );
  }

  freelist(ids: readonly number[], count: number = ids.length): number {
    const content = Buffer.alloc(ids.length * 8);
    ids.forEach((id, i) => {
      writeUint64(viewOf(content), i * 8, id);
    });
    return this.page(Flag.freelist, [content], count);
  }

  /** The file; its two metas say the same but for what is overridden in each. */
  file(root: number, first: ForgedMeta = {}, second: ForgedMeta = {}): MemoryFile {
    const metas = Buffer.alloc(2 * this.pageBytes);
    const { pageBytes, nextPage: pageCount } = this;
    const meta = { root, freelist: null, pageCount, pageBytes, txid: 4n };
    writeMeta(viewOf(metas), 0, 0, { ...meta, ...first });
    writeMeta(viewOf(metas), pageBytes, 1, { ...meta, txid: 5n, ...first, ...second });
    return new MemoryFile(Buffer.concat([metas, ...this.#pages]));
  }
}

/** A pair, or with a page number instead of a value a bucket there, or with pairs an inline one. */
export type LeafPair = readonly [key: string, value: string | number | readonly LeafPair[]];

/** The file whose one bucket "b" starts at `root`. */
export function oneBucket(forge: Forge, root: number): MemoryFile {
  return forge.file(forge.leaf([["b", root]]));
}

function leafContent(pairs: readonly LeafPair[]): Buffer {
  const elements = Buffer.alloc(pairs.length * 16);
  const view = viewOf(elements);
  const data: Buffer[] = [];
  let dataAt = elements.length;
  pairs.forEach(([key, value], i) => {
    const bytes = valueBytes(value);
    view.setUint32(i * 16, typeof value === "string" ? 0 : BUCKET_FLAG, true);
    view.setUint32(i * 16 + 4, dataAt - i * 16, true);
    view.setUint32(i * 16 + 8, key.length, true);
    view.setUint32(i * 16 + 12, bytes.length, true);
    data.push(Buffer.from(key), bytes);
    dataAt += key.length + bytes.length;
  });
  return Buffer.concat([elements, ...data]);
}

function valueBytes(value: LeafPair[1]): Buffer {
  if (typeof value === "string") return Buffer.from(value);
  const header = Buffer.alloc(16);
  if (typeof value === "number") {
    writeUint64(viewOf(header), 0, value);
    return header;
  }
  const image = Buffer.alloc(16);
  writePageHeader(viewOf(image), 0, { id: 0, flag: Flag.leaf, count: value.length, overflow: 0 });
  return Buffer.concat([header, image, leafContent(value)]);
}
