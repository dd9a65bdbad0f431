// A still that refreshes itself, but only while somebody can see it: the server decodes a picture for each.

import type { Api } from '../api/client';
import { ApiError, isAbort } from '../api/errors';
import type { Ms } from '../api/types';
import { keepStill, keptStill } from '../app/stills';
import type { Scope } from './dom';
import { h } from './dom';

export interface LiveStill {
  element: HTMLElement;
  /** Says that there is something newer than what is shown (or that there is nothing new, with `false`). */
  wants(fresh: boolean): void;
}

const PERIOD = 10_000;
/** After a failure the next try comes sooner: the first key frame of a new camera is seconds away. */
const RETRY = 3_000;
const WIDTH = 640;

export function liveStill(api: Api, name: string, scope: Scope): LiveStill {
  const image = h('img', { class: 'still-image', alt: '', decoding: 'async', draggable: 'false' });
  const element = h('div', { class: 'still' }, image);
  let visible = false;
  let fresh = true;
  let fetching = false;
  let nextAt: Ms = 0;

  image.addEventListener('load', () => element.classList.add('has-image'));
  const before = keptStill(name);
  if (before !== undefined) image.src = before.url;

  const tick = (): void => {
    if (!visible || document.hidden || fetching || !fresh || performance.now() < nextAt || scope.ended) return;
    fetching = true;
    const retina = devicePixelRatio > 1.5 ? 2 : 1;
    const width = Math.min(1280, Math.max(320, Math.ceil((element.clientWidth * retina) / 160) * 160 || WIDTH));
    api
      .still(name, { width, signal: scope.signal })
      .then(({ blob, time }) => {
        image.src = keepStill(name, blob, time);
        nextAt = performance.now() + PERIOD;
      })
      .catch((error: unknown) => {
        if (isAbort(error)) return;
        const gone = error instanceof ApiError && error.status === 404;
        nextAt = performance.now() + (gone ? RETRY : PERIOD);
      })
      .finally(() => (fetching = false));
  };

  const observer = new IntersectionObserver(
    (entries) => {
      visible = entries.some((entry) => entry.isIntersecting);
      tick();
    },
    { rootMargin: '100px' },
  );
  observer.observe(element);
  scope.add(() => observer.disconnect());
  scope.every(1000, tick);
  scope.listen(document, 'visibilitychange', tick);

  return {
    element,
    wants(next) {
      // One more picture once it stops: the last one there is.
      if (fresh && !next) nextAt = 0;
      if (next || keptStill(name) !== undefined) fresh = next;
    },
  };
}
