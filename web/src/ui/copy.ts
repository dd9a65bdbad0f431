// A text to be copied, with its button.

import { h } from './dom';
import { icon } from './icons';
import { toast } from './toast';

/** `text` in a box that scrolls, and a button that copies it. `label` says what it is. */
export function copyBox(text: string, label: string): HTMLElement {
  const button = h('button', { type: 'button', class: 'button quiet icon-only', 'aria-label': `Copy ${label}`, title: 'Copy' }, icon('copy'));
  button.addEventListener('click', () => {
    void copyText(text).then((done) => {
      if (!done) return toast('The browser does not allow copying here; select the text instead.', 'bad');
      button.replaceChildren(icon('check'));
      setTimeout(() => button.replaceChildren(icon('copy')), 1500);
    });
  });
  return h('div', { class: 'copy-box' }, h('code', { tabindex: '0', 'aria-label': label }, text), button);
}

/** Puts text on the clipboard; also over plain HTTP, where the clipboard API is not there. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h('textarea', { class: 'offscreen', readonly: true, 'aria-hidden': 'true' });
    area.value = text;
    // Inside an open dialog, so that it can take the focus.
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}
