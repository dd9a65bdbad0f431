// One camera in the list.

import { sentence } from '../api/errors';
import type { Camera } from '../api/types';
import { ms } from '../api/types';
import type { App } from '../app/context';
import { formatRoute } from '../app/router';
import { detailNow, stateTone, stateWords, tracksWords } from '../app/words';
import { HOW } from '../player/engine';
import { markClick } from '../player/measure';
import { preload } from '../player/preload';
import { age, bitrate } from '../time/format';
import { h, Scope, setAttribute, setText } from '../ui/dom';
import { icon } from '../ui/icons';
import { liveTile } from '../ui/live-tile';
import { liveStill } from '../ui/still';

export interface Card {
  element: HTMLElement;
  update(camera: Camera): void;
  /** Moves the ages on, and what is counted down. */
  tick(): void;
  dispose(): void;
}

export function cameraCard(app: App, first: Camera, menu: (camera: Camera, anchor: HTMLElement) => void): Card {
  const scope = new Scope();
  let camera = first;
  const { name } = first;
  // A sub has fewer pixels to send and to decode: what a grid needs.
  const still = liveStill(app.api, name, () => (camera.sub?.state === 'running' && camera.sub.recorded !== null ? camera.sub.stream : name), scope);
  const tile = liveTile(app.api, scope, () => show());
  const live = h('span', { class: 'card-live', hidden: true }, h('span', { class: 'live-dot' }), 'Live');
  const words = h('p', {});
  const retry = h('button', { type: 'button', class: 'button small', on: { click: () => tile.retryNow() } }, 'Try now');
  const notice = h('div', { class: 'card-notice' }, words, retry);
  const badge = h('span', { class: 'badge' });
  const lastFrame = h('span', { class: 'card-age' });
  const facts = h('div', { class: 'card-facts' });
  const title = h('a', { class: 'card-name', href: formatRoute({ page: 'camera', name, at: null }) }, name);
  const more = h(
    'button',
    { type: 'button', class: 'button quiet icon-only card-more', 'aria-label': `More about ${name}`, 'aria-haspopup': 'menu' },
    icon('more'),
  );
  const element = h(
    'article',
    { class: 'card', 'data-testid': `camera-card-${name}`, 'data-camera': name },
    h('div', { class: 'card-picture' }, still.element, tile.element, notice),
    h('div', { class: 'card-text' }, h('div', { class: 'card-row' }, title, more), h('div', { class: 'card-row' }, badge, live, lastFrame), facts),
  );

  // The link covers the whole card (in the style sheet), so that every way to open a link works on all of it.
  scope.listen<MouseEvent>(element, 'click', (event) => {
    const target = event.target as Element;
    if (target.closest('button') !== null) return;
    markClick(event.timeStamp);
  });
  scope.listen(element, 'pointerenter', () => preload(app.api, camera, false));
  scope.listen(element, 'pointerdown', (event) => {
    if ((event.target as Element).closest('button') === null) preload(app.api, camera, true);
  });
  scope.listen(more, 'click', () => menu(camera, more));

  /** What the tile has to do with. */
  const show = (): void => {
    const { playing, how } = tile;
    setAttribute(element, 'data-playing', String(playing));
    setAttribute(element, 'data-how', how);
    live.hidden = !playing;
    lastFrame.hidden = playing;
    setAttribute(live, 'title', how === null ? null : `Live by ${HOW[how]}`);
    const said = notSaid();
    setText(words, said);
    notice.hidden = said === '';
    retry.hidden = camera.state !== 'running' || !tile.retriable;
    const running = [camera, camera.sub].some((source) => source?.state === 'running');
    const recorded = [camera, camera.sub].some((source) => source !== null && source.recorded !== null);
    still.wants(!recorded ? 'nothing' : running && !playing ? 'fresh' : 'last');
  };
  /** While it runs its detail is what the facts say anyway. */
  const notSaid = (): string => (camera.state === 'running' ? (tile.words ?? sentence(camera.clockWarning ?? '')) : sentence(detailNow(camera, app.api.clock.now())));

  const card: Card = {
    element,
    update(next) {
      camera = next;
      setAttribute(badge, 'class', `badge tone-${stateTone(camera)}`);
      setAttribute(element, 'data-state', camera.state);
      setText(badge, stateWords(camera));
      const parts = [tracksWords(camera.tracks)];
      if (camera.state === 'running' && camera.bitrate > 0) parts.push(bitrate(camera.bitrate));
      setText(facts, parts.filter((part) => part !== '').join(' · '));
      tile.wants(camera);
      card.tick();
    },
    tick() {
      show();
      if (camera.lastFrame === null) return setText(lastFrame, camera.recorded === null ? 'no picture yet' : '');
      const text = age(app.api.clock.now() - ms(camera.lastFrame));
      setText(lastFrame, text);
      setAttribute(lastFrame, 'title', `Last frame: ${app.time.full(ms(camera.lastFrame))}`);
    },
    dispose: () => scope.end(),
  };
  card.update(camera);
  return card;
}
