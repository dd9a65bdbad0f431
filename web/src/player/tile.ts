// A live picture in a grid, as decisions: which source, by what way, when to begin, give up, and try again. What does it is the
// driver (`ui/live-tile.ts`): so this can be tested without a browser.

import { backoff } from '../api/backoff';
import { ApiError, inWords, isAbort } from '../api/errors';
import type { Camera, Ms, SourceStatus, Track } from '../api/types';
import { isVideo } from '../app/words';
import type { Fault } from './engine';
import { nearPossible, nearWanted } from './near';
import type { Claim } from './places';
import { Places } from './places';
import type { TypeTest } from './support';
import { browserPlays, playability } from './support';

/** So many play at once, and so many pixels: browsers have only so many decoders. Cameras without a sub cost most of it. */
const MOST = 16;
const PIXELS = MOST * 1280 * 720;

/** Plain HTTP/1.1 gives a page six connections, and a low-latency playlist holds one: so many may. */
const HELD = 2;

/** No picture after this long is not patience any more. */
const GIVE_UP_AFTER: Ms = 20_000;

/** What played this long has not failed at once. */
const STEADY: Ms = 10_000;

/** A live picture that moves no more is none. */
const STILL_AFTER: Ms = 10_000;

/** Nor is one this late. */
const LATE: Ms = 30_000;

/** A stream to play, and the ways there are. */
export interface Wish {
  stream: string;
  near: boolean;
  playlist: boolean;
  pixels: number;
}

/** What this browser turned out not to play, by stream. */
export interface Cannot {
  near: ReadonlySet<string>;
  playlist: ReadonlySet<string>;
}

/** What the browser can and the viewer wants. */
export interface Means {
  plays: TypeTest;
  webrtc(tracks: readonly Track[]): boolean;
}

export const means: Means = {
  plays: browserPlays,
  // A tile is silent: sound that WebRTC does not carry is no loss.
  webrtc: (tracks) => nearWanted() && nearPossible(tracks.filter(isVideo)),
};

/** What a tile plays of a camera: the sub, which is cheap to send and to decode, else the main; or why nothing, if there is something. */
export function tileWish(camera: Camera, cannot: Cannot, { plays, webrtc }: Means): Wish | string | null {
  const sources: [string, SourceStatus][] = [[camera.name, camera]];
  if (camera.sub !== null) sources.unshift([camera.sub.stream, camera.sub]);
  const running = sources.filter(([, source]) => source.state === 'running' && source.tracks.some(isVideo));
  let words: string | null = null;
  for (const [stream, { tracks, recorded }] of running) {
    const able = playability(tracks, plays);
    const near = webrtc(tracks) && !cannot.near.has(stream);
    const decodes = able.video && !cannot.playlist.has(stream);
    if (near || (decodes && recorded !== null)) {
      const pixels = Math.max(...tracks.filter(isVideo).map(({ width, height }) => width * height));
      return { stream, near, playlist: decodes && recorded !== null, pixels };
    }
    // Nothing recorded yet is a matter of seconds.
    if (!decodes) words = able.words ?? 'This browser could not decode the picture.';
  }
  return words;
}

/** What a tile needs of the room for all. */
export function tileCost(pixels: number): number {
  return Math.max(pixels, PIXELS / MOST);
}

/** The room that all tiles of a page share. */
export interface Rooms {
  places: Places;
  held: Places;
}

/** `multiplexed`: many requests go over one connection. */
export function rooms(multiplexed: boolean): Rooms {
  return { places: new Places(PIXELS), held: new Places(multiplexed ? MOST : HELD) };
}

export interface Driver {
  /** Plays a stream by WebRTC; refused where that cannot be had. */
  near(stream: string, signal: AbortSignal): Promise<void>;
  /** Plays it by HLS, of low latency if asked. */
  playlist(stream: string, low: boolean, signal: AbortSignal): Promise<void>;
  stop(): void;
  changed(): void;
}

/** Why there is a still. */
export interface TileProblem {
  words: string;
  /** When it is tried again (our clock); `room`: as soon as there is room; null when trying again would not help. */
  retryAt: Ms | 'room' | null;
}

export class Tile {
  playing = false;
  problem: TileProblem | null = null;

  private camera: Camera | null = null;
  private seen = false;
  private wish: Wish | null = null;
  private readonly cannot = { near: new Set<string>(), playlist: new Set<string>() };
  private calling: AbortController | null = null;
  private claims: Claim[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  private isNear = false;
  private since: Ms = 0;
  private moved = { progress: 0, at: 0 };

  constructor(
    private readonly driver: Driver,
    private readonly rooms: Rooms,
    private readonly means: Means,
  ) {}

  /** The camera as it is now; null for none. */
  wants(camera: Camera | null): void {
    this.camera = camera;
    this.look();
  }

  /** Whether anybody can see it. */
  see(seen: boolean): void {
    if (seen === this.seen) return;
    this.seen = seen;
    this.look();
  }

  /** Whether it is tried again at a time that `retryNow` brings nearer, or right now. */
  get retriable(): boolean {
    return typeof this.problem?.retryAt === 'number';
  }

  retryNow(): void {
    if (this.problem === null || this.wish === null || this.claims.length > 0) return;
    clearTimeout(this.timer);
    this.attempt = 0;
    this.begin();
  }

  /** The first picture is on the screen. */
  picture(): void {
    if (this.calling === null) return;
    clearTimeout(this.timer);
    this.since = Date.now();
    this.moved = { progress: 0, at: this.since };
    this.playing = true;
    this.problem = null;
    this.driver.changed();
  }

  fault(fault: Fault): void {
    const { wish } = this;
    if (this.calling === null || wish === null) return;
    if (fault.kind === 'codec') {
      this.cannot.playlist.add(wish.stream);
      return this.again();
    }
    // What is lost over and over on the way of WebRTC may come by HLS.
    if (this.isNear && this.attempt > 1 && wish.playlist) this.cannot.near.add(wish.stream);
    this.fail(fault.words);
  }

  /** Once a second: `progress` changes as long as pictures come, and what is on the screen is so late. */
  tick(progress: number, late: Ms | null): void {
    if (!this.playing) return;
    const now = Date.now();
    if (progress !== this.moved.progress) this.moved = { progress, at: now };
    if (late !== null && late > LATE) this.fail('The picture fell behind.');
    else if (now - this.moved.at > STILL_AFTER) this.fail('No new picture came.');
  }

  private look(): void {
    const found = this.camera === null ? null : tileWish(this.camera, this.cannot, this.means);
    const next = typeof found === 'string' || !this.seen ? null : found;
    // What plays goes on, whatever other ways there are by now.
    if (next?.stream === this.wish?.stream) this.wish = next;
    else {
      this.halt();
      this.wish = next;
      this.attempt = 0;
      this.problem = null;
      if (next !== null) this.begin();
    }
    if (typeof found === 'string') this.problem = { words: found, retryAt: null };
    else if (next === null) this.problem = null;
    this.driver.changed();
  }

  /** Looks for another way, after one was found to be none. */
  private again(): void {
    this.halt();
    this.wish = null;
    this.look();
  }

  private begin(): void {
    if (this.wish === null) return;
    const place = this.rooms.places.claim(tileCost(this.wish.pixels), () => void this.open());
    this.claims.push(place);
    if (place.held) void this.open();
    else if (this.problem !== null) {
      this.problem.retryAt = 'room';
      this.driver.changed();
    }
  }

  private async open(): Promise<void> {
    const { wish } = this;
    if (wish === null) return;
    const calling = new AbortController();
    this.calling = calling;
    const { signal } = calling;
    if (this.problem !== null) this.problem.retryAt = Date.now();
    this.timer = setTimeout(() => this.fail('The video does not start.'), GIVE_UP_AFTER);
    try {
      if (wish.near && !this.cannot.near.has(wish.stream) && (await this.openNear(wish.stream, signal))) return;
      if (signal.aborted) return;
      // By now there may be a recording.
      if (!(this.wish ?? wish).playlist) return this.again();
      const held = this.rooms.held.take(1);
      if (held !== null) this.claims.push(held);
      await this.driver.playlist(wish.stream, held !== null, signal);
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      const missing = error instanceof ApiError && error.status === 404;
      this.fail(missing ? 'There is no recording to play yet.' : inWords(error));
    }
  }

  /** False where it is not to be had and there is another way. */
  private async openNear(stream: string, signal: AbortSignal): Promise<boolean> {
    this.isNear = true;
    try {
      await this.driver.near(stream, signal);
      return true;
    } catch (error) {
      if (signal.aborted) return true;
      this.isNear = false;
      // "Not now" may pass. That a codec is not offered does not; nor, as a rule, that no way leads there.
      const passes = error instanceof ApiError && ![400, 406, 415].includes(error.status);
      const other = this.wish?.playlist === true;
      if (!passes && (other || error instanceof ApiError)) this.cannot.near.add(stream);
      else if (!other) throw error;
      return false;
    }
  }

  private fail(words: string): void {
    if (this.playing && Date.now() - this.since >= STEADY) this.attempt = 0;
    this.halt();
    const wait = backoff(this.attempt++, Math.random, 2000);
    this.problem = { words, retryAt: Date.now() + wait };
    this.timer = setTimeout(() => this.begin(), wait);
    this.driver.changed();
  }

  private halt(): void {
    clearTimeout(this.timer);
    this.calling?.abort();
    this.calling = null;
    this.isNear = false;
    this.playing = false;
    this.driver.stop();
    for (const claim of this.claims.splice(0)) claim.release();
  }
}

/** What a tile says about its problem; null when it has none. */
export function tileWords(problem: TileProblem | null, now: Ms): string | null {
  if (problem === null || problem.retryAt === null) return problem?.words ?? null;
  if (problem.retryAt === 'room') return `${problem.words} Trying again when there is room.`;
  const seconds = Math.ceil((problem.retryAt - now) / 1000);
  return seconds > 0 ? `${problem.words} Trying again in ${seconds} s.` : `${problem.words} Trying again.`;
}
