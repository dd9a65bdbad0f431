// A <select> with our own arrow.

import type { Props } from './dom';
import { h } from './dom';
import { icon } from './icons';

export interface Select {
  element: HTMLElement;
  input: HTMLSelectElement;
}

export function select(props: Props, options: readonly [value: string, label: string][]): Select {
  const input = h('select', { ...props, class: 'select' }, ...options.map(([value, label]) => h('option', { value }, label)));
  return { element: h('span', { class: 'select-box' }, input, icon('down')), input };
}
