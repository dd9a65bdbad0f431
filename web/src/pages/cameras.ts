// The first page: every camera with its still and its state.

import type { App } from '../app/context';
import { summary } from '../app/words';
import { columnsOf, neighbour } from '../ui/arrows';
import type { View } from '../ui/dom';
import { h, Scope, setText } from '../ui/dom';
import { icon } from '../ui/icons';
import { eachSecond } from '../ui/seconds';
import { openAdd } from './add';
import { cameraMenu } from './camera-menu';
import type { Card } from './card';
import { cameraCard } from './card';
import { emptyCameras } from './empty';

export function camerasPage(app: App): View {
  const scope = new Scope();
  const cards = new Map<string, Card>();
  const words = h('p', { class: 'page-sub', role: 'status' });
  const grid = h('div', { class: 'cards' });
  const place = h('div', {}, grid);
  const element = h(
    'main',
    { class: 'page', id: 'main' },
    h(
      'header',
      { class: 'page-head' },
      h('h1', {}, 'Cameras'),
      h('button', { type: 'button', class: 'button primary', 'data-testid': 'add-camera', on: { click: () => openAdd(app) } }, icon('add'), 'Add camera'),
      words,
    ),
    place,
  );

  const skeleton = h('div', { class: 'cards', 'aria-hidden': 'true' }, ...[1, 2, 3].map(() => h('div', { class: 'card skeleton' }, h('div', { class: 'card-picture' }), h('div', { class: 'card-text' }))));
  const failed = h(
    'div',
    { class: 'empty' },
    h('h2', {}, 'The cameras could not be listed'),
    h('p', { class: 'failure' }),
    h('button', { type: 'button', class: 'button', on: { click: () => void app.store.refresh() } }, 'Try again'),
  );
  let empty: HTMLElement | null = null;

  const show = (content: HTMLElement): void => {
    if (place.firstElementChild !== content) place.replaceChildren(content);
  };

  const update = (): void => {
    const { cameras, loading } = app.store;
    element.classList.toggle('is-empty', loading === 'ready' && cameras.length === 0);
    if (loading === 'loading') return show(skeleton);
    if (loading === 'failed') {
      const text = failed.querySelector('.failure');
      if (text !== null) setText(text, app.store.failure);
      return show(failed);
    }
    setText(words, summary(cameras));
    const present = new Set(cameras.map(({ name }) => name));
    for (const [name, card] of cards) {
      if (present.has(name)) continue;
      card.dispose();
      card.element.remove();
      cards.delete(name);
    }
    if (cameras.length === 0) return show((empty ??= emptyCameras(app)));
    cameras.forEach((camera, index) => {
      let card = cards.get(camera.name);
      if (card === undefined) {
        card = cameraCard(app, camera, (current, anchor) => cameraMenu(app, current, anchor));
        cards.set(camera.name, card);
      } else {
        card.update(camera);
      }
      if (grid.children[index] !== card.element) grid.insertBefore(card.element, grid.children[index] ?? null);
    });
    show(grid);
  };

  // From a camera's name only: elsewhere arrows scroll.
  scope.listen<KeyboardEvent>(grid, 'keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const all = [...grid.children] as HTMLElement[];
    const index = all.findIndex((card) => card.querySelector('.card-name') === event.target);
    const next = index === -1 ? null : neighbour(event.key, index, all.length, columnsOf(all));
    if (next === null) return;
    event.preventDefault();
    const card = all[next];
    card?.querySelector<HTMLElement>('.card-name')?.focus({ preventScroll: true });
    card?.scrollIntoView({ block: 'nearest' });
  });

  scope.add(app.store.subscribe(update));
  eachSecond(scope, () => cards.forEach((card) => card.tick()));
  scope.add(() => cards.forEach((card) => card.dispose()));
  update();
  return { element, title: 'Cameras', dispose: () => scope.end() };
}
