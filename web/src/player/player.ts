// The player: what is wanted (a moment, live, a speed) against what there is, with renewals, repetitions and errors in words.

import { backoff } from '../api/backoff';
import type { Api } from '../api/client';
import { ApiError, inWords, isAbort } from '../api/errors';
import type { Camera, Ms, PlaybackSession, SessionRequest } from '../api/types';
import { ms } from '../api/types';
import { whyNot } from '../app/words';
import type { Span } from '../timeline/spans';
import type { Frames, Situation } from './decide';
import { framesFor, planContinue, planSeek, stepTarget } from './decide';
import type { Fault } from './engine';
import { Engine } from './engine';
import { markPicture } from './measure';
import { takePrepared } from './preload';
import { playability } from './support';

export type Phase = 'opening' | 'playing' | 'buffering' | 'paused' | 'ended' | 'problem';

export interface Problem {
  words: string;
  /** When it will be tried again by itself (our clock); null when trying again would not help. */
  retryAt: Ms | null;
}

/** What the player asks of the page around it. */
export interface Surroundings {
  camera(): Camera | undefined;
  /** What is recorded, as far as known, and where that is the whole truth. */
  recordings(): { spans: readonly Span[]; covered: Span } | null;
  /** A session for another moment is being opened: `at` is null for live. */
  opening(at: Ms | null): void;
  /** The first frame of that session is on the screen. */
  picture(): void;
  changed(): void;
}

export class Player {
  phase: Phase = 'opening';
  problem: Problem | null = null;
  speed = 1;
  /** Whether playing is wanted, whatever the element does at the moment. */
  wantsPlay = true;

  private readonly engine: Engine;
  private session: { at: Ms | null; frames: Frames; expires: Ms } | null = null;
  private asked: { at: Ms | null; frames: Frames } = { at: null, frames: 'all' };
  /** Where we are going, until the element is there. */
  private target: Ms | null = null;
  private calling: AbortController | null = null;
  private renewTimer: ReturnType<typeof setTimeout> | undefined;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  private followsLive = true;
  private continuedAt: Ms | null = null;
  private cameraState = '';
  private readonly watch: ReturnType<typeof setInterval>;
  private readonly ending = new AbortController();

  constructor(
    private readonly api: Api,
    private readonly name: string,
    readonly video: HTMLVideoElement,
    private readonly around: Surroundings,
  ) {
    this.engine = new Engine(video, {
      picture: (at) => this.shown(at),
      fault: (fault) => this.faulted(fault),
      ended: () => this.atEnd(),
    });
    const { signal } = this.ending;
    const on = (event: string, run: () => void): void => video.addEventListener(event, run, { signal });
    on('playing', () => this.settle('playing'));
    on('waiting', () => this.wantsPlay && this.settle('buffering'));
    on('pause', () => {
      // The browser pauses by itself at the end, when a picture-in-picture window closes, or when we are hidden on a phone.
      if (video.readyState === 0 || video.ended || this.phase === 'problem') return;
      this.wantsPlay = false;
      this.settle('paused');
    });
    on('play', () => (this.wantsPlay = true));
    on('seeked', () => {
      this.target = null;
      this.around.changed();
    });
    document.addEventListener('visibilitychange', () => this.seenAgain(), { signal });
    this.watch = setInterval(() => this.look(), 1000);
  }

  dispose(): void {
    this.ending.abort();
    this.calling?.abort();
    clearInterval(this.watch);
    clearTimeout(this.renewTimer);
    clearTimeout(this.retryTimer);
    this.engine.unload();
  }

  // Where we are.

  /** The moment on the screen, or the one we are on the way to. */
  get position(): Ms | null {
    if (this.target !== null) return this.target;
    if (this.session === null || this.phase === 'opening') return this.asked.at;
    return this.engine.position;
  }

  get behind(): Ms | null {
    const { position } = this;
    return position === null ? null : Math.max(0, this.api.clock.now() - position);
  }

  /** Whether what is shown is as live as it gets. */
  get live(): boolean {
    const { behind } = this;
    if (!this.wantsPlay || !this.arriving || this.asked.frames === 'key') return false;
    if (this.phase === 'problem' || this.phase === 'ended') return false;
    if (this.phase === 'opening') return this.asked.at === null;
    return behind !== null && behind < this.engine.liveTarget + 8000;
  }

  get arriving(): boolean {
    return this.around.camera()?.state === 'running';
  }

  // What is wanted.

  /** Opens a moment, or live (`null`). */
  start(at: Ms | null): void {
    if (at === null) this.goLive();
    else void this.open(at);
  }

  toggle(): void {
    if (this.wantsPlay && this.phase !== 'ended') this.pause();
    else this.play();
  }

  play(): void {
    this.wantsPlay = true;
    if (this.phase === 'problem' || this.phase === 'ended') return this.retryNow();
    void this.begin();
    this.around.changed();
  }

  pause(): void {
    this.wantsPlay = false;
    this.followsLive = false;
    this.video.pause();
    if (this.phase !== 'problem' && this.phase !== 'opening') this.phase = 'paused';
    this.around.changed();
  }

  seek(wish: Ms): void {
    const plan = planSeek(wish, this.situation());
    if (plan.go === 'live') return this.goLive();
    if (plan.go === 'nowhere') return;
    this.followsLive = false;
    this.continuedAt = null;
    if (plan.go === 'element' && this.phase !== 'problem' && this.engine.seek(plan.at)) {
      this.calling?.abort();
      this.target = this.video.seeking ? plan.at : null;
      if (this.phase === 'ended') this.settle('playing');
      if (this.wantsPlay) void this.begin();
      return this.around.changed();
    }
    void this.open(plan.at);
  }

  step(by: Ms): void {
    const { position } = this;
    if (position !== null) this.seek(stepTarget(position, by, this.around.recordings()?.spans ?? null));
  }

  goLive(): void {
    this.followsLive = true;
    this.wantsPlay = true;
    this.continuedAt = null;
    if (this.speed !== 1) {
      this.speed = 1;
      this.engine.setSpeed(1);
    }
    const joined = this.session !== null && this.session.frames === 'all' && this.engine.stale < 15;
    const tail = this.tail();
    if (tail !== null) return void this.open(tail);
    // A session from a while ago may reach live, but only one whose playlist ends near now does.
    const end = this.engine.map.to;
    if (joined && end !== null && this.phase !== 'problem' && this.api.clock.now() - end < 15_000 && this.engine.seekLive()) {
      this.calling?.abort();
      this.target = null;
      void this.begin();
      return this.around.changed();
    }
    void this.open(null);
  }

  setSpeed(speed: number): void {
    if (speed === this.speed) return;
    const at = this.position;
    this.speed = speed;
    if (speed !== 1) this.followsLive = false;
    this.engine.setSpeed(speed);
    if (this.asked.frames !== framesFor(speed) && at !== null) void this.open(at);
    else this.around.changed();
  }

  retryNow(): void {
    clearTimeout(this.retryTimer);
    this.problem = null;
    if (this.followsLive) this.goLive();
    else void this.open(this.target ?? this.engine.position ?? this.asked.at);
  }

  /** The camera's state changed: what could not be played may be there now. */
  cameraChanged(): void {
    const camera = this.around.camera();
    const state = `${camera?.state} ${camera?.recorded !== null}`;
    if (state === this.cameraState) return;
    this.cameraState = state;
    const waiting = (this.phase === 'problem' && this.problem?.retryAt === null) || (this.phase === 'ended' && this.followsLive);
    if (waiting && this.arriving && camera?.recorded && this.blocked() === null) this.retryNow();
  }

  // How it is done.

  /** Why there is no point in trying, if so. */
  private blocked(): string | null {
    const camera = this.around.camera();
    if (camera === undefined) return null;
    const { video, words } = playability(camera.tracks);
    if (!video && words !== null) return words;
    if (camera.recorded === null && camera.state !== 'running') {
      return `Nothing is recorded yet. ${whyNot(camera)}`;
    }
    return null;
  }

  /** When nothing arrives, the nearest thing to live is the last that came. */
  private tail(): Ms | null {
    const recorded = this.around.camera()?.recorded ?? null;
    if (this.arriving || recorded === null || this.api.clock.now() - ms(recorded.to) < 15_000) return null;
    return Math.max(ms(recorded.from), ms(recorded.to) - 30_000);
  }

  private async open(at: Ms | null): Promise<void> {
    this.calling?.abort();
    clearTimeout(this.retryTimer);
    clearTimeout(this.renewTimer);
    const calling = new AbortController();
    this.calling = calling;
    const frames = framesFor(this.speed);
    this.asked = { at, frames };
    this.target = at;
    this.phase = 'opening';
    this.problem = null;
    this.around.opening(at);
    this.around.changed();

    const blocked = this.blocked();
    if (blocked !== null) return this.stop(blocked, false);
    try {
      const prepared = at === null && frames === 'all' ? await takePrepared(this.name) : null;
      const session = prepared ?? (await this.api.openSession(this.name, this.request(), calling.signal));
      if (calling.signal.aborted) return;
      this.session = { at, frames, expires: ms(session.expires) };
      this.renewLater(session);
      await this.engine.load(session.url, { at: at ?? 'live', speed: this.speed });
      if (calling.signal.aborted) return;
      if (this.wantsPlay) await this.begin();
    } catch (error) {
      if (isAbort(error) || calling.signal.aborted) return;
      const missing = error instanceof ApiError && error.status === 404;
      this.stop(missing ? 'There is no recording to play.' : inWords(error), error instanceof ApiError && (error.transient || missing));
    }
  }

  private request(): SessionRequest {
    const { at, frames } = this.asked;
    const request: SessionRequest = { protocol: 'hls' };
    if (at !== null) request.from = new Date(at).toISOString();
    if (frames === 'key') request.frames = 'key';
    return request;
  }

  /** Plays; with sound where the browser allows it without a press, else without. */
  private async begin(): Promise<void> {
    const { video } = this;
    if (!video.paused) return;
    try {
      await video.play();
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== 'NotAllowedError' || video.muted) return;
      video.muted = true;
      await video.play().catch(() => this.settle('paused'));
    }
  }

  private shown(at: number): void {
    markPicture(at);
    this.attempt = 0;
    this.problem = null;
    if (!this.video.seeking) this.target = null;
    if (this.phase === 'opening') this.phase = this.wantsPlay ? 'playing' : 'paused';
    this.around.picture();
    this.around.changed();
  }

  private settle(phase: Phase): void {
    // Until its first frame is there, an opening session is opening, whatever the element says.
    if (this.phase === 'problem' || (this.phase === 'opening' && phase !== 'playing')) return;
    this.phase = phase;
    this.around.changed();
  }

  private renewLater(session: PlaybackSession): void {
    const left = ms(session.expires) - this.api.clock.now();
    if (!Number.isFinite(left)) return;
    const wait = Math.max(1000, left - Math.min(60_000, left * 0.2));
    // Timers beyond 2³¹ ms fire at once.
    this.renewTimer = setTimeout(() => void this.renew(), Math.min(wait, 2 ** 31 - 1));
  }

  /** The same session under a new token, without a break in the picture. */
  private async renew(): Promise<void> {
    try {
      const session = await this.api.openSession(this.name, this.request(), this.ending.signal);
      if (this.session !== null) this.session.expires = ms(session.expires);
      if (this.engine.renew(session.url)) this.renewLater(session);
    } catch (error) {
      if (isAbort(error)) return;
      this.renewTimer = setTimeout(() => void this.renew(), backoff(this.attempt++));
    }
  }

  private faulted(fault: Fault): void {
    if (this.phase === 'problem') return;
    const camera = this.around.camera();
    if (fault.kind === 'codec') return this.stop(playability(camera?.tracks ?? []).words ?? fault.words, false);
    if (fault.kind === 'expired' && this.attempt === 0) {
      this.attempt += 1;
      return void this.open(this.followsLive ? null : (this.engine.position ?? this.asked.at));
    }
    this.stop(fault.words, true);
  }

  /** Says what is wrong; with `again`, tries again later, at the place where it stopped. */
  private stop(words: string, again: boolean): void {
    const at = this.followsLive ? null : (this.target ?? this.engine.position ?? this.asked.at);
    this.phase = 'problem';
    clearTimeout(this.retryTimer);
    clearTimeout(this.renewTimer);
    if (again) {
      const wait = backoff(this.attempt++);
      this.problem = { words, retryAt: Date.now() + wait };
      this.retryTimer = setTimeout(() => void this.open(at), wait);
    } else {
      this.problem = { words, retryAt: null };
    }
    this.around.changed();
  }

  /** The media is played to its end. */
  private atEnd(): void {
    const { position, map } = this.engine;
    const end = map.to;
    if (position === null || end === null) return;
    const next = planContinue({
      position,
      end,
      now: this.api.clock.now(),
      spans: this.around.recordings()?.spans ?? null,
      arriving: this.arriving,
    });
    if (next === 'live') return this.goLive();
    // Twice from the same place would be for ever.
    if (next === null || next === this.continuedAt) {
      this.phase = 'ended';
      return this.around.changed();
    }
    this.continuedAt = next;
    void this.open(next);
  }

  /** Once a second: has a fast player caught up, has a list come to its end without saying so? */
  private look(): void {
    const { video, engine, session } = this;
    if (session === null || this.phase === 'opening' || this.phase === 'problem' || !this.wantsPlay) return;
    const end = engine.map.end;
    const left = end === null ? Number.POSITIVE_INFINITY : end - video.currentTime;
    if (this.speed > 1 && this.arriving && (this.behind ?? 0) < 10_000) return this.goLive();
    // A list that holds all it may hold does not grow although the recording goes on after it.
    if (left < 1.5 * this.speed && engine.stale > 12 && (this.behind ?? 0) > 60_000) this.atEnd();
  }

  /** A page that was hidden may have been throttled: who watched live wants to see live. */
  private seenAgain(): void {
    if (document.hidden || !this.followsLive || !this.wantsPlay || this.phase === 'opening') return;
    if (this.session !== null && (this.behind ?? 0) > 20_000) this.goLive();
  }

  private situation(): Situation {
    const recordings = this.around.recordings();
    const { from, to } = this.engine.map;
    const session = this.session;
    return {
      now: this.api.clock.now(),
      spans: recordings?.spans ?? null,
      covered: recordings?.covered ?? null,
      arriving: this.arriving,
      loaded: session === null || this.phase === 'opening' || from === null || to === null ? null : { from, to, frames: session.frames },
      frames: framesFor(this.speed),
    };
  }
}
