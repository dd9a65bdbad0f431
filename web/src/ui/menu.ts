// A small menu at a button.

import { h } from './dom';

export interface MenuItem {
  label: string;
  run(): void;
  danger?: boolean;
}

/** Opens a menu below (or above) its button; Escape, Tab and a click elsewhere close it. */
export function openMenu(anchor: HTMLElement, items: MenuItem[]): void {
  document.querySelector('.menu')?.remove();
  const buttons = items.map((item) =>
    h('button', {
      type: 'button',
      role: 'menuitem',
      class: item.danger ? 'danger' : '',
      on: {
        click: () => {
          close(true);
          item.run();
        },
      },
    }, item.label),
  );
  const menu = h('div', { class: 'menu', role: 'menu' }, ...buttons);
  const closing = new AbortController();
  const close = (focus: boolean): void => {
    closing.abort();
    menu.remove();
    anchor.setAttribute('aria-expanded', 'false');
    if (focus) anchor.focus();
  };
  document.body.append(menu);
  anchor.setAttribute('aria-expanded', 'true');

  const at = anchor.getBoundingClientRect();
  const size = menu.getBoundingClientRect();
  const below = at.bottom + 4 + size.height <= innerHeight;
  menu.style.top = `${below ? at.bottom + 4 : Math.max(8, at.top - 4 - size.height)}px`;
  menu.style.left = `${Math.max(8, Math.min(at.right - size.width, innerWidth - size.width - 8))}px`;

  const { signal } = closing;
  menu.addEventListener('keydown', (event) => {
    const index = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    if (step !== 0) buttons[(index + step + buttons.length) % buttons.length]?.focus();
    else if (event.key === 'Escape' || event.key === 'Tab') close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  addEventListener('pointerdown', (event) => menu.contains(event.target as Node) || close(false), { signal, capture: true });
  // One that is told late, of what had moved before, is none; nor is one of what the button is not in.
  addEventListener('scroll', () => Math.abs(anchor.getBoundingClientRect().top - at.top) > 1 && close(false), { signal, capture: true });
  addEventListener('resize', () => close(false), { signal });
  addEventListener('hashchange', () => close(false), { signal });
  buttons[0]?.focus({ focusVisible: false } as FocusOptions);
}
