// One clock for all that counts on a page: it moves on together, and nothing runs while nothing is shown.

import type { Scope } from './dom';

const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

/** Calls back once a second, until the scope ends. What is shown is to be taken from a clock: callbacks may come late. */
export function eachSecond(scope: Scope, run: () => void): void {
  if (scope.ended) return;
  const listener = (): void => run();
  listeners.add(listener);
  timer ??= setInterval(() => [...listeners].forEach((each) => each()), 1000);
  scope.add(() => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  });
}
