// A small live picture that plays by itself, without sound, while somebody can see it. Over a still, which shows until it plays.

import { backoff } from '../api/backoff';
import type { Api } from '../api/client';
import { isAbort } from '../api/errors';
import { Engine } from '../player/engine';
import { SessionKeeper } from '../player/session';
import type { Scope } from './dom';
import { h } from './dom';

export interface LiveTile {
  element: HTMLElement;
  /** The stream to play, or null for none. */
  wants(stream: string | null): void;
  readonly playing: boolean;
}

/** So many play at once; browsers have only so many decoders, and plain HTTP six connections. */
const MOST = 16;
let places = MOST;

/** Those who want to save something see stills. */
function sparing(): boolean {
  const { connection } = navigator as Navigator & { connection?: { saveData?: boolean } };
  return connection?.saveData === true || matchMedia('(prefers-reduced-motion: reduce)').matches;
}

export function liveTile(api: Api, scope: Scope, changed: () => void): LiveTile {
  const video = h('video', { class: 'tile-video', playsinline: true, muted: true, disableremoteplayback: true, disablepictureinpicture: true, tabindex: '-1', 'aria-hidden': 'true' });
  video.muted = true;
  let visible = false;
  let wanted: string | null = null;
  let stream: string | null = null;
  let playing = false;
  let attempt = 0;
  let opening: AbortController | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const show = (is: boolean): void => {
    if (playing === is) return;
    playing = is;
    video.classList.toggle('playing', is);
    changed();
  };
  const engine = new Engine(video, {
    picture: () => {
      attempt = 0;
      show(true);
    },
    fault: () => again(),
    ended: () => again(),
  });
  const keeper = new SessionKeeper(api, () => engine.position, (url) => engine.renew(url));

  const stop = (): void => {
    clearTimeout(timer);
    opening?.abort();
    keeper.close();
    engine.unload();
    if (stream !== null) places += 1;
    stream = null;
    show(false);
  };
  const again = (): void => {
    stop();
    timer = setTimeout(look, 2000 + backoff(attempt++));
  };
  const open = async (next: string): Promise<void> => {
    stream = next;
    places -= 1;
    const calling = new AbortController();
    opening = calling;
    try {
      const session = await keeper.open({ stream: next, at: null, frames: 'all' }, calling.signal);
      if (calling.signal.aborted) return;
      await engine.load(session.url, { at: 'live', speed: 1 });
      if (!calling.signal.aborted) await video.play();
    } catch (error) {
      if (!isAbort(error) && !calling.signal.aborted) again();
    }
  };
  const look = (): void => {
    const next = visible && !document.hidden && !scope.ended ? wanted : null;
    if (next === stream) return;
    stop();
    if (next !== null && places > 0 && !sparing()) void open(next);
  };

  const observer = new IntersectionObserver((entries) => {
    visible = entries.at(-1)?.isIntersecting === true;
    look();
  });
  observer.observe(video);
  scope.add(() => {
    observer.disconnect();
    stop();
  });
  scope.listen(document, 'visibilitychange', look);
  // A place may have become free; and a live picture that fell behind, for whatever reason, is none.
  scope.every(5000, () => {
    if (stream === null) look();
    else if (playing && engine.position !== null && api.clock.now() - engine.position > 30_000) again();
  });

  return {
    element: video,
    wants(next) {
      if (next === wanted) return;
      wanted = next;
      attempt = 0;
      look();
    },
    get playing() {
      return playing;
    },
  };
}
