// Live without delay: a WHEP session (docs/webrtc.md) in place of a playlist, where the browser can and the viewer lets it.

import type { Api } from '../api/client';
import type { Ms, Track } from '../api/types';
import { isAudio, isVideo } from '../app/words';

const KEY = 'rushes.near';

/** No picture after this long: by HLS, then. */
const PATIENCE: Ms = 4000;

export interface NearOptions {
  /** Without, sound is neither asked for nor sent. */
  sound?: boolean;
  patience?: Ms;
}

/** Whether the viewer wants it, on whatever camera: unless told otherwise. */
export function nearWanted(): boolean {
  try {
    return localStorage.getItem(KEY) !== '0';
  } catch {
    return true;
  }
}

export function wantNear(wanted: boolean): void {
  try {
    localStorage.setItem(KEY, wanted ? '1' : '0');
  } catch {
    // Storage may be forbidden: then it is not remembered.
  }
}

const PICTURES = new Set(['H.264', 'H.265', 'VP8', 'VP9', 'AV1']);
const SOUNDS = new Set(['Opus', 'G.711 µ-law', 'G.711 A-law']);

/** Whether WebRTC carries what the tracks are, all of it: nobody should lose the sound for a second's gain. */
export function nearPossible(tracks: readonly Track[], browserHas = typeof RTCPeerConnection !== 'undefined'): boolean {
  return browserHas && tracks.some(isVideo) && tracks.every((track) => (isVideo(track) ? PICTURES.has(track.codecName) : !isAudio(track) || SOUNDS.has(track.codecName)));
}

/** The first pause after a refusal that may pass, and the longest. */
const PAUSE: Ms = 10_000;
const LONGEST: Ms = 300_000;

/** Streams that could not be had without delay: for good (on this page), or for now. */
export class Refusals {
  private readonly known = new Map<string, { times: number; until: Ms }>();

  constructor(private readonly now: () => Ms = () => performance.now()) {}

  /** Trying again would not help. */
  forGood(stream: string): void {
    this.known.set(stream, { times: 0, until: Number.POSITIVE_INFINITY });
  }

  /** It is worth another try later: the oftener it fails, the later. */
  forNow(stream: string): void {
    const times = (this.known.get(stream)?.times ?? 0) + 1;
    this.known.set(stream, { times, until: this.now() + Math.min(LONGEST, PAUSE * 2 ** (times - 1)) });
  }

  /** Whether it could be had, be it later. */
  possible(stream: string): boolean {
    return this.known.get(stream)?.until !== Number.POSITIVE_INFINITY;
  }

  /** Whether it is worth trying now. */
  worthIt(stream: string): boolean {
    return (this.known.get(stream)?.until ?? 0) <= this.now();
  }

  /** It plays well: what was before counts no more. */
  played(stream: string): void {
    this.known.delete(stream);
  }

  clear(): void {
    this.known.clear();
  }
}

/** What of the browser's reports is read. */
interface Report {
  type: string;
  kind?: string;
  nominated?: boolean;
  jitterBufferDelay?: number;
  jitterBufferEmittedCount?: number;
  totalDecodeTime?: number;
  framesDecoded?: number;
  currentRoundTripTime?: number;
}

/** A session; `close` ends it, here and at the server. */
export class Near {
  /** It has ended by itself. */
  onLost: () => void = () => undefined;
  private readonly connection = new RTCPeerConnection();
  private resource: string | null = null;
  private closed = false;
  private timer: ReturnType<typeof setInterval> | undefined;
  /** About what lies between the camera's picture and its being seen: the way here, and the wait for the order of packets. */
  latency: Ms = 200;

  private constructor(private readonly api: Api) {
    this.connection.addEventListener('connectionstatechange', () => {
      if (!this.closed && ['failed', 'closed', 'disconnected'].includes(this.connection.connectionState)) this.onLost();
    });
  }

  /** Opens one and puts it into the element; done when there is a picture. */
  static async open(api: Api, stream: string, video: HTMLVideoElement, signal: AbortSignal, options: NearOptions = {}): Promise<Near> {
    const near = new Near(api);
    try {
      await near.connect(stream, video, signal, options);
      return near;
    } catch (error) {
      near.close();
      throw error;
    }
  }

  private async connect(stream: string, video: HTMLVideoElement, signal: AbortSignal, { sound = true, patience = PATIENCE }: NearOptions): Promise<void> {
    const { connection } = this;
    const media = new MediaStream();
    connection.addEventListener('track', ({ track }) => media.addTrack(track));
    connection.addTransceiver('video', { direction: 'recvonly' });
    if (sound) connection.addTransceiver('audio', { direction: 'recvonly' });
    await connection.setLocalDescription();
    const { answer, resource } = await this.api.watch(stream, connection.localDescription?.sdp ?? '', signal);
    this.resource = resource;
    await connection.setRemoteDescription({ type: 'answer', sdp: answer });
    // The element may play something else by now.
    signal.throwIfAborted();
    video.srcObject = media;
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error('There was no picture in time.')), patience);
      const done = (run: () => void): void => {
        clearTimeout(late);
        video.removeEventListener('loadeddata', seen);
        signal.removeEventListener('abort', gone);
        run();
      };
      const seen = (): void => done(resolve);
      const gone = (): void => done(() => reject(new DOMException('Nobody waits for it.', 'AbortError')));
      video.addEventListener('loadeddata', seen);
      signal.addEventListener('abort', gone);
      this.onLost = () => done(() => reject(new Error('The connection was lost.')));
      if (signal.aborted) gone();
    });
    this.onLost = () => undefined;
    this.timer = setInterval(() => void this.measure(), 1000);
  }

  private async measure(): Promise<void> {
    if (this.closed) return;
    let [wait, way] = [0, 0];
    for (const report of (await this.connection.getStats()).values() as Iterable<Report>) {
      if (report.type === 'inbound-rtp' && report.kind === 'video' && report.jitterBufferEmittedCount) {
        wait = (report.jitterBufferDelay ?? 0) / report.jitterBufferEmittedCount + (report.totalDecodeTime ?? 0) / (report.framesDecoded || 1);
      }
      if (report.type === 'candidate-pair' && report.nominated) way = (report.currentRoundTripTime ?? 0) / 2;
    }
    if (wait > 0) this.latency = Math.max(50, Math.round((wait + way) * 1000));
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.timer);
    this.connection.close();
    // A session that is left is ended by the server, too, a little later.
    if (this.resource !== null) void this.api.unwatch(this.resource).catch(() => undefined);
  }
}
