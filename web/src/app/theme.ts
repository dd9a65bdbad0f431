// Light, dark, or as the system has it. `public/theme.js` sets the first one before the first paint.

export type Theme = 'auto' | 'light' | 'dark';

const KEY = 'rushes.theme';
const ORDER: Theme[] = ['auto', 'light', 'dark'];

const listeners = new Set<() => void>();
const system = matchMedia('(prefers-color-scheme: dark)');
let chosen = remembered();

export function theme(): Theme {
  return chosen;
}

export function setTheme(next: Theme): void {
  chosen = next;
  try {
    if (next === 'auto') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Storage may be forbidden: the choice then lasts as long as the page.
  }
  apply();
}

export function nextTheme(): Theme {
  const next = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length] ?? 'auto';
  setTheme(next);
  return next;
}

/** Calls back when the colours change, whoever changed them (canvases must be drawn anew). */
export function onTheme(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function remembered(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === 'light' || kept === 'dark' ? kept : 'auto';
  } catch {
    return 'auto';
  }
}

function apply(): void {
  document.documentElement.classList.toggle('dark', chosen === 'dark' || (chosen === 'auto' && system.matches));
  for (const listener of listeners) listener();
}

system.addEventListener('change', apply);
