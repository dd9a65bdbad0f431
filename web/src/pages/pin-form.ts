// Pinning a range, so that it stays whatever retention removes.

import { ApiError, inWords } from '../api/errors';
import type { Ms } from '../api/types';
import type { App } from '../app/context';
import { openDialog } from '../ui/dialog';
import { h, setText } from '../ui/dom';
import { field } from '../ui/field';
import { timesFields } from '../ui/times';

/** Asks before a pin goes: what it alone kept goes with it. */
export function openUnpin(range: string, unpin: () => Promise<void>): void {
  const dialog = openDialog('Remove the pin');
  const confirm = h('button', { type: 'button', class: 'button danger', 'data-testid': 'unpin' }, 'Remove the pin');
  dialog.body.append(
    h('p', {}, `What was recorded ${range} is then treated like everything else: what of it is too old or too much is removed within seconds, and does not come back.`),
    h('div', { class: 'form-actions' }, confirm, h('button', { type: 'button', class: 'button', on: { click: () => dialog.close() } }, 'Cancel')),
  );
  confirm.addEventListener('click', () => {
    dialog.close();
    void unpin();
  });
}

export function openPin(app: App, streams: readonly { name: string; title: string }[], range: { from: Ms; to: Ms }, done: () => void): void {
  const dialog = openDialog('Pin a range', { class: 'keep-open' });
  const times = timesFields(app, 'pin', range);
  const note = field('Note', { maxlength: '300', placeholder: 'The van', 'data-testid': 'pin-note' });
  const both = h('input', { type: 'checkbox', checked: true });
  const problem = h('p', { class: 'field-error', role: 'alert', hidden: true });
  const save = h('button', { type: 'submit', class: 'button primary', 'data-testid': 'pin-save' }, 'Pin');
  const form = h(
    'form',
    { class: 'form', novalidate: true },
    h('p', { class: 'hint' }, `What is recorded in this range stays until the pin is removed or the stream is deleted. Times are ${app.time.zone.name}’s.`),
    times.element,
    note.element,
    streams.length > 1 && h('label', { class: 'check' }, both, h('span', {}, 'The sub source, too')),
    problem,
    h('div', { class: 'form-actions' }, save, h('button', { type: 'button', class: 'button', on: { click: () => dialog.close() } }, 'Cancel')),
  );
  const submit = async (): Promise<void> => {
    problem.hidden = true;
    const wanted = times.read();
    if (wanted === null) return;
    save.disabled = true;
    try {
      const chosen = streams.slice(0, both.checked ? undefined : 1);
      const answers = await Promise.allSettled(chosen.map(({ name }) => app.api.pin(name, wanted.from, wanted.to, note.input.value.trim())));
      const refused = answers.filter((answer) => answer.status === 'rejected').map(({ reason }): unknown => reason);
      // Where only one of the two has something, that is what is pinned.
      const empty = refused.every((error) => error instanceof ApiError && error.status === 404);
      if (refused.length > 0 && (!empty || refused.length === answers.length)) {
        throw empty ? new Error('nothing is recorded in this range') : refused.find((error) => !(error instanceof ApiError) || error.status !== 404);
      }
      dialog.close();
      app.toast('Pinned.');
    } catch (error) {
      problem.hidden = false;
      setText(problem, inWords(error));
    } finally {
      save.disabled = false;
      done();
    }
  };
  dialog.scope.listen(form, 'submit', (event) => {
    event.preventDefault();
    void submit();
  });
  dialog.body.append(form);
  save.focus();
}
