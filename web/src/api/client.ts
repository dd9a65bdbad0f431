// The typed client of the `/v1` API: one method a call, every failure an `ApiError`.

import { ServerClock } from './clock';
import { errorFromAnswer, errorFromFailure, isAbort } from './errors';
import type {
  Camera,
  CreatedCamera,
  Ms,
  Pin,
  PlaybackSession,
  ProbeRequest,
  ProbeResult,
  RetentionChange,
  SessionInfo,
  SessionRequest,
  Source,
  Storage,
  Stream,
  Timeline,
  WatchToken,
} from './types';
import { ms } from './types';

interface CallOptions {
  body?: unknown;
  /** In place of `body`: as it is, of this type. */
  text?: string;
  type?: string;
  signal?: AbortSignal | undefined;
  /** Milliseconds until we stop waiting. */
  timeout?: number;
}

export interface Still {
  blob: Blob;
  /** When the picture was taken. */
  time: Ms | null;
}

export class Api {
  readonly clock: ServerClock;
  /** Called when the server no longer takes our session. */
  onSignedOut: () => void = () => undefined;
  /** Called with every answer that was not an error of the server's. */
  onAnswer: () => void = () => undefined;

  constructor(
    private readonly fetcher: typeof fetch = (input, init) => fetch(input, init),
    private readonly local: () => Ms = () => Date.now(),
  ) {
    this.clock = new ServerClock(local);
  }

  // The console's session.

  session(signal?: AbortSignal): Promise<SessionInfo> {
    return this.json('GET', '/v1/session', { signal });
  }

  async signIn(accessKeyId: string, secretAccessKey: string): Promise<void> {
    await this.call('POST', '/v1/session', { body: { accessKeyId, secretAccessKey } });
  }

  async signOut(): Promise<void> {
    await this.call('DELETE', '/v1/session');
  }

  // Cameras.

  async cameras(signal?: AbortSignal): Promise<Camera[]> {
    return (await this.json<{ cameras: Camera[] }>('GET', '/v1/cameras', { signal })).cameras;
  }

  camera(name: string, signal?: AbortSignal): Promise<Camera> {
    return this.json('GET', `/v1/cameras/${encodeURIComponent(name)}`, { signal });
  }

  createCamera(name: string, source: Source, sub: ProbeRequest | null = null): Promise<CreatedCamera> {
    return this.json('POST', '/v1/cameras', { body: sub === null ? { name, source } : { name, source, sub } });
  }

  /** `sub: null` takes the sub source away. */
  changeCamera(name: string, change: { enabled?: boolean; source?: Source; sub?: ProbeRequest | null }): Promise<Camera> {
    return this.json('PATCH', `/v1/cameras/${encodeURIComponent(name)}`, { body: change });
  }

  async publishUrl(name: string): Promise<string> {
    const path = `/v1/cameras/${encodeURIComponent(name)}/publish-url`;
    return (await this.json<{ publishUrl: string }>('POST', path)).publishUrl;
  }

  async deleteCamera(name: string, recordings: 'keep' | 'delete'): Promise<void> {
    await this.call('DELETE', `/v1/cameras/${encodeURIComponent(name)}?recordings=${recordings}`, { timeout: 60_000 });
  }

  probe(request: ProbeRequest, signal?: AbortSignal): Promise<ProbeResult> {
    return this.json('POST', '/v1/cameras/probe', { body: request, signal, timeout: 60_000 });
  }

  // Streams.

  async streams(signal?: AbortSignal): Promise<Stream[]> {
    return (await this.json<{ streams: Stream[] }>('GET', '/v1/streams', { signal })).streams;
  }

  stream(name: string, signal?: AbortSignal): Promise<Stream> {
    return this.json('GET', streamPath(name), { signal });
  }

  setRetention(stream: string, retention: RetentionChange): Promise<Stream> {
    return this.json('PATCH', streamPath(stream), { body: { retention } });
  }

  async pins(stream: string, signal?: AbortSignal): Promise<Pin[]> {
    return (await this.json<{ pins: Pin[] }>('GET', `${streamPath(stream)}/pins`, { signal })).pins;
  }

  /** Keeps what is recorded in a range of the timeline, whatever retention says. */
  pin(stream: string, from: Ms, to: Ms, note: string): Promise<Pin> {
    const body = { from: new Date(from).toISOString(), to: new Date(to).toISOString(), by: 'producer', note };
    return this.json('POST', `${streamPath(stream)}/pins`, { body });
  }

  async unpin(stream: string, id: string): Promise<void> {
    await this.call('DELETE', `${streamPath(stream)}/pins/${encodeURIComponent(id)}`);
  }

  /** Deletes a stream with its recordings: its keys are destroyed. */
  async deleteStream(name: string): Promise<void> {
    await this.call('DELETE', streamPath(name), { timeout: 60_000 });
  }

  async timeline(stream: string, from: Ms, to: Ms, signal?: AbortSignal): Promise<Timeline> {
    const query = new URLSearchParams({ from: new Date(from).toISOString(), to: new Date(to).toISOString() });
    const sent = this.local();
    const answer = await this.json<Timeline>('GET', `${streamPath(stream)}/timeline?${query}`, { signal });
    this.clock.observe(ms(answer.now), sent, this.local(), 1);
    return answer;
  }

  openSession(stream: string, request: SessionRequest, signal?: AbortSignal): Promise<PlaybackSession> {
    return this.json('POST', `${streamPath(stream)}/sessions`, { body: request, signal });
  }

  /** The address of a still: the latest key frame, or the last at or before `at`. */
  stillUrl(stream: string, options: { at?: Ms; width?: number } = {}): string {
    const query = new URLSearchParams();
    if (options.at !== undefined) query.set('at', new Date(options.at).toISOString());
    if (options.width !== undefined) query.set('width', String(options.width));
    const text = query.toString();
    return `${streamPath(stream)}/still.jpg${text === '' ? '' : `?${text}`}`;
  }

  async still(stream: string, options: { at?: Ms; width?: number; signal?: AbortSignal } = {}): Promise<Still> {
    const answer = await this.call('GET', this.stillUrl(stream, options), { signal: options.signal });
    const header = answer.headers.get('X-Rushes-Time');
    const time = header === null ? Number.NaN : ms(header);
    return { blob: await answer.blob(), time: Number.isFinite(time) ? time : null };
  }

  /** The address of a range as a file. */
  exportUrl(stream: string, from: Ms, to: Ms, format: 'mp4' | 'mkv', audio: NonNullable<SessionRequest['audio']>): string {
    const query = new URLSearchParams({ from: new Date(from).toISOString(), to: new Date(to).toISOString(), format, audio });
    return `${streamPath(stream)}/export?${query}`;
  }

  // Live by WebRTC (docs/webrtc.md).

  /** Offers a description; the answer, and where the session is. */
  async watch(stream: string, offer: string, signal?: AbortSignal): Promise<{ answer: string; resource: string }> {
    const answer = await this.call('POST', `/whep/${encodeURIComponent(stream)}`, { text: offer, type: 'application/sdp', signal });
    return { answer: await answer.text(), resource: answer.headers.get('Location') ?? '' };
  }

  /** Where anybody may watch a stream who has the token, for so many seconds. */
  watchToken(stream: string, expiresInSeconds: number, signal?: AbortSignal): Promise<WatchToken> {
    return this.json('POST', `${streamPath(stream)}/whep`, { body: { expiresInSeconds }, signal });
  }

  /** Offers to publish. */
  async publish(stream: string, offer: string, signal?: AbortSignal): Promise<{ answer: string; resource: string }> {
    const answer = await this.call('POST', `/whip/${encodeURIComponent(stream)}`, { text: offer, type: 'application/sdp', signal });
    return { answer: await answer.text(), resource: answer.headers.get('Location') ?? '' };
  }

  async unwatch(resource: string): Promise<void> {
    await this.call('DELETE', resource);
  }

  // Storage.

  storage(signal?: AbortSignal): Promise<Storage> {
    return this.json('GET', '/v1/storage', { signal });
  }

  private async json<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const answer = await this.call(method, path, options);
    try {
      return (await answer.json()) as T;
    } catch (cause) {
      if (isAbort(cause)) throw cause;
      throw errorFromAnswer(answer.status, '');
    }
  }

  private async call(method: string, path: string, options: CallOptions = {}): Promise<Response> {
    const limit = new AbortController();
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      limit.abort();
    }, options.timeout ?? 20_000);
    const abort = (): void => limit.abort();
    options.signal?.addEventListener('abort', abort);
    if (options.signal?.aborted) limit.abort();

    const headers: Record<string, string> = { Accept: 'application/json, image/*' };
    if (method !== 'GET') headers['X-Rushes-Console'] = '1';
    if (options.body !== undefined) headers['Content-Type'] = 'application/json';
    const init: RequestInit = { method, headers, signal: limit.signal, credentials: 'same-origin', cache: 'no-cache' };
    if (options.body !== undefined) init.body = JSON.stringify(options.body);
    if (options.text !== undefined) {
      headers['Content-Type'] = options.type ?? 'text/plain';
      init.body = options.text;
    }

    const sent = this.local();
    try {
      const answer = await this.fetcher(path, init);
      const date = answer.headers.get('Date');
      // A cached answer carries an old date; Age says so.
      if (date !== null && answer.headers.get('Age') === null) {
        this.clock.observe(Date.parse(date), sent, this.local(), 1000);
      }
      if (answer.status < 500) this.onAnswer();
      if (answer.ok) return answer;
      const error = errorFromAnswer(answer.status, await answer.text(), answer.headers.get('Retry-After'));
      if (error.status === 401 && !path.startsWith('/v1/session')) this.onSignedOut();
      throw error;
    } catch (cause) {
      if (isAbort(cause) && !timedOut) throw cause;
      throw errorFromFailure(cause, timedOut);
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', abort);
    }
  }
}

function streamPath(name: string): string {
  return `/v1/streams/${encodeURIComponent(name)}`;
}
