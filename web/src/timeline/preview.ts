// The little picture over the timeline: what was there at the moment under the pointer.

import type { Api } from '../api/client';
import { ApiError, isAbort } from '../api/errors';
import type { Ms } from '../api/types';
import type { TimeFormat } from '../time/format';
import type { Scope } from '../ui/dom';
import { h, setText } from '../ui/dom';

const WIDTH = 240;
/** At most one call in this time; the last position always gets its own. */
const PERIOD = 120;
const MOST = 60;

export class Preview {
  readonly element: HTMLElement;
  private readonly image = h('img', { alt: '', draggable: 'false' });
  private readonly frame = h('div', { class: 'preview-frame' }, this.image);
  private readonly label = h('div', { class: 'preview-label' });
  private readonly cache = new Map<number, string | null>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private fetching: AbortController | null = null;
  private lastCall = 0;
  private wanted: number | null = null;

  constructor(
    private readonly api: Api,
    /** The stream that has a picture of a moment. */
    private readonly stream: (at: Ms) => string,
    private readonly time: TimeFormat,
    scope: Scope,
  ) {
    this.element = h('div', { class: 'preview', hidden: true, 'aria-hidden': 'true' }, this.frame, this.label);
    scope.add(() => {
      this.hide();
      for (const url of this.cache.values()) if (url !== null) URL.revokeObjectURL(url);
    });
  }

  /** Shows the moment above `x` of `width` pixels; `grain` is how much time a pixel is, `recorded` whether there is a picture. */
  show(at: Ms, x: number, width: number, grain: Ms, recorded: boolean): void {
    this.element.hidden = false;
    const half = this.element.offsetWidth / 2;
    const centre = Math.max(half, Math.min(width - half, x));
    this.element.style.transform = `translateX(${Math.round(centre - half)}px)`;
    setText(this.label, recorded ? `${this.time.date(at)}, ${this.time.clock(at)}` : `${this.time.date(at)}, ${this.time.clock(at)} · not recorded`);
    this.element.classList.toggle('no-picture', !recorded);
    if (!recorded) {
      this.stop();
      return;
    }
    // Moments of the same few pixels share their picture.
    const step = Math.max(2000, grain * 4);
    const key = Math.floor(at / step) * step;
    if (key === this.wanted) return;
    this.wanted = key;
    const known = this.cache.get(key);
    if (known !== undefined) return this.put(known);
    clearTimeout(this.timer);
    this.fetching?.abort();
    const wait = Math.max(30, PERIOD - (performance.now() - this.lastCall));
    this.timer = setTimeout(() => void this.fetch(key, at), wait);
  }

  hide(): void {
    this.element.hidden = true;
    this.stop();
  }

  private stop(): void {
    clearTimeout(this.timer);
    this.fetching?.abort();
    this.wanted = null;
  }

  private async fetch(key: number, at: Ms): Promise<void> {
    this.lastCall = performance.now();
    const fetching = new AbortController();
    this.fetching = fetching;
    try {
      const { blob } = await this.api.still(this.stream(at), { at, width: WIDTH, signal: fetching.signal });
      this.keep(key, URL.createObjectURL(blob));
    } catch (error) {
      if (isAbort(error)) return;
      // Only a definite "there is none" is worth remembering.
      if (error instanceof ApiError && error.status === 404) this.keep(key, null);
    }
    if (this.wanted === key) this.put(this.cache.get(key) ?? null);
  }

  private keep(key: number, url: string | null): void {
    this.cache.set(key, url);
    if (this.cache.size <= MOST) return;
    const oldest = this.cache.entries().next().value;
    if (oldest === undefined) return;
    this.cache.delete(oldest[0]);
    if (oldest[1] !== null) URL.revokeObjectURL(oldest[1]);
  }

  private put(url: string | null): void {
    this.frame.classList.toggle('empty', url === null);
    if (url !== null && this.image.src !== url) this.image.src = url;
  }
}
