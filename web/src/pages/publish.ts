// How to publish to a camera that is sent to Rushes.

import { inWords } from '../api/errors';
import type { App } from '../app/context';
import { copyBox } from '../ui/copy';
import type { Dialog } from '../ui/dialog';
import { openDialog } from '../ui/dialog';
import { h } from '../ui/dom';
import { publishCommands } from './commands';

/** The address and the commands that use it. */
export function publishHelp(name: string, url: string, dialog: Dialog): HTMLElement {
  return h(
    'div',
    { class: 'publish' },
    h('p', {}, `Send to this address; whoever has it can publish to “${name}” and do nothing else. `, h('b', {}, 'It is shown only now.')),
    copyBox(url, 'publish address'),
    ...publishCommands(url).map(({ title, note, command }, index) =>
      h('details', { class: 'command', open: index === 0 }, h('summary', {}, title), note !== undefined && h('p', { class: 'hint' }, note), copyBox(command, `${title} command`)),
    ),
    h('div', { class: 'form-actions' }, h('button', { type: 'button', class: 'button primary', on: { click: () => dialog.close() } }, 'Done')),
  );
}

/** Asks before it makes a new address, because the old one stops working. */
export function openPublish(app: App, name: string): void {
  const dialog = openDialog(`Publish to ${name}`, { class: 'keep-open add-dialog' });
  const problem = h('p', { class: 'field-error', role: 'alert', hidden: true });
  const make = h('button', { type: 'button', class: 'button primary' }, 'Make a new address');
  dialog.body.append(
    h('p', {}, 'Addresses are not kept where they could be shown again. A new one can be made; the one in use stops working then.'),
    problem,
    h('div', { class: 'form-actions' }, make, h('button', { type: 'button', class: 'button', on: { click: () => dialog.close() } }, 'Cancel')),
  );
  make.addEventListener('click', () => {
    make.disabled = true;
    app.api.publishUrl(name).then(
      (url) => dialog.body.replaceChildren(publishHelp(name, url, dialog)),
      (error: unknown) => {
        make.disabled = false;
        problem.hidden = false;
        problem.textContent = inWords(error);
      },
    );
  });
}
