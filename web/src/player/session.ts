// A playback session and its renewal.

import { backoff } from '../api/backoff';
import type { Api } from '../api/client';
import { isAbort } from '../api/errors';
import type { Ms, PlaybackSession, SessionRequest } from '../api/types';
import { ms } from '../api/types';
import type { Frames } from './decide';
import { takePrepared } from './preload';
import { soundWanted } from './support';

/** What a session shows: from a moment on, or live. */
export interface Asked {
  stream: string;
  at: Ms | null;
  frames: Frames;
  /** For whom nobody listens to, sound is not made into what browsers play: sessions in which it is are not of low latency. */
  silent?: boolean;
}

export class SessionKeeper {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private renewing: AbortController | null = null;
  private attempt = 0;

  constructor(
    private readonly api: Api,
    /** Where the player is. */
    private readonly position: () => Ms | null,
    /** Puts the new session in the place of the old one; false when that cannot be done. */
    private readonly renewed: (url: string) => boolean,
  ) {}

  async open(asked: Asked, signal: AbortSignal): Promise<PlaybackSession> {
    this.close();
    const prepared = asked.at === null && asked.frames === 'all' && !asked.silent ? await takePrepared(asked.stream) : null;
    const session = prepared ?? (await this.api.openSession(asked.stream, request(asked), signal));
    if (!signal.aborted) this.renewLater(asked, session);
    return session;
  }

  close(): void {
    clearTimeout(this.timer);
    this.renewing?.abort();
    this.attempt = 0;
  }

  private renewLater(asked: Asked, session: PlaybackSession): void {
    const left = ms(session.expires) - this.api.clock.now();
    if (!Number.isFinite(left)) return;
    const wait = Math.max(1000, left - Math.min(60_000, left * 0.2));
    // Timers beyond 2³¹ ms fire at once.
    this.timer = setTimeout(() => void this.renew(asked), Math.min(wait, 2 ** 31 - 1));
  }

  /** The same session under a new token, without a break in the picture. */
  private async renew(asked: Asked): Promise<void> {
    const renewing = new AbortController();
    this.renewing = renewing;
    // From where we are: the list of a session moves along with a player that began when the session did.
    const position = this.position();
    const next = asked.at === null || position === null ? asked : { ...asked, at: Math.max(asked.at, position - 10_000) };
    try {
      const session = await this.api.openSession(next.stream, request(next), renewing.signal);
      this.attempt = 0;
      if (this.renewed(session.url)) this.renewLater(next, session);
    } catch (error) {
      if (!isAbort(error)) this.timer = setTimeout(() => void this.renew(asked), backoff(this.attempt++));
    }
  }
}

function request({ at, frames, silent }: Asked): SessionRequest {
  const wanted: SessionRequest = { protocol: 'hls', audio: silent === true ? 'asIs' : soundWanted() };
  if (at !== null) wanted.from = new Date(at).toISOString();
  if (frames === 'key') wanted.frames = 'key';
  return wanted;
}
