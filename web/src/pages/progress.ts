// Waiting, with the seconds counted.

import { setText } from '../ui/dom';

/** Says for how long; what it returns ends that. The last child of `element` is the place for words. */
export function countSeconds(element: HTMLElement, what: string): () => void {
  element.hidden = false;
  const started = performance.now();
  const words = element.lastElementChild as HTMLElement;
  const tick = (): void => {
    const seconds = Math.floor((performance.now() - started) / 1000);
    setText(words, seconds < 1 ? what : `${what} ${seconds} s`);
  };
  tick();
  const timer = setInterval(tick, 500);
  return () => {
    clearInterval(timer);
    element.hidden = true;
  };
}
