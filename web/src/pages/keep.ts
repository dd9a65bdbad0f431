// How long a camera's recordings stay, how much there is of them, and what is pinned.

import { inWords, isAbort } from '../api/errors';
import type { Camera, Ms, Pin, Stream } from '../api/types';
import { ms } from '../api/types';
import type { App } from '../app/context';
import { keeps, whenFull } from '../app/retention';
import { bytes } from '../time/format';
import type { Scope } from '../ui/dom';
import { h, setText } from '../ui/dom';
import { icon } from '../ui/icons';
import { openKeep } from './keep-form';
import { openPin, openUnpin } from './pin-form';

/** Whoever changes it elsewhere is noticed this late. */
const POLL = 30_000;

export interface KeepPanel {
  element: HTMLElement;
  update(camera: Camera): void;
}

/** One of the camera's streams. */
interface Source {
  name: string;
  title: string;
  stream: Stream | null;
  pins: Pin[];
}

export function keepPanel(app: App, shown: () => { from: Ms; to: Ms }, go: (at: Ms) => void, scope: Scope): KeepPanel {
  const rows = h('div', { class: 'keep-rows' });
  const list = h('ul', { class: 'pins' });
  const none = h('p', { class: 'hint' }, 'Nothing is pinned. A pinned range stays, whatever is removed around it.');
  const problem = h('p', { class: 'field-error', role: 'alert', hidden: true });
  const pin = h('button', { type: 'button', class: 'button small', 'data-testid': 'pin-shown' }, icon('pin'), 'Pin what is shown…');
  const element = h(
    'section',
    { class: 'keep', 'aria-label': 'What is kept', 'data-testid': 'keep' },
    h('h2', {}, 'What is kept'),
    rows,
    h('div', { class: 'pins-head' }, h('h3', {}, 'Pinned'), pin),
    problem,
    none,
    list,
  );
  let camera: Camera | null = null;
  let sources: Source[] = [];

  const say = (error: unknown): void => {
    if (isAbort(error) || scope.ended) return;
    problem.hidden = false;
    setText(problem, inWords(error));
  };

  const fetch = async (): Promise<void> => {
    const now = await Promise.all(
      sources.map(async (source): Promise<Source> => {
        const [stream, pins] = await Promise.all([app.api.stream(source.name, scope.signal), app.api.pins(source.name, scope.signal)]);
        return { ...source, stream, pins };
      }),
    );
    if (scope.ended) return;
    sources = now;
    problem.hidden = true;
    show();
  };
  const refresh = (): void => void fetch().catch(say);

  const unpin = async (source: Source, one: Pin): Promise<void> => {
    try {
      await app.api.unpin(source.name, one.id);
      app.toast('The pin is removed.');
    } catch (error) {
      say(error);
    }
    refresh();
  };

  const show = (): void => {
    rows.replaceChildren(...sources.flatMap((source) => (source.stream === null ? [] : [keepRow(app, source, source.stream, sources.length > 1, refresh)])));
    const pins = sources.flatMap((source) => source.pins.map((one) => ({ source, one })));
    pins.sort((a, b) => ms(a.one.from) - ms(b.one.from));
    none.hidden = pins.length > 0;
    list.replaceChildren(...pins.map(({ source, one }) => pinRow(app, sources.length > 1 ? source.title : '', one, go, () => unpin(source, one))));
  };

  scope.listen(pin, 'click', () => {
    if (camera !== null) openPin(app, sources.map(({ name, title }) => ({ name, title })), shown(), refresh);
  });
  scope.every(POLL, () => !document.hidden && sources.length > 0 && refresh());

  return {
    element,
    update(next) {
      const first = camera === null;
      const subBefore = camera?.sub?.stream;
      camera = next;
      if (!first && subBefore === next.sub?.stream) return;
      const names: [string, string][] = [[next.name, 'Main source']];
      if (next.sub !== null) names.push([next.sub.stream, 'Sub source']);
      sources = names.map(([name, title]) => ({ name, title, stream: null, pins: [] }));
      refresh();
    },
  };
}

function keepRow(app: App, { name, title }: Source, stream: Stream, titled: boolean, done: () => void): HTMLElement {
  const { recorded, retention } = stream;
  const stored = recorded === null ? 'Nothing is stored yet.' : `${bytes(recorded.bytes)} ${recorded.bytes === 1 ? 'is' : 'are'} stored, since ${app.time.full(ms(recorded.from), app.api.clock.now())}.`;
  const change = h('button', { type: 'button', class: 'button small', 'data-testid': `keep-change-${name}`, 'aria-label': `Change how long ${name} is kept`, on: { click: () => openKeep(app, stream, done) } }, 'Change…');
  return h(
    'div',
    { class: 'keep-row', 'data-testid': `keep-${name}` },
    h('div', {}, titled && h('h3', {}, title), h('p', {}, 'Kept ', h('b', {}, keeps(retention)), '.'), h('p', { class: 'hint' }, `${stored} ${whenFull(retention)}`)),
    change,
  );
}

function pinRow(app: App, title: string, one: Pin, go: (at: Ms) => void, unpin: () => Promise<void>): HTMLElement {
  const [from, to] = [ms(one.from), ms(one.to)];
  const now = app.api.clock.now();
  const sameDay = app.time.date(from) === app.time.date(to);
  const range = `${app.time.date(from, now)}, ${app.time.clock(from)} – ${sameDay ? '' : `${app.time.date(to, now)}, `}${app.time.clock(to)}`;
  const button = h('button', { type: 'button', class: 'button quiet icon-only', 'aria-label': `Remove the pin of ${range}`, title: 'Remove the pin' }, icon('close'));
  button.addEventListener('click', () => openUnpin(range, unpin));
  return h(
    'li',
    { 'data-testid': 'pin' },
    h('button', { type: 'button', class: 'pin-go', title: 'Go there', on: { click: () => go(from) } }, h('span', { class: 'pin-range' }, range), (one.note !== '' || title !== '') && h('span', { class: 'hint' }, [title, one.note].filter((part) => part !== '').join(' · '))),
    button,
  );
}
