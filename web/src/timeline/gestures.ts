// Pointers and wheels on the timeline, as what they mean: pan, zoom, pinch, scrub, click, hover.

import type { Scope } from '../ui/dom';

export interface GestureHandlers {
  /** Whether a press at `x` takes hold of the playhead; `slack` is how far off it may be. */
  grabs(x: number, slack: number): boolean;
  click(x: number): void;
  pan(pixels: number): void;
  zoom(factor: number, x: number): void;
  pinch(before: [number, number], after: [number, number]): void;
  /** The playhead is dragged; `done` when let go (null: given up). */
  scrub(x: number, done: boolean | null): void;
  /** The pointer rests over `x`; null when it left. */
  hover(x: number | null): void;
}

/** A press that moved less than this is a click. */
const STILL = 6;

type Mode = 'idle' | 'pressed' | 'panning' | 'scrubbing' | 'pinching';

export function listenForGestures(element: HTMLElement, scope: Scope, handlers: GestureHandlers): void {
  const pointers = new Map<number, number>();
  let mode: Mode = 'idle';
  let pressedAt = 0;
  const xOf = (event: MouseEvent): number => event.clientX - element.getBoundingClientRect().left;

  scope.listen<PointerEvent>(element, 'pointerdown', (event) => {
    if (event.button !== 0) return;
    const x = xOf(event);
    pointers.set(event.pointerId, x);
    element.setPointerCapture(event.pointerId);
    if (pointers.size === 2) {
      if (mode === 'scrubbing') handlers.scrub(x, null);
      mode = 'pinching';
      handlers.hover(null);
      return;
    }
    pressedAt = x;
    mode = handlers.grabs(x, event.pointerType === 'touch' ? 22 : 9) ? 'scrubbing' : 'pressed';
  });

  scope.listen<PointerEvent>(element, 'pointermove', (event) => {
    const x = xOf(event);
    const before = pointers.get(event.pointerId);
    if (before === undefined) {
      if (event.pointerType !== 'touch') handlers.hover(x);
      return;
    }
    if (mode === 'pinching' && pointers.size === 2) {
      const fingers = [...pointers.keys()];
      const was = fingers.map((id) => pointers.get(id) ?? 0) as [number, number];
      pointers.set(event.pointerId, x);
      const is = fingers.map((id) => pointers.get(id) ?? 0) as [number, number];
      return handlers.pinch(was, is);
    }
    if (mode === 'pressed' && Math.abs(x - pressedAt) > STILL) {
      mode = 'panning';
      handlers.hover(null);
      element.classList.add('panning');
    }
    if (mode === 'scrubbing') {
      if (Math.abs(x - pressedAt) > 2) handlers.scrub(x, false);
    } else if (mode === 'panning') {
      handlers.pan(x - before);
    }
    pointers.set(event.pointerId, x);
  });

  const release = (event: PointerEvent, cancelled: boolean): void => {
    if (!pointers.delete(event.pointerId)) return;
    const x = xOf(event);
    if (mode === 'pressed' && !cancelled) handlers.click(x);
    if (mode === 'scrubbing') handlers.scrub(x, cancelled || Math.abs(x - pressedAt) <= 2 ? null : true);
    // A finger left of two goes on to pan, not to click.
    mode = pointers.size === 1 ? 'panning' : 'idle';
    if (mode === 'idle') element.classList.remove('panning');
  };
  scope.listen<PointerEvent>(element, 'pointerup', (event) => release(event, false));
  scope.listen<PointerEvent>(element, 'pointercancel', (event) => release(event, true));
  scope.listen(element, 'pointerleave', () => pointers.size === 0 && handlers.hover(null));

  scope.listen<WheelEvent>(
    element,
    'wheel',
    (event) => {
      const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 32 : 1;
      const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
      event.preventDefault();
      if (event.shiftKey || Math.abs(dx) > Math.abs(dy)) handlers.pan(-(event.shiftKey && dx === 0 ? dy : dx));
      // Pinching on a touchpad comes as a wheel with the control key, in small steps.
      else handlers.zoom(Math.exp(Math.max(-120, Math.min(120, dy)) * (event.ctrlKey ? 0.01 : 0.002)), xOf(event));
    },
    { passive: false },
  );
}
