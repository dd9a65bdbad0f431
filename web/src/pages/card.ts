// One camera in the list.

import { sentence } from '../api/errors';
import type { Camera } from '../api/types';
import { ms } from '../api/types';
import type { App } from '../app/context';
import { formatRoute } from '../app/router';
import { stateTone, stateWords, tracksWords } from '../app/words';
import { markClick } from '../player/measure';
import { preload } from '../player/preload';
import { playability } from '../player/support';
import { age, bitrate } from '../time/format';
import { h, Scope, setAttribute, setText } from '../ui/dom';
import { icon } from '../ui/icons';
import { liveTile } from '../ui/live-tile';
import { liveStill } from '../ui/still';

export interface Card {
  element: HTMLElement;
  update(camera: Camera): void;
  /** Moves the ages on. */
  tick(): void;
  dispose(): void;
}

export function cameraCard(app: App, first: Camera, menu: (camera: Camera, anchor: HTMLElement) => void): Card {
  const scope = new Scope();
  let camera = first;
  const { name } = first;
  // A sub has fewer pixels to send and to decode: what a grid needs.
  const still = liveStill(app.api, name, () => (camera.sub?.state === 'running' && camera.sub.recorded !== null ? camera.sub.stream : name), scope);
  const tile = liveTile(app.api, scope, () => card.update(camera));
  const notice = h('div', { class: 'card-notice' });
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
    h('div', { class: 'card-text' }, h('div', { class: 'card-row' }, title, more), h('div', { class: 'card-row' }, badge, lastFrame), facts),
  );

  // The link covers the whole card (in the style sheet), so that every way to open a link works on all of it.
  scope.listen<MouseEvent>(element, 'click', (event) => {
    const target = event.target as Element;
    if (target.closest('.card-more') !== null) return;
    markClick(event.timeStamp);
  });
  scope.listen(element, 'pointerenter', () => preload(app.api, camera, false));
  scope.listen(element, 'pointerdown', (event) => {
    if ((event.target as Element).closest('.card-more') === null) preload(app.api, camera, true);
  });
  scope.listen(more, 'click', () => menu(camera, more));

  const card: Card = {
    element,
    update(next) {
      camera = next;
      const tone = stateTone(camera);
      setAttribute(badge, 'class', `badge tone-${tone}`);
      setAttribute(element, 'data-state', camera.state);
      setText(badge, stateWords(camera));
      // While it runs its detail is what the facts say anyway.
      const words = camera.state === 'running' ? sentence(camera.clockWarning ?? '') : sentence(camera.detail);
      setAttribute(element, 'data-playing', String(tile.playing));
      setText(notice, words);
      notice.hidden = words === '';
      const parts = [tracksWords(camera.tracks)];
      if (camera.state === 'running' && camera.bitrate > 0) parts.push(bitrate(camera.bitrate));
      setText(facts, parts.filter((part) => part !== '').join(' · '));
      const { sub } = camera;
      const subPlays = sub !== null && sub.state === 'running' && sub.recorded !== null && sub.tracks.length > 0 && playability(sub.tracks).video;
      tile.wants(subPlays ? sub.stream : null);
      const recorded = camera.recorded !== null || (sub !== null && sub.recorded !== null);
      still.wants(!recorded ? 'nothing' : (camera.state === 'running' || subPlays) && !tile.playing ? 'fresh' : 'last');
      card.tick();
    },
    tick() {
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
