// How full everything is, what bounds it, and what goes next.

import type { Camera, Ms, SourceStatus, Storage, Stream } from '../api/types';
import { ms } from '../api/types';
import type { App } from '../app/context';
import type { Growing, Next } from '../app/next';
import { whatGoesNext } from '../app/next';
import { ageWords, keeps } from '../app/retention';
import { bytes, daysLeft, duration } from '../time/format';
import type { View } from '../ui/dom';
import { h, Scope, setText } from '../ui/dom';

const POLL = 15_000;

export function storagePage(app: App): View {
  const scope = new Scope();
  const left = h('p', { class: 'storage-left' });
  const rate = h('p', { class: 'page-sub' });
  const mine = h('div', { class: 'storage-mine' });
  const other = h('div', { class: 'storage-other' });
  const bar = h('div', { class: 'storage-bar', role: 'img' }, mine, other);
  const legend = h('ul', { class: 'storage-legend' });
  const next = h('p', { 'data-testid': 'next-to-go' });
  const limits = h('dl', { class: 'details limits', 'data-testid': 'limits' });
  const rows = h('tbody', {});
  const table = h('table', { class: 'table storage-table' }, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Camera'), h('th', { scope: 'col' }, 'Recorded since'), h('th', { scope: 'col' }, 'Kept'), h('th', { scope: 'col', class: 'number' }, 'Size'))), rows);
  const nextPanel = h('section', { class: 'panel' }, h('h2', {}, 'What goes next'), next);
  const limitsPanel = h(
    'section',
    { class: 'panel' },
    h('h2', {}, 'Limits'),
    limits,
    h('p', { class: 'hint' }, 'These two are in the server’s configuration, ', h('code', {}, '[retention]'), '; it reads them again on SIGHUP. How long each camera is kept is said on its own page.'),
  );
  const camerasPanel = h('section', { class: 'panel' }, table);
  const body = h('div', { class: 'storage', hidden: true }, h('section', { class: 'panel' }, left, rate, bar, legend), nextPanel, limitsPanel, camerasPanel);
  const element = h('main', { class: 'page narrow', id: 'main' }, h('header', { class: 'page-head' }, h('h1', {}, 'Storage')), body);
  let streams: Stream[] | null = null;

  const update = (): void => {
    const { storage, cameras } = app.store;
    if (storage === null) return;
    body.hidden = false;
    const { used, free, total } = storage;
    const rest = Math.max(0, total - used - free);
    setText(left, headline(storage));
    setText(rate, `${bytes(storage.bytesPerDay)} a day are written; ${bytes(free)} of ${bytes(total)} are free${storage.limits.remote ? ' on the disk of the data folder, which is a cache' : ''}.`);
    bar.hidden = legend.hidden = storage.limits.remote;
    mine.style.width = `${share(used, total)}%`;
    other.style.width = `${share(rest, total)}%`;
    bar.setAttribute('aria-label', `${bytes(used)} recordings, ${bytes(rest)} other files, ${bytes(free)} free`);
    legend.replaceChildren(entry('mine', 'Recordings', used), entry('other', 'Other files', rest), entry('free', 'Free', free));
    limits.replaceChildren(
      fact('All recordings together', storage.limits.total === null ? `No limit; ${bytes(used)} now` : `Up to ${bytes(storage.limits.total)}; ${bytes(used)} now`),
      fact('Left free on the disk', bytes(storage.limits.freeFloor)),
    );
    nextPanel.hidden = streams === null;
    if (streams !== null) next.replaceChildren(...nextWords(app, whatGoesNext(streams.map((stream) => growing(stream, cameras)), storage, app.api.clock.now())));
    rows.replaceChildren(...cameras.flatMap((camera) => [row(app, camera.name, camera.name, camera, streams), ...(camera.sub === null ? [] : [row(app, camera.name, camera.sub.stream, camera.sub, streams)])]));
    camerasPanel.hidden = cameras.length === 0;
  };

  const fetch = async (): Promise<void> => {
    streams = await app.api.streams(scope.signal);
    update();
  };
  const refresh = (): void => void fetch().catch(() => undefined);
  scope.add(app.store.subscribe(update));
  scope.every(POLL, () => !document.hidden && refresh());
  void app.api.storage(scope.signal).then(
    (storage) => {
      app.store.storage = storage;
      update();
    },
    () => undefined,
  );
  refresh();
  update();
  return { element, title: 'Storage', dispose: () => scope.end() };
}

function headline({ limits, daysLeft: days, free }: Storage): string {
  if (limits.remote) return 'Recordings go to the object store';
  if (free <= limits.freeFloor) return 'The disk is full';
  return days === null ? 'Nothing is being recorded' : `${daysLeft(days)} left at this rate`;
}

/** A stream with how fast it grows, which its camera knows. */
function growing({ name, recorded, retention }: Stream, cameras: readonly Camera[]): Growing {
  const source = cameras.find((camera) => camera.name === name) ?? cameras.find((camera) => camera.sub?.stream === name)?.sub;
  const bits = source?.state === 'running' ? source.bitrate : 0;
  return { stream: name, retention, from: recorded === null ? null : ms(recorded.from), bytes: recorded?.bytes ?? 0, rate: bits / 8 / 1000 };
}

function nextWords(app: App, next: Next | null): (Node | string)[] {
  if (next === null) return ['Nothing: no recording has a limit that it nears.'];
  const now = app.api.clock.now();
  const time = next.at <= now + 60_000 ? 'now' : `in about ${far(next.at - now)}`;
  const why = {
    age: () => `it is ${ageWords(next.limit)} old`,
    stream: () => `that has reached its ${bytes(next.limit)}`,
    total: () => `all recordings together have reached ${bytes(next.limit)}`,
    disk: () => `the disk has only ${bytes(next.limit)} free`,
  }[next.cause]();
  if (next.stream === null) {
    const who = next.cause === 'stream' ? 'A stream that does not overwrite takes no more' : 'No stream may overwrite, so nothing more is taken';
    return [`${who}: ${time}, when ${why}.`];
  }
  const since = next.from === null ? '' : `, from ${app.time.full(next.from, now)}`;
  return ['The oldest recording of ', h('b', {}, next.stream), `${since}: ${time}, when ${why}. What is pinned stays.`];
}

/** `3 h`, `12 days`, `7 months` */
function far(length: Ms): string {
  const days = length / 86_400_000;
  return days < 2 ? duration(length) : daysLeft(days).replace(/^about /, '');
}

function row(app: App, camera: string, stream: string, { recorded }: SourceStatus, streams: readonly Stream[] | null): HTMLElement {
  const kept = streams?.find(({ name }) => name === stream)?.retention;
  const name = camera === stream ? h('a', { href: `#/cameras/${encodeURIComponent(camera)}` }, camera) : h('span', { class: 'sub-name' }, 'sub source');
  return h(
    'tr',
    {},
    h('td', {}, name),
    h('td', {}, recorded === null ? 'nothing yet' : app.time.full(ms(recorded.from))),
    h('td', {}, kept === undefined ? '' : keeps(kept)),
    h('td', { class: 'number' }, recorded === null ? '' : bytes(recorded.bytes)),
  );
}

/** Per cent, but never too little to be seen. */
function share(part: number, whole: number): number {
  return whole > 0 && part > 0 ? Math.max(0.4, (part / whole) * 100) : 0;
}

function entry(kind: string, label: string, amount: number): HTMLElement {
  return h('li', {}, h('span', { class: `swatch ${kind}` }), label, h('b', {}, bytes(amount)));
}

function fact(label: string, value: string): HTMLElement {
  return h('div', {}, h('dt', {}, label), h('dd', {}, value));
}
