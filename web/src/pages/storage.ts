// How full the disk is, and how long it will last.

import type { App } from '../app/context';
import { bytes, daysLeft } from '../time/format';
import type { View } from '../ui/dom';
import { h, Scope, setText } from '../ui/dom';

export function storagePage(app: App): View {
  const scope = new Scope();
  const left = h('p', { class: 'storage-left' });
  const rate = h('p', { class: 'page-sub' });
  const mine = h('div', { class: 'storage-mine' });
  const other = h('div', { class: 'storage-other' });
  const bar = h('div', { class: 'storage-bar', role: 'img' }, mine, other);
  const legend = h('ul', { class: 'storage-legend' });
  const rows = h('tbody', {});
  const table = h('table', { class: 'table' }, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Camera'), h('th', { scope: 'col' }, 'Recorded since'), h('th', { scope: 'col', class: 'number' }, 'Size'))), rows);
  const body = h('div', { class: 'storage', hidden: true }, h('section', { class: 'panel' }, left, rate, bar, legend), h('section', { class: 'panel' }, table));
  const element = h('main', { class: 'page narrow', id: 'main' }, h('header', { class: 'page-head' }, h('h1', {}, 'Storage')), body);

  const update = (): void => {
    const { storage, cameras } = app.store;
    if (storage === null) return;
    body.hidden = false;
    const { used, free, total } = storage;
    const rest = Math.max(0, total - used - free);
    setText(left, storage.daysLeft === null ? 'Nothing is being recorded' : `${daysLeft(storage.daysLeft)} left at this rate`);
    setText(rate, `${bytes(storage.bytesPerDay)} a day are written; ${bytes(free)} of ${bytes(total)} are free.`);
    mine.style.width = `${share(used, total)}%`;
    other.style.width = `${share(rest, total)}%`;
    bar.setAttribute('aria-label', `${bytes(used)} recordings, ${bytes(rest)} other files, ${bytes(free)} free`);
    legend.replaceChildren(entry('mine', 'Recordings', used), entry('other', 'Other files', rest), entry('free', 'Free', free));
    rows.replaceChildren(
      ...cameras.map(({ name, recorded }) =>
        h('tr', {}, h('td', {}, h('a', { href: `#/cameras/${encodeURIComponent(name)}` }, name)), h('td', {}, recorded === null ? 'nothing yet' : app.time.full(Date.parse(recorded.from))), h('td', { class: 'number' }, recorded === null ? '' : bytes(recorded.bytes))),
      ),
    );
    table.hidden = cameras.length === 0;
  };
  scope.add(app.store.subscribe(update));
  void app.api.storage(scope.signal).then(
    (storage) => {
      app.store.storage = storage;
      update();
    },
    () => undefined,
  );
  update();
  return { element, title: 'Storage', dispose: () => scope.end() };
}

/** Per cent, but never too little to be seen. */
function share(part: number, whole: number): number {
  return whole > 0 && part > 0 ? Math.max(0.4, (part / whole) * 100) : 0;
}

function entry(kind: string, label: string, amount: number): HTMLElement {
  return h('li', {}, h('span', { class: `swatch ${kind}` }), label, h('b', {}, bytes(amount)));
}
