// The player: what is wanted (a moment, live, a speed) against what there is, with renewals, repetitions and errors in words.

import { backoff } from '../api/backoff';
import type { Api } from '../api/client';
import { ApiError, inWords, isAbort } from '../api/errors';
import type { Camera, Ms, SourceStatus } from '../api/types';
import type { Span } from '../timeline/spans';
import { spanFromApi } from '../timeline/spans';
import type { Situation } from './decide';
import { framesFor, planContinue, planSeek, stepTarget, tailOf } from './decide';
import type { Fault, How } from './engine';
import { Engine } from './engine';
import { markPicture, markSeek } from './measure';
import { nearPossible, nearWanted, Refusals, wantNear } from './near';
import type { Asked } from './session';
import { SessionKeeper } from './session';
import type { Choice } from './sources';
import { blocked, playability } from './support';

/** A pause of this long gives up what is loaded ahead: playing on opens a session from there. */
const REST_AFTER = 60_000;

/** No picture after this long is not patience any more. */
const GIVE_UP_AFTER = 20_000;

/** Live without delay that shows nothing new for this long waits for something. */
const STILL_AFTER = 3_000;

/** What played this long without delay plays well. */
const STEADY = 60_000;

export type Phase = 'opening' | 'playing' | 'buffering' | 'paused' | 'ended' | 'problem';

export interface Problem {
  words: string;
  /** When it will be tried again by itself (our clock); null when trying again would not help. */
  retryAt: Ms | null;
}

/** What the player asks of the page around it. */
export interface Surroundings {
  camera(): Camera | undefined;
  /** Which source is to be played at a moment, or live (`null`). */
  source(at: Ms | null): Choice;
  /** The player cannot decode a stream; whether there is another one now. */
  failed(stream: string): boolean;
  /** What is recorded and can be played, as far as known, and where that is the whole truth. */
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
  /** The source that is played. */
  source: Choice;

  private readonly engine: Engine;
  private readonly keeper: SessionKeeper;
  private session: Asked | null = null;
  private asked: Asked;
  /** Where we are going, until we are there. */
  private target: Ms | null = null;
  private calling: AbortController | null = null;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  private followsLive = true;
  private continuedAt: Ms | null = null;
  private cameraState = '';
  /** A pause has been long: nothing is loaded any more, and what was may have left the playlist. */
  private resting = false;
  private pausedAt: Ms | null = null;
  /** The moment at which live without delay was paused. */
  private stoppedAt: Ms | null = null;
  /** Streams that cannot be had without delay. */
  private readonly notNear = new Refusals();
  private openedAt: Ms = 0;
  private readonly watch: ReturnType<typeof setInterval>;
  private readonly ending = new AbortController();

  constructor(
    private readonly api: Api,
    readonly video: HTMLVideoElement,
    private readonly around: Surroundings,
  ) {
    this.source = around.source(null);
    this.asked = { stream: this.source.stream, at: null, frames: 'all' };
    this.engine = new Engine(video, {
      picture: (at) => this.shown(at),
      fault: (fault) => this.faulted(fault),
      ended: () => this.atEnd(),
    });
    this.keeper = new SessionKeeper(api, () => (this.target === null ? this.engine.position : null), (url) => this.engine.renew(url));
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
      if (this.phase !== 'opening') markPicture(performance.now());
      this.around.changed();
    });
    document.addEventListener('visibilitychange', () => this.seenAgain(), { signal });
    this.watch = setInterval(() => this.look(), 1000);
  }

  dispose(): void {
    this.ending.abort();
    this.calling?.abort();
    clearInterval(this.watch);
    this.keeper.close();
    clearTimeout(this.retryTimer);
    this.engine.unload();
  }

  /** The moment on the screen, or the one we are on the way to. */
  get position(): Ms | null {
    if (this.target !== null) return this.target;
    if (this.session === null || this.phase === 'opening') return this.asked.at;
    if (this.stoppedAt !== null) return this.stoppedAt;
    return this.engine.position;
  }

  get behind(): Ms | null {
    return this.position === null ? null : Math.max(0, this.api.clock.now() - this.position);
  }

  /** Whether what is shown is as live as it gets. */
  get live(): boolean {
    const { behind } = this;
    if (!this.wantsPlay || !this.arriving || this.asked.frames === 'key') return false;
    if (this.phase === 'problem' || this.phase === 'ended') return false;
    if (this.phase === 'opening') return this.asked.at === null;
    return behind !== null && behind < this.engine.liveTarget + 8000;
  }

  /** Whether new pictures come in, of the source that would be played. */
  get arriving(): boolean {
    return this.of(this.around.source(null))?.state === 'running';
  }

  private of({ sub }: Choice): SourceStatus | undefined {
    const camera = this.around.camera();
    return sub ? (camera?.sub ?? undefined) : camera;
  }

  /** Whether live could be had without delay here, and whether it is wanted. */
  get near(): { possible: boolean; wanted: boolean } {
    const tracks = this.of(this.around.source(null))?.tracks ?? [];
    return { possible: nearPossible(tracks) && this.notNear.possible(this.around.source(null).stream), wanted: nearWanted() };
  }

  /** By what the picture comes, where it is live. */
  get how(): How | null {
    return this.live && this.phase !== 'opening' ? this.engine.how : null;
  }

  setNear(wanted: boolean): void {
    this.notNear.clear();
    wantNear(wanted);
    if (this.live || this.engine.isNear) void this.open(null);
    else this.around.changed();
  }

  /** Opens a moment, or live (`null`, and what is still to come). */
  start(at: Ms | null): void {
    if (at === null || at >= this.api.clock.now()) return this.goLive();
    this.followsLive = false;
    void this.open(at);
  }

  toggle(): void {
    if (this.wantsPlay && this.phase !== 'ended') this.pause();
    else this.play();
  }

  play(): void {
    this.wantsPlay = true;
    if (this.phase === 'problem' || this.phase === 'ended') return this.retryNow();
    if (this.resting || this.stoppedAt !== null || this.outside()) return void this.open(this.position);
    void this.begin();
    this.around.changed();
  }

  pause(): void {
    if (this.engine.isNear && !this.video.paused) this.stoppedAt = this.engine.position;
    this.wantsPlay = false;
    this.followsLive = false;
    this.video.pause();
    if (this.phase !== 'problem' && this.phase !== 'opening') this.phase = 'paused';
    this.around.changed();
  }

  seek(wish: Ms): void {
    markSeek();
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
    const source = this.around.source(null);
    const joined = this.session !== null && this.session.stream === source.stream && this.session.frames === 'all' && !this.resting;
    const recorded = this.of(source)?.recorded ?? null;
    const tail = this.arriving || recorded === null ? null : tailOf(spanFromApi(recorded), this.api.clock.now());
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

  /** Why there is no point in trying to play what is to be played, by now. */
  get obstacle(): string | null {
    return blocked(this.of(this.source), this.api.clock.now());
  }

  retryNow(): void {
    clearTimeout(this.retryTimer);
    this.problem = null;
    if (this.followsLive) this.goLive();
    else void this.open(this.target ?? this.engine.position ?? this.asked.at);
  }

  /** The camera's state changed: what could not be played may be there now. */
  cameraChanged(): void {
    const source = this.of(this.around.source(null));
    const state = `${source?.state} ${source?.recorded !== null}`;
    if (state === this.cameraState) return;
    this.cameraState = state;
    const waiting = (this.phase === 'problem' && this.problem?.retryAt === null) || (this.phase === 'ended' && this.followsLive);
    if (waiting && this.arriving && source?.recorded && blocked(source, this.api.clock.now()) === null) this.retryNow();
  }

  private async open(at: Ms | null): Promise<void> {
    this.calling?.abort();
    clearTimeout(this.retryTimer);
    this.keeper.close();
    const calling = new AbortController();
    this.calling = calling;
    this.resting = false;
    this.pausedAt = null;
    this.stoppedAt = null;
    this.openedAt = performance.now();
    const frames = framesFor(this.speed);
    this.source = this.around.source(at);
    this.asked = { stream: this.source.stream, at, frames };
    this.target = at;
    this.phase = 'opening';
    this.problem = null;
    this.around.opening(at);
    this.around.changed();

    const why = this.obstacle;
    const near = at === null && frames === 'all' && this.wantsPlay && nearWanted() && this.near.possible && this.notNear.worthIt(this.source.stream);
    // What no playlist carries (VP8) may still come by WebRTC.
    if (near && (why === null || this.arriving)) {
      if (await this.openNear(calling.signal)) return;
      if (calling.signal.aborted) return;
    }
    if (why !== null) return this.stop(why, false);
    try {
      const session = await this.keeper.open(this.asked, calling.signal);
      if (calling.signal.aborted) return;
      this.session = this.asked;
      await this.engine.load(session.url, { at: at ?? 'live', speed: this.speed, low: true });
      if (calling.signal.aborted) return;
      if (this.wantsPlay) await this.begin();
    } catch (error) {
      if (isAbort(error) || calling.signal.aborted) return;
      const missing = error instanceof ApiError && error.status === 404;
      this.stop(missing ? 'There is no recording to play.' : inWords(error), error instanceof ApiError && (error.transient || missing));
    }
  }

  /** Live without delay; false where that is not to be had, and then not tried again on this page, unless the reason may pass. */
  private async openNear(signal: AbortSignal): Promise<boolean> {
    const { stream } = this.asked;
    try {
      this.session = this.asked;
      const opened = this.engine.loadNear(this.api, stream, signal);
      void this.begin();
      await opened;
      return true;
    } catch (error) {
      this.session = null;
      if (isAbort(error)) return false;
      if (error instanceof ApiError && ![400, 406, 415].includes(error.status)) this.notNear.forNow(stream);
      else this.notNear.forGood(stream);
      return false;
    }
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

  /** Takes the element's word, but an opening session is opening until its first frame is there. */
  private settle(phase: Phase): void {
    if (this.phase === 'problem' || (this.phase === 'opening' && phase !== 'playing')) return;
    this.phase = phase;
    this.around.changed();
  }

  private faulted(fault: Fault): void {
    if (this.phase === 'problem') return;
    if (fault.kind === 'codec') {
      if (this.around.failed(this.asked.stream)) return void this.open(this.followsLive ? null : this.asked.at);
      return this.stop(playability(this.of(this.source)?.tracks ?? []).words ?? fault.words, false);
    }
    // What was lost on the way of WebRTC may come by HLS.
    if (this.engine.isNear) {
      this.notNear.forNow(this.asked.stream);
      return void this.open(null);
    }
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
    this.keeper.close();
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
  private atEnd(over = true): void {
    const { position } = this.engine;
    const end = this.engine.map.to;
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
      if (over) this.phase = 'ended';
      return this.around.changed();
    }
    this.continuedAt = next;
    void this.open(next);
  }

  /** Once a second: has a fast player caught up, has the list moved away, or come to its end without saying so? */
  private look(): void {
    const { video, engine, session } = this;
    if (this.phase === 'opening' && performance.now() - this.openedAt > GIVE_UP_AFTER) return this.stop('The video does not start.', true);
    if (session === null || this.phase === 'opening' || this.phase === 'problem' || this.phase === 'ended') return;
    if (!this.wantsPlay) {
      this.pausedAt ??= performance.now();
      if (!this.resting && performance.now() - this.pausedAt > REST_AFTER) {
        this.resting = true;
        engine.rest();
      }
      return;
    }
    this.pausedAt = null;
    if (engine.isNear) this.lookNear();
    else if (this.nearAgain()) return void this.open(null);
    const { map } = engine;
    if (map.end === null || map.to === null) return;
    const late = this.behind ?? 0;
    if (this.changesSource()) return;
    if (this.speed > 1 && this.arriving && late < 10_000) return this.goLive();
    if (this.outside()) return void this.open(engine.position);
    // A list holds only so much: who plays faster than it moves comes to its end while the recording goes on.
    const left = (map.end - video.currentTime) / this.speed;
    const reachesLive = this.arriving && this.api.clock.now() - map.to < 30_000;
    if (left < 1.5 && late > 60_000 && !reachesLive) this.atEnd(left < 0.3 || video.readyState < 3);
  }

  /** Without delay, the element does not say that nothing comes. */
  private lookNear(): void {
    if (this.engine.stillFor > STILL_AFTER) this.settle('buffering');
    else if (this.phase === 'buffering') this.settle('playing');
    if (this.phase === 'playing' && performance.now() - this.openedAt > STEADY) this.notNear.played(this.asked.stream);
  }

  /** Whether live, which comes by HLS, may be had without delay again. */
  private nearAgain(): boolean {
    const { near, session, asked } = this;
    const here = session === asked && asked.at === null && asked.frames === 'all' && asked.stream === this.around.source(null).stream;
    return here && this.followsLive && this.live && this.phase === 'playing' && near.possible && near.wanted && this.notNear.worthIt(asked.stream);
  }

  /** The other source has what comes next, or the main is there again: goes on with that. */
  private changesSource(): boolean {
    const { position } = this.engine;
    if (position === null || this.target !== null) return false;
    if (this.followsLive) {
      if (this.around.source(null).stream === this.source.stream) return false;
      this.goLive();
      return true;
    }
    // Near the edge what the two have recorded is known at different times.
    const soon = position + 1500 * this.speed;
    if (this.api.clock.now() - soon < 30_000 || this.around.source(soon).stream === this.source.stream) return false;
    void this.open(soon);
    return true;
  }

  /** Whether the playlist has moved on past the moment on the screen. */
  private outside(): boolean {
    const { from } = this.engine.map;
    const { position } = this.engine;
    return this.session !== null && this.target === null && from !== null && position !== null && position < from - 1000;
  }

  /** A page that was hidden may have been throttled: who watched live wants to see live. */
  private seenAgain(): void {
    if (document.hidden || !this.followsLive || !this.wantsPlay || this.phase === 'opening' || this.engine.isNear) return;
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
      loaded: session === null || this.resting || this.phase === 'opening' || from === null || to === null ? null : { from, to, frames: session.frames },
      frames: framesFor(this.speed),
    };
  }
}
