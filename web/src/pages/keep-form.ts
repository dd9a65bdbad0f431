// Changing how long a stream's recordings stay.

import { inWords } from '../api/errors';
import type { Retention, RetentionChange, Stream } from '../api/types';
import type { App } from '../app/context';
import type { AgeUnit, SizeUnit } from '../app/retention';
import { changed, keeps, readAge, readSize, splitAge, splitSize } from '../app/retention';
import { openDialog } from '../ui/dialog';
import { h, setText } from '../ui/dom';
import { select } from '../ui/select';

type Which = 'default' | 'unlimited' | 'at';

/** A bound: as the server has it, none, or so much. */
interface Bound<T> {
  element: HTMLElement;
  /** What is wished; undefined after it has said what is wrong. */
  read(): T | 'unlimited' | null | undefined;
}

export function openKeep(app: App, stream: Stream, done: () => void): void {
  const { name, retention } = stream;
  const dialog = openDialog(`How long ${name} is kept`, { class: 'keep-open' });
  const age = bound('Age', 'keep-age', which(retention, 'hours'), retention.hours, splitAge, ['minutes', 'hours', 'days', 'years'] as AgeUnit[], 'days', readAge, 'A number, and no more than 10 years.');
  const size = bound('Size', 'keep-size', which(retention, 'bytes'), retention.bytes, splitSize, ['MB', 'GB', 'TB'] as SizeUnit[], 'GB', readSize, 'A number above 0.');
  const full = select({ id: 'keep-full', 'data-testid': 'keep-full' }, [['default', 'As the server’s configuration says'], ['overwrite', 'Its oldest recordings make way'], ['refuse', 'It takes no more until there is room']]);
  full.input.value = retention.set.includes('onFull') ? retention.onFull : 'default';
  const problem = h('p', { class: 'field-error', role: 'alert', hidden: true });
  const save = h('button', { type: 'submit', class: 'button primary', 'data-testid': 'keep-save' }, 'Save');
  const form = h(
    'form',
    { class: 'form', novalidate: true },
    age.element,
    size.element,
    h('div', { class: 'field' }, h('label', { for: 'keep-full' }, 'When there is no room'), full.element),
    h('p', { class: 'hint' }, 'It takes effect at once: what is older, or more, is removed within seconds and does not come back. What is pinned stays. Recordings go some minutes at a time.'),
    problem,
    h('div', { class: 'form-actions' }, save, h('button', { type: 'button', class: 'button', on: { click: () => dialog.close() } }, 'Cancel')),
  );

  const submit = async (): Promise<void> => {
    problem.hidden = true;
    const [hours, bytes] = [age.read(), size.read()];
    if (hours === undefined || bytes === undefined) return;
    const onFull = full.input.value === 'default' ? null : (full.input.value as Retention['onFull']);
    const change: RetentionChange = changed(retention, { hours, bytes, onFull });
    save.disabled = true;
    try {
      const now = await app.api.setRetention(name, change);
      dialog.close();
      app.toast(`${name} is kept ${keeps(now.retention)}.`);
      done();
    } catch (error) {
      problem.hidden = false;
      setText(problem, inWords(error));
    } finally {
      save.disabled = false;
    }
  };
  dialog.scope.listen(form, 'submit', (event) => {
    event.preventDefault();
    void submit();
  });
  dialog.body.append(form);
}

function which(retention: Retention, name: 'hours' | 'bytes'): Which {
  if (!retention.set.includes(name)) return 'default';
  return retention[name] === null ? 'unlimited' : 'at';
}

function bound<U extends string>(
  label: string,
  id: string,
  first: Which,
  now: number | null,
  split: (value: number) => { count: number; unit: string },
  units: readonly U[],
  usual: U,
  parse: (text: string, unit: U) => number | null,
  wrong: string,
): Bound<number> {
  const kind = select({ id, 'data-testid': id }, [['at', 'At most'], ['unlimited', 'No limit'], ['default', `As the server’s configuration says${first === 'default' ? (now === null ? ' (no limit)' : ` (${split(now).count} ${split(now).unit})`) : ''}`]]);
  kind.input.value = first;
  const count = h('input', { class: 'input', inputmode: 'decimal', autocomplete: 'off', 'aria-label': label, 'data-testid': `${id}-count` });
  const unit = select({ 'aria-label': `Unit of the ${label.toLowerCase()}`, 'data-testid': `${id}-unit` }, units.map((one) => [one, one]));
  const problem = h('p', { class: 'field-error', role: 'alert', hidden: true }, wrong);
  unit.input.value = usual;
  if (now !== null) {
    const parts = split(now);
    if ((units as readonly string[]).includes(parts.unit)) {
      count.value = String(parts.count);
      unit.input.value = parts.unit;
    }
  }
  const amount = h('div', { class: 'amount' }, count, unit.element);
  const update = (): void => {
    amount.hidden = kind.input.value !== 'at';
    problem.hidden = true;
  };
  kind.input.addEventListener('change', () => {
    update();
    if (kind.input.value === 'at') count.focus();
  });
  count.addEventListener('input', () => (problem.hidden = true));
  update();
  return {
    element: h('div', { class: 'field' }, h('label', { for: id }, label), kind.element, amount, problem),
    read() {
      if (kind.input.value === 'default') return null;
      if (kind.input.value === 'unlimited') return 'unlimited';
      const value = parse(count.value, unit.input.value as U);
      if (value !== null) return value;
      problem.hidden = false;
      count.focus();
      return undefined;
    },
  };
}
