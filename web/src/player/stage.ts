// The picture: the <video>, a poster or the last frame over it until the next one comes, and what is to be said about it.

import type { Api } from '../api/client';
import { isAbort } from '../api/errors';
import type { Ms } from '../api/types';
import { keptStill } from '../app/stills';
import type { Scope } from '../ui/dom';
import { h, setText } from '../ui/dom';

export class Stage {
  readonly video = h('video', { class: 'stage-video', playsinline: true, 'data-testid': 'player-video', disableremoteplayback: true, preload: 'auto' });
  readonly element: HTMLElement;
  /** Where the controls put what floats over the picture. */
  readonly over = h('div', { class: 'stage-over' });
  private readonly poster = h('img', { class: 'stage-poster', alt: '', draggable: 'false' });
  private readonly lastFrame = h('canvas', { class: 'stage-poster' });
  private readonly spinner = h('div', { class: 'spinner', role: 'status', 'aria-label': 'Loading', hidden: true });
  private readonly words = h('p', {});
  private readonly retry = h('button', { type: 'button', class: 'button' }, 'Try now');
  private readonly message: HTMLElement;
  private posterUrl: string | null = null;
  private fetching: AbortController | null = null;
  private spinTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly api: Api,
    private readonly name: string,
    /** The stream that is on the stage. */
    private readonly stream: () => string,
    scope: Scope,
    again: () => void,
  ) {
    this.message = h('div', { class: 'stage-message', role: 'alert', hidden: true }, this.words, this.retry);
    this.poster.hidden = true;
    this.lastFrame.hidden = true;
    this.element = h('div', { class: 'stage' }, this.video, this.lastFrame, this.poster, this.over, this.spinner, this.message);
    this.retry.addEventListener('click', again);
    scope.add(() => {
      clearTimeout(this.spinTimer);
      this.fetching?.abort();
      this.releasePoster();
    });
  }

  /** Covers the video until `uncover`: with the last frame, then with the still of that moment (`null`: the latest). */
  cover(at: Ms | null): void {
    this.keepFrame();
    this.fetching?.abort();
    const kept = keptStill(this.name);
    if (at === null && kept !== undefined && this.video.readyState < 2) return this.showPoster(kept.url, false);
    const fetching = new AbortController();
    this.fetching = fetching;
    this.api
      .still(this.stream(), at === null ? { width: 1280, signal: fetching.signal } : { at, width: 1280, signal: fetching.signal })
      .then(({ blob }) => {
        if (!fetching.signal.aborted) this.showPoster(URL.createObjectURL(blob), true);
      })
      .catch((error: unknown) => {
        // Without a still there is the last frame, or black.
        if (!isAbort(error) && this.lastFrame.hidden) this.poster.hidden = true;
      });
  }

  uncover(): void {
    this.fetching?.abort();
    this.fetching = null;
    this.poster.hidden = true;
    this.lastFrame.hidden = true;
    this.releasePoster();
  }

  busy(busy: boolean): void {
    clearTimeout(this.spinTimer);
    if (!busy) this.spinner.hidden = true;
    // Most waits are over before a spinner would be understood.
    else if (this.spinner.hidden) this.spinTimer = setTimeout(() => (this.spinner.hidden = false), 600);
  }

  /** Says something over the picture; with `retry`, offers to try at once. */
  say(words: string | null, retry = false): void {
    this.message.hidden = words === null;
    this.retry.hidden = !retry;
    if (words !== null) setText(this.words, words);
  }

  private keepFrame(): void {
    const { video, lastFrame } = this;
    if (video.readyState < 2 || video.videoWidth === 0) return;
    lastFrame.width = video.videoWidth;
    lastFrame.height = video.videoHeight;
    lastFrame.getContext('2d')?.drawImage(video, 0, 0);
    lastFrame.hidden = false;
    this.poster.hidden = true;
  }

  private showPoster(url: string, ours: boolean): void {
    this.releasePoster();
    this.posterUrl = ours ? url : null;
    this.poster.src = url;
    this.poster.hidden = false;
  }

  private releasePoster(): void {
    if (this.posterUrl !== null) URL.revokeObjectURL(this.posterUrl);
    this.posterUrl = null;
  }
}
