// What a wish to be at some moment comes to: pure decisions, so that they can be tested without a player.

import type { Ms } from '../api/types';
import type { Span } from '../timeline/spans';
import { spanAfter, spanAt, spanBefore } from '../timeline/spans';

export type Frames = 'all' | 'key';

/** Above this speed only key frames are played. */
export const KEY_FRAMES_ABOVE = 4;

/** As near to now as this, what is wanted is live. */
export const LIVE_ZONE: Ms = 8_000;

export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16] as const;

export function framesFor(speed: number): Frames {
  return speed > KEY_FRAMES_ABOVE ? 'key' : 'all';
}

export interface Situation {
  now: Ms;
  /** What is recorded, as far as known; null before anything is. */
  spans: readonly Span[] | null;
  /** The range in which `spans` is the whole truth. */
  covered: Span | null;
  /** Whether new fragments are coming in. */
  arriving: boolean;
  /** What the present session can play without asking for another; null without a session. */
  loaded: { from: Ms; to: Ms; frames: Frames } | null;
  frames: Frames;
}

export type Plan =
  | { go: 'live' }
  /** The media element has it (or its playlist does). */
  | { go: 'element'; at: Ms }
  /** Another session, from here on. */
  | { go: 'open'; at: Ms }
  /** There is nothing to play. */
  | { go: 'nowhere' };

/** Where to go for a wish to see `wish`; a wish within a gap goes on to the next recording. */
export function planSeek(wish: Ms, situation: Situation): Plan {
  const { now, arriving, loaded, frames } = situation;
  if (arriving && wish >= now - LIVE_ZONE) return { go: 'live' };
  const at = onRecording(wish, situation);
  if (at === null) return arriving ? { go: 'live' } : { go: 'nowhere' };
  if (arriving && at >= now - LIVE_ZONE) return { go: 'live' };
  if (loaded !== null && loaded.frames === frames && at >= loaded.from && at < loaded.to) return { go: 'element', at };
  return { go: 'open', at };
}

/** The moment itself when it is recorded or when we cannot know, else the start of the next recording, else near the end. */
function onRecording(wish: Ms, { spans, covered, arriving }: Situation): Ms | null {
  if (spans === null || covered === null || wish < covered.from || wish > covered.to) return wish;
  if (spanAt(spans, wish) !== null) return wish;
  const next = spanAfter(spans, wish);
  if (next !== null) return next.from;
  if (arriving) return null;
  const last = spanBefore(spans, wish);
  // Nothing within what we know, but before it there may be: the server will say.
  if (last === null) return wish;
  return Math.max(last.from, last.to - 2000);
}

/** Where a step of `by` milliseconds (either way) leads: back over a gap it lands before the gap, not in it. */
export function stepTarget(position: Ms, by: Ms, spans: readonly Span[] | null): Ms {
  const wish = position + by;
  if (by >= 0 || spans === null) return wish;
  const here = spanAt(spans, position) ?? spanBefore(spans, position);
  if (here === null || wish >= here.from) return wish;
  // First to the start of this recording, from there on back into the one before.
  if (position - here.from > 2000) return here.from;
  const before = spanBefore(spans, here.from - 1) ?? null;
  return before === null ? here.from : Math.max(before.from, before.to + by);
}

/** When nothing arrives, the nearest thing to live is the last that came; null while that may still count as live. */
export function tailOf(recorded: Span, now: Ms): Ms | null {
  return now - recorded.to < 15_000 ? null : Math.max(recorded.from, recorded.to - 30_000);
}

export interface EdgeSituation {
  position: Ms;
  now: Ms;
  /** Where the present session's media ends. */
  end: Ms;
  spans: readonly Span[] | null;
  arriving: boolean;
}

/**
 * A session came to its end (or goes no further): from where to open the next one, `live`, or null when the recording
 * itself ends there.
 */
export function planContinue({ position, now, end, spans, arriving }: EdgeSituation): Ms | 'live' | null {
  if (arriving && now - end < 3 * LIVE_ZONE) return 'live';
  const from = Math.max(position, end);
  if (spans === null) return arriving ? from : null;
  const here = spanAt(spans, from + 500);
  if (here !== null && here.to - from > 3000) return from;
  const next = spanAfter(spans, from + 500);
  if (next !== null) return next.from;
  return arriving ? 'live' : null;
}
