// Making elements, and taking back what a part of the page has started.

export type Child = Node | string | null | undefined | false;

export interface Props {
  class?: string;
  on?: { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
  [attribute: string]: unknown;
}

/** An element with attributes (`false`, `null` and `undefined` leave one out, `true` sets it empty) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === 'on') {
      for (const [event, handler] of Object.entries(value as Record<string, EventListener>)) {
        element.addEventListener(event, handler);
      }
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  element.append(...children.filter((child): child is Node | string => Boolean(child)));
  return element;
}

/** Sets a text only when it differs, so that ticking clocks do not make the browser lay out for nothing. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or removes an attribute, only when it differs. */
export function setAttribute(element: Element, name: string, value: string | null): void {
  if (element.getAttribute(name) === value) return;
  if (value === null) element.removeAttribute(name);
  else element.setAttribute(name, value);
}

/** What a part of the page must give back when it goes: listeners, timers, subscriptions, calls under way. */
export class Scope {
  private readonly controller = new AbortController();
  private readonly undo: (() => void)[] = [];

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  get ended(): boolean {
    return this.controller.signal.aborted;
  }

  add(undo: () => void): void {
    if (this.ended) undo();
    else this.undo.push(undo);
  }

  listen<E extends Event = Event>(
    target: EventTarget,
    event: string,
    handler: (event: E) => void,
    options: AddEventListenerOptions = {},
  ): void {
    target.addEventListener(event, handler as EventListener, { ...options, signal: this.signal });
  }

  every(milliseconds: number, run: () => void): void {
    const timer = setInterval(run, milliseconds);
    this.add(() => clearInterval(timer));
  }

  end(): void {
    if (this.ended) return;
    this.controller.abort();
    for (const undo of this.undo.splice(0).reverse()) undo();
  }
}

/** A part of the page: an element, and what to do when it goes. */
export interface View {
  element: HTMLElement;
  title: string;
  dispose(): void;
}
