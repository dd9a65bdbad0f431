// A still that refreshes itself, but only while somebody can see it: the server decodes a picture for each.

import type { Api } from '../api/client';
import { ApiError, isAbort } from '../api/errors';
import type { Ms } from '../api/types';
import { keepStill, keptStill } from '../app/stills';
import type { Scope } from './dom';
import { h } from './dom';
import { Gate } from './gate';

export interface LiveStill {
  element: HTMLElement;
  /** `nothing`: there is no picture to ask for. `last`: one, that will not change. `fresh`: always another one. */
  wants(what: 'nothing' | 'last' | 'fresh'): void;
}

const gate = new Gate(3);

const PERIOD = 10_000;
/** After a failure the next try comes sooner: the first key frame of a new camera is seconds away. */
const RETRY = 3_000;
const WIDTH = 640;

/** `stream` is where the picture is asked for; it is kept under the camera's name. */
export function liveStill(api: Api, name: string, stream: () => string, scope: Scope): LiveStill {
  const image = h('img', { class: 'still-image', alt: '', decoding: 'async', draggable: 'false' });
  const element = h('div', { class: 'still' }, image);
  let visible = false;
  let wanted: 'nothing' | 'last' | 'fresh' = 'nothing';
  let shown = false;
  let fetching = false;
  let nextAt: Ms = 0;

  image.addEventListener('load', () => element.classList.add('has-image'));
  const before = keptStill(name);
  if (before !== undefined) image.src = before.url;

  const tick = (): void => {
    if (!visible || document.hidden || fetching || scope.ended || performance.now() < nextAt) return;
    if (wanted === 'nothing' || (wanted === 'last' && shown)) return;
    fetching = true;
    const retina = devicePixelRatio > 1.5 ? 2 : 1;
    const width = Math.min(1280, Math.max(320, Math.ceil((element.clientWidth * retina) / 160) * 160 || WIDTH));
    gate
      .run(() => api.still(stream(), { width, signal: scope.signal }))
      .then(({ blob, time }) => {
        image.src = keepStill(name, blob, time);
        shown = true;
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
      if (next === wanted) return;
      wanted = next;
      shown = false;
      nextAt = 0;
      tick();
    },
  };
}
