// The timeline: what is recorded, where one is, and the way to be elsewhere.

import type { Api } from '../api/client';
import type { Ms } from '../api/types';
import { onTheme } from '../app/theme';
import type { TimeFormat } from '../time/format';
import { HOUR } from '../time/zone';
import { h, Scope, setAttribute, setText } from '../ui/dom';
import { icon } from '../ui/icons';
import { draw, LAYOUT, readColours } from './draw';
import { listenForGestures } from './gestures';
import { Preview } from './preview';
import type { Recorded } from './recordings';
import type { View } from './scale';
import { around, clamp, fitting, follow, LENGTHS, length, LONGEST, nextLength, pan, pinch, SHORTEST, toTime, toX, zoom } from './scale';
import { spanAt } from './spans';

export interface TimelineOptions {
  api: Api;
  time: TimeFormat;
  recordings: Recorded;
  /** The stream that has a picture of a moment. */
  stream(at: Ms): string;
  seek(at: Ms): void;
}

export class Timeline {
  readonly element: HTMLElement;
  private readonly canvas = h('canvas', { class: 'timeline-canvas' });
  private readonly strip: HTMLElement;
  private readonly range = h('span', { class: 'timeline-range' });
  private readonly zoomIn: HTMLButtonElement;
  private readonly zoomOut: HTMLButtonElement;
  private readonly preview: Preview;
  private readonly scope = new Scope();
  private view: View;
  private width = 0;
  private colours: ReturnType<typeof readColours> | null = null;
  private position: Ms | null = null;
  private scrubbed: Ms | null = null;
  private live = true;
  private hovered: number | null = null;
  private drawing = 0;
  /** Nobody has chosen what to look at yet. */
  private fresh: boolean;

  constructor(
    private readonly options: TimelineOptions,
    at: Ms | null,
    /** Controls that belong beside the timeline's own. */
    ...beside: HTMLElement[]
  ) {
    const { api, time } = options;
    this.view = at === null ? around(api.clock.now(), HOUR, 0.94) : around(at, HOUR);
    this.fresh = at === null;
    this.preview = new Preview(api, (moment) => options.stream(moment), time, this.scope);
    this.strip = h('div', { class: 'timeline-strip', role: 'slider', tabindex: '0', 'aria-label': 'Timeline', 'aria-orientation': 'horizontal', 'data-testid': 'timeline' }, this.canvas);
    const button = (name: 'add' | 'minus', label: string, direction: -1 | 1): HTMLButtonElement =>
      h('button', { type: 'button', class: 'button quiet icon-only', 'aria-label': label, title: label, on: { click: () => this.zoomBy(direction) } }, icon(name));
    this.zoomOut = button('minus', 'Show more time (−)', 1);
    this.zoomIn = button('add', 'Show less time (+)', -1);
    this.element = h(
      'section',
      { class: 'timeline', 'aria-label': 'Recordings' },
      h('div', { class: 'timeline-bar' }, ...beside, this.range, h('div', { class: 'timeline-zoom' }, this.zoomOut, this.zoomIn)),
      h('div', { class: 'timeline-place' }, this.preview.element, this.strip),
    );

    const sizes = new ResizeObserver(() => this.resize());
    sizes.observe(this.strip);
    this.scope.add(() => sizes.disconnect());
    this.scope.add(onTheme(() => {
      this.colours = null;
      this.invalidate();
    }));
    this.scope.add(() => cancelAnimationFrame(this.drawing));
    this.gestures();
  }

  dispose(): void {
    this.scope.end();
  }

  /** Where the player is. */
  update(position: Ms | null, live: boolean): void {
    if (position !== null && this.scrubbed === null && !this.strip.classList.contains('panning')) {
      this.setView(follow(this.view, this.position, position, live, this.now));
    }
    this.position = position;
    this.live = live;
    this.describe();
    this.invalidate();
  }

  /** What is recorded changed. */
  recorded(): void {
    const { earliest } = this.options.recordings;
    // A young camera's few minutes would be a sliver of an hour.
    if (this.fresh && earliest !== null) {
      this.fresh = false;
      const size = fitting(this.now - earliest);
      if (size < length(this.view)) this.setView(around(this.now, size, 0.94));
    }
    this.invalidate();
  }

  /** Brings a moment into view, in the middle when it was not. */
  reveal(at: Ms): void {
    if (at < this.view.from || at > this.view.to) this.setView(around(at, length(this.view)));
    this.position = at;
    this.invalidate();
  }

  /** The stretch of time that is shown, up to now. */
  get shown(): { from: Ms; to: Ms } {
    return { from: this.view.from, to: Math.min(this.view.to, this.now) };
  }

  zoomBy(direction: -1 | 1): void {
    const { position, view } = this;
    const anchor = position !== null && position >= view.from && position <= view.to ? position : (view.from + view.to) / 2;
    this.setView(zoom(view, nextLength(length(view), direction) / length(view), anchor));
  }

  private get now(): Ms {
    return this.options.api.clock.now();
  }

  private setView(view: View): void {
    const { recordings } = this.options;
    this.view = clamp(view, recordings.earliest ?? this.now - LENGTHS[2]!, this.now);
    recordings.look(this.view);
    this.invalidate();
  }

  private gestures(): void {
    this.scope.listen(this.element, 'pointerdown', () => (this.fresh = false));
    const at = (x: number): Ms => toTime(this.view, this.width, x);
    listenForGestures(this.strip, this.scope, {
      grabs: (x, slack) => this.position !== null && Math.abs(toX(this.view, this.width, this.position) - x) <= slack,
      click: (x) => {
        this.hover(null);
        this.options.seek(Math.min(at(x), this.now));
      },
      pan: (pixels) => this.setView(pan(this.view, -(pixels / this.width) * length(this.view))),
      zoom: (factor, x) => this.setView(zoom(this.view, factor, at(x))),
      pinch: (before, after) => this.setView(pinch(this.view, this.width, before, after)),
      scrub: (x, done) => {
        const moment = Math.min(at(x), this.now);
        this.scrubbed = done === false ? moment : null;
        this.hover(done === false ? x : null);
        if (done === true) this.options.seek(moment);
        this.invalidate();
      },
      hover: (x) => this.hover(x),
    });
  }

  private hover(x: number | null): void {
    this.hovered = x;
    if (x === null) this.preview.hide();
    this.invalidate();
  }

  private resize(): void {
    const width = this.strip.clientWidth;
    const scale = devicePixelRatio;
    this.width = width;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(LAYOUT.height * scale);
    this.canvas.getContext('2d')?.setTransform(scale, 0, 0, scale, 0, 0);
    // Full screen has colours of its own.
    this.colours = null;
    this.setView(this.view);
    this.draw();
  }

  private invalidate(): void {
    if (this.drawing === 0) this.drawing = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    cancelAnimationFrame(this.drawing);
    this.drawing = 0;
    const context = this.canvas.getContext('2d');
    if (context === null || this.width === 0) return;
    const { recordings, time } = this.options;
    const { view, width, now } = this;
    this.colours ??= readColours(this.strip);
    const hover = this.hovered === null ? null : toTime(view, width, this.hovered);
    draw(
      context,
      width,
      {
        view,
        spans: recordings.spans,
        covered: recordings.covered,
        now,
        position: this.scrubbed ?? this.position,
        live: this.live && this.scrubbed === null,
        hover: this.scrubbed === null ? hover : null,
      },
      this.colours,
      time,
    );
    if (hover !== null && this.hovered !== null) {
      const past = Math.min(hover, now);
      this.preview.show(past, this.hovered, width, length(view) / width, spanAt(recordings.spans, past) !== null);
    }
    this.zoomIn.disabled = length(view) <= SHORTEST * 1.01;
    this.zoomOut.disabled = length(view) >= LONGEST * 0.99;
    this.showRange();
  }

  private showRange(): void {
    const { time } = this.options;
    const [from, to] = [this.view.from, Math.min(this.view.to, this.now)];
    const sameDay = time.date(from) === time.date(to);
    setText(this.range, `${time.date(from)} ${time.minutes(from)} – ${sameDay ? '' : `${time.date(to)} `}${time.minutes(to)}`);
  }

  private describe(): void {
    const { recordings, time } = this.options;
    const { position, strip } = this;
    setAttribute(strip, 'aria-valuemin', String(Math.round((recordings.earliest ?? this.view.from) / 1000)));
    setAttribute(strip, 'aria-valuemax', String(Math.round(this.now / 1000)));
    setAttribute(strip, 'aria-valuenow', position === null ? null : String(Math.round(position / 1000)));
    setAttribute(strip, 'aria-valuetext', position === null ? 'nowhere yet' : this.live ? 'live' : time.full(position));
  }
}
