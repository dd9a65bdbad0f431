// What is recorded of one camera, fetched for the stretch that is looked at and kept up to date at its end.

import type { Api } from '../api/client';
import { isAbort } from '../api/errors';
import type { Camera, Ms, SourceStatus } from '../api/types';
import { ms } from '../api/types';
import type { Scope } from '../ui/dom';
import { DAY } from '../time/zone';
import type { View } from './scale';
import { length } from './scale';
import type { Span } from './spans';
import { extendTail, fromApi, replaceRange, tidy } from './spans';

/** A view's worth on either side is fetched too, so that panning finds it there. */
const MARGIN = 1;
const POLL = 5_000;
/** Longer than the time between two events of a running camera, shorter than an outage worth seeing. */
const TAIL = 6_000;

/** What a timeline shows. */
export interface Recorded {
  readonly spans: readonly Span[];
  /** Where `spans` is the whole truth; null before the first answer. */
  readonly covered: Span | null;
  readonly earliest: Ms | null;
  look(view: View): void;
}

/** What is recorded of a camera: of its main source, and of its sub where the main has none. */
export class CameraRecordings implements Recorded {
  readonly main: Recordings;
  sub: Recordings | null = null;
  private view: View | null = null;
  private joined: { main: readonly Span[]; sub: readonly Span[]; spans: Span[] } | null = null;

  constructor(
    private readonly api: Api,
    name: string,
    private readonly scope: Scope,
    private readonly changed: () => void,
  ) {
    this.main = new Recordings(api, name, scope, changed);
  }

  get spans(): readonly Span[] {
    if (this.sub === null) return this.main.spans;
    const [main, sub] = [this.main.spans, this.sub.spans];
    if (this.joined?.main !== main || this.joined.sub !== sub) this.joined = { main, sub, spans: tidy([...main, ...sub]) };
    return this.joined.spans;
  }

  get covered(): Span | null {
    const [main, sub] = [this.main.covered, this.sub?.covered ?? null];
    if (main === null || sub === null) return main;
    const [from, to] = [Math.max(main.from, sub.from), Math.min(main.to, sub.to)];
    return from < to ? { from, to } : null;
  }

  get earliest(): Ms | null {
    const all = [this.main.earliest, this.sub?.earliest ?? null].filter((at) => at !== null);
    return all.length === 0 ? null : Math.min(...all);
  }

  look(view: View): void {
    this.view = view;
    this.main.look(view);
    this.sub?.look(view);
  }

  cameraChanged(camera: Camera): void {
    this.main.sourceChanged(camera);
    if (camera.sub === null) return;
    if (this.sub === null) {
      this.sub = new Recordings(this.api, camera.sub.stream, this.scope, this.changed);
      if (this.view !== null) this.sub.look(this.view);
    }
    this.sub.sourceChanged(camera.sub);
  }
}

/** Of one stream. */
export class Recordings implements Recorded {
  spans: Span[] = [];
  /** Where `spans` is the whole truth; null before the first answer. */
  covered: Span | null = null;
  earliest: Ms | null = null;
  latest: Ms | null = null;

  private timer: ReturnType<typeof setTimeout> | undefined;
  private fetching: AbortController | null = null;
  private wanted: View | null = null;

  constructor(
    private readonly api: Api,
    private readonly name: string,
    private readonly scope: Scope,
    private readonly changed: () => void,
  ) {
    scope.every(POLL, () => void this.poll());
    scope.add(() => {
      clearTimeout(this.timer);
      this.fetching?.abort();
    });
  }

  /** Makes sure that this view's recordings are known, now or in a moment. */
  look(view: View): void {
    this.wanted = view;
    const { covered } = this;
    if (covered !== null && view.from >= covered.from && Math.min(view.to, this.api.clock.now()) <= covered.to + TAIL) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.fetchView(), covered === null ? 0 : 120);
  }

  /** The source says how far its recording goes. */
  sourceChanged({ recorded }: SourceStatus): void {
    if (recorded === null) return;
    this.earliest = ms(recorded.from);
    const latest = ms(recorded.to);
    if (this.latest !== null && latest <= this.latest) return;
    this.latest = latest;
    if (this.covered === null || latest - this.covered.to > TAIL) return;
    this.spans = extendTail(this.spans, latest, TAIL);
    this.covered = { from: this.covered.from, to: Math.max(this.covered.to, latest) };
    this.changed();
  }

  private async fetchView(): Promise<void> {
    const view = this.wanted;
    if (view === null) return;
    const size = length(view);
    await this.fetch(view.from - size * MARGIN, Math.min(view.to + size * MARGIN, this.api.clock.now() + DAY));
  }

  /** The last minute again: it may have an outage that no event told of. */
  private async poll(): Promise<void> {
    const { covered, wanted } = this;
    if (document.hidden || wanted === null) return;
    if (covered === null) return this.fetchView();
    const now = this.api.clock.now();
    if (wanted.to < covered.to - 60_000) return;
    await this.fetch(Math.min(covered.to, now) - 60_000, now + 1000);
  }

  private async fetch(from: Ms, to: Ms): Promise<void> {
    this.fetching?.abort();
    const fetching = new AbortController();
    this.fetching = fetching;
    try {
      const answer = await this.api.timeline(this.name, from, to, fetching.signal);
      if (fetching.signal.aborted || this.scope.ended) return;
      const known = Math.min(to, ms(answer.now));
      const { covered } = this;
      const touches = covered !== null && from <= covered.to && known >= covered.from;
      this.spans = replaceRange(touches ? this.spans : [], from, known, fromApi(answer.spans));
      this.covered = touches ? { from: Math.min(covered.from, from), to: Math.max(covered.to, known) } : { from, to: known };
      this.earliest = answer.earliest === null ? null : ms(answer.earliest);
      this.latest = answer.latest === null ? null : ms(answer.latest);
      this.changed();
    } catch (error) {
      // The next poll tries again; until then the timeline shows what it has.
      if (!isAbort(error)) this.changed();
    }
  }
}
