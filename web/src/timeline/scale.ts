// The arithmetic of the timeline: which stretch of time is in view, and where in it things are. Pure.

import type { Ms } from '../api/types';
import { DAY, HOUR, MINUTE } from '../time/zone';
import type { Zone } from '../time/zone';
import type { Span } from './spans';

/** The stretch of time in view. */
export type View = Span;

export const SHORTEST = 10 * MINUTE;
export const LONGEST = 30 * DAY;

/** What the zoom buttons go through. */
export const LENGTHS = [10 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY];

export function length(view: View): Ms {
  return view.to - view.from;
}

export function toX(view: View, width: number, at: Ms): number {
  return ((at - view.from) / length(view)) * width;
}

export function toTime(view: View, width: number, x: number): Ms {
  return view.from + (x / width) * length(view);
}

/** `factor` below 1 shows less time. The moment `anchor` stays where it is. */
export function zoom(view: View, factor: number, anchor: Ms): View {
  const next = Math.min(LONGEST, Math.max(SHORTEST, length(view) * factor));
  const share = (anchor - view.from) / length(view);
  const from = anchor - share * next;
  return { from, to: from + next };
}

/** The next length of the zoom buttons, in (−1) or out (1). */
export function nextLength(present: Ms, direction: -1 | 1): Ms {
  if (direction > 0) return LENGTHS.find((candidate) => candidate > present * 1.01) ?? LONGEST;
  return LENGTHS.findLast((candidate) => candidate < present * 0.99) ?? SHORTEST;
}

/** The shortest of the lengths that shows so much with some room around it. */
export function fitting(span: Ms): Ms {
  return LENGTHS.find((candidate) => candidate > span * 1.2) ?? LONGEST;
}

export function pan(view: View, by: Ms): View {
  return { from: view.from + by, to: view.to + by };
}

/** The view, moved no further than needed so that something between `earliest` and `now` stays in sight. */
export function clamp(view: View, earliest: Ms, now: Ms): View {
  const size = length(view);
  const margin = size * 0.06;
  const latest = now + margin;
  // Short histories sit at the right, where the next fragment will be.
  const first = Math.min(earliest - margin, latest - size);
  if (view.to > latest) return { from: latest - size, to: latest };
  if (view.from < first) return { from: first, to: first + size };
  return view;
}

/** The view of this length in which `at` stands at `share` of the width. */
export function around(at: Ms, size: Ms, share = 0.5): View {
  return { from: at - size * share, to: at + size * (1 - share) };
}

/** Pinching: the moments under two fingers stay under them. Positions in pixels. */
export function pinch(view: View, width: number, before: [number, number], after: [number, number]): View {
  const spread = Math.max(1, Math.abs(before[1] - before[0]));
  const spreadAfter = Math.max(1, Math.abs(after[1] - after[0]));
  const middle = (before[0] + before[1]) / 2;
  const zoomed = zoom(view, spread / spreadAfter, toTime(view, width, middle));
  const moved = (after[0] + after[1]) / 2 - middle;
  return pan(zoomed, -(moved / width) * length(zoomed));
}

/**
 * Where the view goes as the playhead moves: unchanged while the playhead is well within it or was out of sight already
 * (somebody looks elsewhere).
 */
export function follow(view: View, before: Ms | null, position: Ms, live: boolean, now: Ms): View {
  const size = length(view);
  const inSight = (at: Ms): boolean => at >= view.from && at <= view.to;
  if (before !== null && !inSight(before)) return view;
  if (live) {
    const to = now + size * 0.06;
    // One pixel's worth at a time would only blur.
    return to - view.to > size / 2000 && inSight(now - size * 0.06) ? { from: to - size, to } : view;
  }
  if (position > view.from + size * 0.95) return around(position, size, 0.15);
  return view;
}

export interface Tick {
  at: Ms;
  /** A day begins here. */
  day: boolean;
}

const STEPS = [MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY];

/** The finest step whose labels have room: `room` pixels for times, half as much again for dates. */
export function tickStep(view: View, width: number, room: number): Ms {
  const least = (room / width) * length(view);
  return STEPS.find((step) => step >= (step < DAY ? least : least * 1.5)) ?? 7 * DAY;
}

/** The step of the small ticks between those with labels, at least `room` pixels apart; null when there is none. */
export function minorStep(view: View, width: number, step: Ms, room: number): Ms | null {
  const least = (room / width) * length(view);
  return STEPS.find((finer) => finer >= least && finer < step && step % finer === 0) ?? null;
}

/** The ticks in view, on round times of the wall clock: through a change of the clocks too. */
export function ticks(view: View, step: Ms, zone: Zone): Tick[] {
  const found: Tick[] = [];
  for (let at = zone.next(view.from - step, step); at <= view.to && found.length < 500; at = zone.next(at, step)) {
    const { hour, minute } = zone.wall(at);
    if (at >= view.from) found.push({ at, day: hour === 0 && minute === 0 });
  }
  return found;
}
