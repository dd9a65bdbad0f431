// A small live picture that plays by itself, without sound, while somebody can see it. Over a still, which shows until it plays.

import type { Api } from '../api/client';
import type { Camera, Ms } from '../api/types';
import type { How } from '../player/engine';
import { Engine } from '../player/engine';
import { SessionKeeper } from '../player/session';
import { means, rooms, Tile, tileWords } from '../player/tile';
import type { Rooms } from '../player/tile';
import type { Scope } from './dom';
import { h } from './dom';

export interface LiveTile {
  element: HTMLElement;
  /** The camera as it is now. */
  wants(camera: Camera): void;
  readonly playing: boolean;
  /** By what the picture comes; null while there is none. */
  readonly how: How | null;
  /** Why there is a still, in words; null where there is nothing to say. */
  readonly words: string | null;
  /** Whether it is tried again, for which `retryNow` does not wait. */
  readonly retriable: boolean;
  retryNow(): void;
}

/** Nobody waits for a tile as for a camera's page, and many begin at once. */
const PATIENCE: Ms = 8000;

/** What is scrolled past is not worth a session. */
const SETTLE: Ms = 150;

let shared: Rooms | null = null;

/** Whether requests share one connection: of HTTP/1.1 browsers open six. */
function multiplexed(): boolean {
  const loaded = ['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type) as PerformanceResourceTiming[]);
  return loaded.some(({ nextHopProtocol }) => /^h[23]/.test(nextHopProtocol));
}

/** Those who want to save something see stills. */
function sparing(): boolean {
  const { connection } = navigator as Navigator & { connection?: { saveData?: boolean } };
  return connection?.saveData === true || matchMedia('(prefers-reduced-motion: reduce)').matches;
}

export function liveTile(api: Api, scope: Scope, changed: () => void): LiveTile {
  const video = h('video', { class: 'tile-video', playsinline: true, muted: true, disableremoteplayback: true, disablepictureinpicture: true, tabindex: '-1', 'aria-hidden': 'true' });
  video.muted = true;
  const play = (): void => void video.play().catch(() => undefined);
  const engine = new Engine(video, {
    picture: () => tile.picture(),
    fault: (fault) => tile.fault(fault),
    ended: () => tile.fault({ kind: 'network', words: 'The stream ended.' }),
  });
  const keeper = new SessionKeeper(api, () => engine.position, (url) => engine.renew(url));
  const tile: Tile = new Tile(
    {
      async near(stream, signal) {
        const opened = engine.loadNear(api, stream, signal, { sound: false, patience: PATIENCE });
        play();
        await opened;
      },
      async playlist(stream, low, signal) {
        const session = await keeper.open({ stream, at: null, frames: 'all', silent: true }, signal);
        if (signal.aborted) return;
        await engine.load(session.url, { at: 'live', speed: 1, low });
        if (!signal.aborted) play();
      },
      stop() {
        keeper.close();
        engine.unload();
      },
      changed() {
        video.classList.toggle('playing', tile.playing);
        changed();
      },
    },
    (shared ??= rooms(multiplexed())),
    means,
  );

  let visible = false;
  let settling: ReturnType<typeof setTimeout> | undefined;
  const look = (): void => tile.see(visible && !document.hidden && !scope.ended && !sparing());
  const observer = new IntersectionObserver((entries) => {
    visible = entries.at(-1)?.isIntersecting === true;
    clearTimeout(settling);
    if (visible) settling = setTimeout(look, SETTLE);
    else look();
  });
  observer.observe(video);
  scope.add(() => {
    clearTimeout(settling);
    observer.disconnect();
    tile.wants(null);
  });
  scope.listen(document, 'visibilitychange', look);
  scope.every(1000, () => {
    const { position } = engine;
    // Not every browser counts the pictures that WebRTC brings.
    tile.tick(video.getVideoPlaybackQuality().totalVideoFrames || video.currentTime, position === null ? null : api.clock.now() - position);
  });

  return {
    element: video,
    wants: (camera) => tile.wants(camera),
    get playing() {
      return tile.playing;
    },
    get how() {
      return tile.playing ? engine.how : null;
    },
    get words() {
      return tileWords(tile.problem, Date.now());
    },
    get retriable() {
      return tile.retriable;
    },
    retryNow: () => tile.retryNow(),
  };
}
