// The keyboard: which press is meant for the page, and not for a field, a dialog or the browser.

import { dialogOpen } from '../ui/dialog';
import type { Scope } from '../ui/dom';
import type { App } from './context';
import { openHelp } from './help';

export type KeyMap = Record<string, () => void>;

/** The name of a press: `j`, `Shift+ArrowLeft`, `?`. Null when it belongs to the browser or to a field. */
export function keyName(event: KeyboardEvent): string | null {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return null;
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest('input:not([type=range]), textarea, select, [contenteditable]')) return null;
  // A focused button takes the space bar and Enter itself; a slider its arrows.
  if ((event.key === ' ' || event.key === 'Enter') && target?.closest('button, a, summary, [role=menuitem]')) return null;
  if (target?.closest('input[type=range]') && event.key.startsWith('Arrow')) return null;
  if (event.key.length === 1) return event.key === ' ' ? 'Space' : event.key.toLowerCase();
  return event.shiftKey ? `Shift+${event.key}` : event.key;
}

/** Listens for the keys of a page for as long as its scope lasts. */
export function listenForKeys(scope: Scope, keys: KeyMap): void {
  scope.listen<KeyboardEvent>(window, 'keydown', (event) => {
    if (dialogOpen() || document.querySelector('.menu') !== null) return;
    const name = keyName(event);
    const run = name === null ? undefined : keys[name];
    if (run === undefined) return;
    event.preventDefault();
    run();
  });
}

export function listenForHelp(app: App): void {
  addEventListener('keydown', (event) => {
    if (app.session === null || dialogOpen() || keyName(event) !== '?') return;
    event.preventDefault();
    openHelp(app);
  });
}
