// Adding a camera: one that Rushes fetches from, or one that sends to Rushes.

import type { Camera } from '../api/types';
import type { App } from '../app/context';
import { openDialog } from '../ui/dialog';
import { h, setAttribute } from '../ui/dom';
import { pullForm, SUB_HINT } from './add-pull';
import { pushForm } from './add-push';

type Kind = 'pull' | 'push';

export function openAdd(app: App, first: Kind = 'pull'): void {
  const dialog = openDialog('Add a camera', { class: 'keep-open add-dialog' });
  const forms = { pull: pullForm(app, dialog), push: pushForm(app, dialog) };
  const place = h('div', { id: 'add-form', role: 'tabpanel' });
  const tab = (kind: Kind, label: string): HTMLButtonElement =>
    h('button', { type: 'button', role: 'tab', class: 'tab', 'aria-controls': 'add-form', on: { click: () => show(kind) } }, label);
  const tabs: Record<Kind, HTMLButtonElement> = { pull: tab('pull', 'Rushes fetches'), push: tab('push', 'Camera sends') };
  const show = (kind: Kind): void => {
    place.replaceChildren(forms[kind].element);
    for (const [name, button] of Object.entries(tabs)) {
      setAttribute(button, 'aria-selected', String(name === kind));
      setAttribute(button, 'tabindex', name === kind ? '0' : '-1');
    }
    forms[kind].focus();
  };
  const list = h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'How the video comes' }, tabs.pull, tabs.push);
  list.addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    const other: Kind = tabs.pull.getAttribute('aria-selected') === 'true' ? 'push' : 'pull';
    show(other);
    tabs[other].focus();
  });
  dialog.body.append(list, place);
  show(first);
}

/** Another address (or password) for a camera that Rushes fetches from. */
export function openChange(app: App, camera: Camera): void {
  const dialog = openDialog(`Change ${camera.name}`, { class: 'keep-open add-dialog' });
  const form = pullForm(app, dialog, { camera, part: 'main' });
  dialog.body.append(form.element);
  form.focus();
}

/** A sub source for a camera, or another one, or none any more. */
export function openSub(app: App, camera: Camera): void {
  const dialog = openDialog(`Sub source of ${camera.name}`, { class: 'keep-open add-dialog' });
  const form = pullForm(app, dialog, { camera, part: 'sub' });
  dialog.body.append(h('p', { class: 'hint' }, SUB_HINT), form.element);
  form.focus();
}

/** A form within the dialog. */
export interface AddForm {
  element: HTMLElement;
  focus(): void;
}
