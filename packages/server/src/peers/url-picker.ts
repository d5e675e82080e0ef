/** Which of a member's URLs to use: the same one until it turns out unreachable, then the next. */
import type { ServiceUrl } from "../config/urls.ts";

export class UrlPicker {
  #urls: readonly ServiceUrl[];
  #picked = 0;

  /** At least one. */
  constructor(urls: readonly ServiceUrl[]) {
    this.#urls = urls;
  }

  update(urls: readonly ServiceUrl[]): void {
    this.#urls = urls;
    this.#picked = 0;
  }

  pick(): ServiceUrl {
    return this.#urls[this.#picked]!;
  }

  /** Several may find the same URL unreachable at once; that moves on by one only. */
  unreachable(url: ServiceUrl): void {
    if (url === this.#urls[this.#picked]) this.#picked = (this.#picked + 1) % this.#urls.length;
  }
}
