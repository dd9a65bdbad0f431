// A range of time as two fields of a form.

import type { Ms } from '../api/types';
import type { App } from '../app/context';
import { parseLocal } from '../time/jump';
import { h } from './dom';
import type { Field } from './field';
import { field } from './field';

export interface Times {
  element: HTMLElement;
  to: Field;
  /** The range that is typed, or null where something is said about it. */
  read(): { from: Ms; to: Ms } | null;
}

/** `id` begins the names by which tests find the fields. */
export function timesFields(app: App, id: string, range: { from: Ms; to: Ms }): Times {
  const at = (label: string, moment: Ms): Field => {
    const one = field(label, { type: 'datetime-local', step: '1', 'data-testid': `${id}-${label.toLowerCase()}` });
    one.input.value = app.time.inputValue(moment);
    return one;
  };
  const from = at('From', range.from);
  const to = at('To', range.to);
  for (const one of [from, to]) one.input.addEventListener('input', () => [from, to].forEach((each) => each.fail(null)));

  /** The moment that was typed; where a reading came twice that night, the one that makes the range longer. */
  const read = (one: Field, otherwise: Ms): Ms | null => {
    if (one.input.value === app.time.inputValue(otherwise)) return otherwise;
    const wall = parseLocal(one.input.value);
    if (wall === null) {
      one.fail('Enter a date and a time.');
      one.input.focus();
      return null;
    }
    const found = app.time.zone.instants(wall);
    if (found.kind !== 'two') return found.at;
    return one === from ? found.first : found.second;
  };

  return {
    element: h('div', { class: 'field-row times' }, from.element, to.element),
    to,
    read() {
      const [begins, ends] = [read(from, range.from), read(to, range.to)];
      if (begins === null || ends === null) return null;
      if (ends >= begins) return { from: begins, to: ends };
      to.fail('The range ends before it begins.');
      return null;
    },
  };
}
