// The media engine: one playback session at a time in one <video>, through hls.js where the browser has Media Source
// Extensions, through the browser's own HLS where it has not.

import type Hls from 'hls.js';
import type { ErrorData, HlsConfig, LevelDetails } from 'hls.js';
import type { Api } from '../api/client';
import type { Ms } from '../api/types';
import SETTINGS from './hls.json';
import type { NearOptions } from './near';
import { Near } from './near';
import { patience, patientLoader } from './patient';
import { loadHls } from './preload';
import { TimeMap } from './timemap';

/** What stopped the engine for good. */
export interface Fault {
  /** `expired`: the address is no longer admitted. `codec`: this browser lacks it. The others may pass. */
  kind: 'expired' | 'codec' | 'network' | 'media';
  words: string;
}

export interface EngineEvents {
  /** A frame of the newly loaded session is on the screen; `at` by `performance.now()`. */
  picture(at: number): void;
  fault(fault: Fault): void;
  /** The session's media ends and has been played. */
  ended(): void;
}

export interface LoadOptions {
  /** Where to begin: `live`, or a moment at or after the session's start. */
  at: 'live' | Ms;
  speed: number;
  /** Live as near as HLS gets: by parts of segments, at the price of requests that wait. */
  low?: boolean;
}

/** By what the picture comes. */
export type How = 'webrtc' | 'low' | 'hls';

export const HOW: Record<How, string> = { webrtc: 'WebRTC', low: 'low-latency HLS', hls: 'HLS' };

/** No new picture for this long is not yet a halt. */
const PICTURE: Ms = 1000;

// hls.js's settings, which the figures (`tests/bench/live.py`) take from the same file.
// - A worker would only add a start-up: fragments are fMP4 already and pass through.
// - Held is what is ahead by time alone: the bytes would allow minutes, loaded for nothing when somebody looks around.
// - With parts, what was lost by a stall is caught up with, hardly noticed. The target stays nearly where it was: by default
//   each stall, those of the start included, adds a second to it for good.

/** Seconds of media to hold ahead at normal speed. */
const AHEAD = SETTINGS.always.maxBufferLength;

export class Engine {
  private hls: Hls | null = null;
  private details: LevelDetails | null = null;
  private cached: TimeMap | null = null;
  private generation = 0;
  private recoveries: number[] = [];
  private token = '';
  private native = false;
  private pictured = false;
  private near: Near | null = null;
  private nearNow: (() => Ms) | null = null;
  /** Of WebRTC: pictures seen, and when there was the last new one (`performance.now()`). */
  private seen = { pictures: 0, at: 0 };

  constructor(
    readonly video: HTMLVideoElement,
    private readonly events: EngineEvents,
  ) {
    video.addEventListener('ended', () => this.events.ended());
    video.addEventListener('error', () => {
      if (this.native) this.events.fault({ kind: 'network', words: 'The browser could not play the stream.' });
    });
  }

  async load(url: string, options: LoadOptions): Promise<void> {
    this.unload();
    const { generation } = this;
    const { default: HlsClass } = await loadHls();
    if (generation !== this.generation) return;
    this.token = tokenOf(url);
    this.recoveries = [];
    this.pictured = false;
    if (!HlsClass.isSupported()) return this.loadNatively(url, options, generation);

    const pLoader = patientLoader(HlsClass.DefaultConfig.loader as never, () => (this.pictured ? patience(this.ahead, this.video.playbackRate) : 0));
    const hls = new HlsClass({ ...this.config(options), pLoader: pLoader as never });
    // Two fragments behind the edge where there are no parts; a stall puts one second more in between, up to a fragment. (Set
    // here, since what is given at the beginning would hold for playlists with parts, too, which say it themselves.)
    hls.config.liveSyncDurationCount = 2;
    this.hls = hls;
    const { Events } = HlsClass;
    const known = (details: LevelDetails): void => {
      this.details = details;
      this.cached = null;
    };
    hls.on(Events.LEVEL_UPDATED, (_, data) => known(data.details));
    hls.on(Events.LEVEL_PTS_UPDATED, (_, data) => known(data.details));
    hls.on(Events.ERROR, (_, data) => this.failed(hls, data));
    if (options.at !== 'live') {
      // The session begins with the fragment that holds the moment: on to the moment itself, once it is there.
      const at = options.at;
      hls.once(Events.FRAG_BUFFERED, () => this.seek(at));
    }
    hls.attachMedia(this.video);
    hls.loadSource(url);
    this.setSpeed(options.speed);
    this.awaitPicture(generation);
  }

  /** Live without delay; refused where that cannot be had now. */
  async loadNear(api: Api, stream: string, signal: AbortSignal, options: NearOptions = {}): Promise<void> {
    this.unload();
    const { generation } = this;
    this.awaitPicture(generation);
    const near = await Near.open(api, stream, this.video, signal, options);
    if (generation !== this.generation) return near.close();
    this.near = near;
    this.seen = { pictures: 0, at: performance.now() };
    // Of the picture on the screen: where none comes any more, time stands.
    this.nearNow = () => api.clock.now() - this.stillFor - near.latency;
    near.onLost = () => this.events.fault({ kind: 'network', words: 'The connection was lost.' });
  }

  /** By what the picture comes; null before anything was loaded. */
  get how(): How | null {
    if (this.near !== null) return 'webrtc';
    if (this.native) return 'hls';
    if (this.details === null) return null;
    return this.hls?.config.lowLatencyMode === true && this.details.partTarget > 0 ? 'low' : 'hls';
  }

  /** Whether what is shown comes without delay. */
  get isNear(): boolean {
    return this.near !== null;
  }

  /** How long no new picture has come without delay; an element that waits for one does not say so. */
  get stillFor(): Ms {
    if (this.near === null) return 0;
    // Not every browser counts the pictures that WebRTC brings.
    const pictures = this.video.getVideoPlaybackQuality().totalVideoFrames || this.video.currentTime;
    if (pictures !== this.seen.pictures) this.seen = { pictures, at: performance.now() };
    const still = performance.now() - this.seen.at;
    // A picture lasts a while.
    return still < PICTURE ? 0 : still;
  }

  /** Lets go of the session; the element is empty afterwards. */
  unload(): void {
    this.generation += 1;
    this.near?.close();
    this.near = null;
    this.nearNow = null;
    if (this.video.srcObject !== null) this.video.srcObject = null;
    this.hls?.destroy();
    this.hls = null;
    this.details = null;
    this.cached = null;
    if (this.native) {
      this.native = false;
      this.video.removeAttribute('src');
      this.video.load();
    }
  }

  /** A renewed session of the same kind: every later request carries its token instead of the first one's. */
  renew(url: string): boolean {
    if (this.native) return false;
    this.token = tokenOf(url);
    return true;
  }

  get map(): TimeMap {
    // Nothing but now.
    if (this.nearNow !== null) return new TimeMap([{ media: this.video.currentTime, wall: this.nearNow(), duration: 0 }]);
    if (this.native) return this.nativeMap();
    if (this.cached === null) {
      const pieces = [];
      for (const fragment of this.details?.fragments ?? []) {
        const { start, duration, programDateTime } = fragment;
        if (programDateTime !== null) pieces.push({ media: start, wall: programDateTime, duration });
      }
      this.cached = new TimeMap(pieces);
    }
    return this.cached;
  }

  /** The moment on the screen. */
  get position(): Ms | null {
    return this.map.wall(this.video.currentTime);
  }

  /** Whether the playlist still grows. */
  get growing(): boolean {
    return this.native ? this.video.duration === Number.POSITIVE_INFINITY : (this.details?.live ?? true);
  }

  /** Seconds of the playlist that are still to be played. */
  get ahead(): number {
    const last = this.details?.fragments.at(-1);
    return last === undefined ? 0 : last.start + last.duration - this.video.currentTime;
  }

  /** Stops loading, when nobody will look for a while. What is loaded stays. */
  rest(): void {
    this.hls?.stopLoad();
  }

  /** How far behind live one is when at the live edge of this session, in milliseconds. */
  get liveTarget(): Ms {
    return (this.hls?.targetLatency ?? 6) * 1000;
  }

  /** Goes to a moment within the session; false when the session does not have it. */
  seek(at: Ms): boolean {
    const media = this.map.media(at);
    if (media === null) return false;
    const there = this.onPicture(media);
    if (Math.abs(this.video.currentTime - there) > 0.02) this.video.currentTime = there;
    return true;
  }

  /** The place itself, or the first frame when that is loaded and comes a little later: there is nothing to show before it. */
  private onPicture(media: number): number {
    const { buffered } = this.video;
    for (let index = 0; index < buffered.length; index += 1) {
      const start = buffered.start(index);
      if (media < start && start - media < 1) return start + 0.001;
    }
    return media;
  }

  /** Goes to the live edge of a session that has one. */
  seekLive(): boolean {
    if (this.near !== null) return !this.video.paused;
    const edge = this.native ? this.nativeEdge() : this.hls?.liveSyncPosition;
    if (edge === null || edge === undefined || !this.growing) return false;
    this.video.currentTime = edge;
    return true;
  }

  setSpeed(speed: number): void {
    this.video.defaultPlaybackRate = speed;
    this.video.playbackRate = speed;
    // Faster playing uses the buffer up faster; the picture should not wait for the network because of that.
    if (this.hls !== null) this.hls.config.maxBufferLength = AHEAD * Math.max(1, speed);
  }

  private config({ at, speed, low = false }: LoadOptions): Partial<HlsConfig> {
    return {
      ...SETTINGS.always,
      ...(low && at === 'live' ? SETTINGS.low : { lowLatencyMode: false }),
      // Half a second in, not 0: the first frame may come a little after the start of its fragment, and a position before
      // that would send the audio to the live edge, which may lie in another discontinuity and never meet the video.
      startPosition: at === 'live' ? -1 : 0.5,
      maxBufferLength: AHEAD * Math.max(1, speed),
      xhrSetup: (xhr: XMLHttpRequest, url: string) => xhr.open('GET', this.current(url), true),
    };
  }

  /** An address of this session with the newest token. */
  private current(url: string): string {
    return this.token === '' ? url : withToken(url, this.token);
  }

  private failed(hls: Hls, data: ErrorData): void {
    if (hls !== this.hls) return;
    const status = data.response?.code ?? 0;
    // An expired token is not worth hls.js's own repetitions.
    const refused = status === 401 || status === 403 || status === 410;
    if (!data.fatal && !refused) return;
    const codec = data.details === 'manifestIncompatibleCodecsError' || data.details === 'bufferAddCodecError';
    if (codec || data.details === 'bufferIncompatibleCodecsError') {
      return this.events.fault({ kind: 'codec', words: 'This browser does not support the camera’s codec.' });
    }
    if (status === 404 && data.type === 'networkError' && this.details === null) {
      return this.events.fault({ kind: 'network', words: 'There is nothing to play yet.' });
    }
    if (refused || (status === 404 && data.type === 'networkError')) {
      return this.events.fault({ kind: 'expired', words: 'The playback session has ended.' });
    }
    if (data.type === 'mediaError' && this.mayRecover()) return hls.recoverMediaError();
    if (data.type === 'networkError') {
      const words = status === 0 ? 'The server cannot be reached.' : `The server answered ${status} for a piece of the video.`;
      return this.events.fault({ kind: 'network', words });
    }
    this.events.fault({ kind: 'media', words: 'The browser could not decode the video here.' });
  }

  /** Twice in ten seconds; a stream that fails more often needs another session. */
  private mayRecover(): boolean {
    const now = performance.now();
    this.recoveries = this.recoveries.filter((at) => now - at < 10_000);
    this.recoveries.push(now);
    return this.recoveries.length <= 2;
  }

  private awaitPicture(generation: number): void {
    const { video } = this;
    const seen = (at: number): void => {
      if (generation !== this.generation) return;
      this.pictured = true;
      this.events.picture(at);
    };
    if ('requestVideoFrameCallback' in video) {
      video.requestVideoFrameCallback((_, frame) => seen(frame.presentationTime));
    } else {
      (video as HTMLVideoElement).addEventListener('loadeddata', () => seen(performance.now()), { once: true });
    }
  }

  // The browser's own HLS.

  private loadNatively(url: string, { at, speed }: LoadOptions, generation: number): void {
    this.native = true;
    this.video.src = url;
    this.setSpeed(speed);
    this.awaitPicture(generation);
    if (at !== 'live') {
      this.video.addEventListener('loadedmetadata', () => generation === this.generation && this.seek(at), { once: true });
    }
  }

  private nativeMap(): TimeMap {
    const start = (this.video as HTMLVideoElement & { getStartDate?: () => Date }).getStartDate?.().getTime();
    const range = this.video.seekable;
    if (start === undefined || Number.isNaN(start) || range.length === 0) return new TimeMap([]);
    const first = range.start(0);
    return new TimeMap([{ media: first, wall: start + first * 1000, duration: range.end(range.length - 1) - first }]);
  }

  private nativeEdge(): number | null {
    const range = this.video.seekable;
    return range.length === 0 ? null : Math.max(range.start(range.length - 1), range.end(range.length - 1) - 4);
  }
}

/** The token in a playback address, `/hls/TOKEN/…`; empty when there is none. */
export function tokenOf(url: string): string {
  return /\/hls\/([^/]+)\//.exec(url)?.[1] ?? '';
}

export function withToken(url: string, token: string): string {
  return url.replace(/\/hls\/[^/]+\//, `/hls/${token}/`);
}
