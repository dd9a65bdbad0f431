// Modal dialogs on the browser's own <dialog>: it keeps the focus inside, closes on Escape and gives the focus back.

import { h, Scope } from './dom';
import { icon } from './icons';

export interface Dialog {
  element: HTMLDialogElement;
  body: HTMLElement;
  scope: Scope;
  close(): void;
}

let count = 0;

/** Opens a dialog; what is put in its `body` lives as long as its `scope`. */
export function openDialog(title: string, options: { class?: string } = {}): Dialog {
  const scope = new Scope();
  const id = `dialog-title-${++count}`;
  const closeButton = h('button', { type: 'button', class: 'button quiet icon-only', 'aria-label': 'Close' }, icon('close'));
  const body = h('div', { class: 'dialog-body' });
  const element = h(
    'dialog',
    { class: `dialog ${options.class ?? ''}`, 'aria-labelledby': id },
    h('header', { class: 'dialog-head' }, h('h2', { id }, title), closeButton),
    body,
  );
  const close = (): void => {
    if (element.open) element.close();
  };
  closeButton.addEventListener('click', close);
  element.addEventListener('close', () => {
    scope.end();
    element.remove();
  });
  // A press that began and ended on the backdrop closes; a selection dragged out of a field does not.
  let onBackdrop = false;
  element.addEventListener('pointerdown', (event) => (onBackdrop = event.target === element));
  element.addEventListener('click', (event) => {
    if (onBackdrop && event.target === element && !element.matches('.keep-open')) close();
  });
  document.body.append(element);
  element.showModal();
  return { element, body, scope, close };
}

export function dialogOpen(): boolean {
  return document.querySelector('dialog[open]') !== null;
}
