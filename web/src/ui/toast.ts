// Short messages at the foot of the page, read out by screen readers.

import { h } from './dom';

const SECONDS = 5;

const region = h('div', { class: 'toasts', role: 'status', 'aria-live': 'polite' });

export function toast(message: string, tone: 'plain' | 'bad' = 'plain'): void {
  if (!region.isConnected) document.body.append(region);
  const element = h('div', { class: `toast toast-${tone}` }, message);
  region.append(element);
  setTimeout(() => element.remove(), SECONDS * 1000);
}
