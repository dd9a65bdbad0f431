// What is shown when the server does not answer at all: it is tried again until it does.

import { backoff } from '../api/backoff';
import { inWords } from '../api/errors';
import type { View } from '../ui/dom';
import { h } from '../ui/dom';
import { mark } from '../ui/icons';

let attempt = 0;

export function unreachablePage(error: unknown, again: () => Promise<void>): View {
  const timer = setTimeout(() => void again(), backoff(attempt++));
  const now = (): void => {
    clearTimeout(timer);
    attempt = 0;
    void again();
  };
  const element = h(
    'main',
    { class: 'sign-in', id: 'main' },
    h(
      'div',
      { class: 'sign-in-box' },
      h('h1', { class: 'brand big' }, mark(), 'Rushes'),
      h('p', { role: 'alert' }, inWords(error), ' Trying again…'),
      h('button', { type: 'button', class: 'button', on: { click: now } }, 'Try now'),
    ),
  );
  return { element, title: 'Not reachable', dispose: () => clearTimeout(timer) };
}
