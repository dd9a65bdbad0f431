// A labelled field whose error stands beside it.

import { h, setAttribute, setText } from './dom';

export interface Field {
  element: HTMLElement;
  input: HTMLInputElement;
  /** Shows what is wrong with it; null takes that back. */
  fail(words: string | null): void;
}

let count = 0;

export function field(label: string, props: Record<string, unknown> = {}, hint?: string): Field {
  const id = `field-${++count}`;
  const input = h('input', { class: 'input', id, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', ...props });
  const problem = h('p', { class: 'field-error', id: `${id}-error`, role: 'alert', hidden: true });
  const element = h('div', { class: 'field' }, h('label', { for: id }, label), input, hint !== undefined && h('p', { class: 'hint' }, hint), problem);
  return {
    element,
    input,
    fail(words) {
      setText(problem, words ?? '');
      problem.hidden = words === null;
      setAttribute(input, 'aria-invalid', words === null ? null : 'true');
      setAttribute(input, 'aria-describedby', words === null ? null : problem.id);
    },
  };
}
