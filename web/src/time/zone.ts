// Time zones, by Intl alone: the offset of a zone at an instant, and the instants that a wall clock reading may mean.

import type { Ms } from '../api/types';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const WEEK = 7 * DAY;

/** A reading of a wall clock, without a zone. `month` is 1 to 12. */
export interface WallTime {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
}

/** What a wall clock reading means in a zone. */
export type Instants =
  /** The usual case. */
  | { kind: 'one'; at: Ms }
  /** The clocks went back: the reading came twice. */
  | { kind: 'two'; first: Ms; second: Ms }
  /** The clocks went forward over it: it never was. `at` is the same reading on the clock as it stood before. */
  | { kind: 'none'; at: Ms };

export class Zone {
  private readonly parts: Intl.DateTimeFormat;
  private readonly offsets = new Map<number, Ms>();

  /** `name` is an IANA name; without one, the browser's zone. */
  constructor(readonly name: string = new Intl.DateTimeFormat().resolvedOptions().timeZone) {
    this.parts = new Intl.DateTimeFormat('en-GB', {
      timeZone: name,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
      era: 'short',
    });
  }

  /** Local time minus UTC at an instant, in milliseconds. */
  offset(at: Ms): Ms {
    // Every zone changes its offset on a quarter of an hour.
    const quarter = Math.floor(at / (15 * MINUTE));
    const known = this.offsets.get(quarter);
    if (known !== undefined) return known;
    const start = quarter * 15 * MINUTE;
    const offset = utc(this.read(start)) - start;
    if (this.offsets.size > 20_000) this.offsets.clear();
    this.offsets.set(quarter, offset);
    return offset;
  }

  /** What the wall clock shows at an instant. */
  wall(at: Ms): WallTime {
    const local = new Date(Math.floor(at / 1000) * 1000 + this.offset(at));
    return {
      year: local.getUTCFullYear(),
      month: local.getUTCMonth() + 1,
      day: local.getUTCDate(),
      hour: local.getUTCHours(),
      minute: local.getUTCMinutes(),
      second: local.getUTCSeconds(),
    };
  }

  /** The instants at which the wall clock shows `wall`. */
  instants(wall: WallTime): Instants {
    const local = utc(wall);
    // Offsets lie within a day of UTC, and no zone changes twice within two days.
    const before = this.offset(local - DAY);
    const after = this.offset(local + DAY);
    const early = local - Math.max(before, after);
    const late = local - Math.min(before, after);
    const found = [early, late].filter((at, index, all) => this.offset(at) === local - at && all.indexOf(at) === index);
    const [first, second] = found;
    if (first === undefined) return { kind: 'none', at: local - before };
    if (second === undefined) return { kind: 'one', at: first };
    return { kind: 'two', first, second };
  }

  /**
   * The first instant after `at` at which the wall clock shows a multiple of `step`: of minutes or hours since midnight,
   * of whole days, of weeks from Monday.
   */
  next(at: Ms, step: Ms): Ms {
    // The first of January 1970, from which whole days are counted, was a Thursday.
    const phase = step % WEEK === 0 ? 4 * DAY : 0;
    const offset = this.offset(at);
    const local = (Math.floor((at + offset - phase) / step) + 1) * step + phase;
    const guess = local - offset;
    const there = this.offset(guess);
    // Either no change lies between, or it does and the clock shows a multiple anyhow (the second 02:00).
    if (there === offset || (guess + there - phase) % step === 0) return guess;
    const corrected = local - there;
    return corrected > at ? corrected : guess;
  }

  private read(at: Ms): WallTime {
    const found: Record<string, string> = {};
    for (const { type, value } of this.parts.formatToParts(at)) found[type] = value;
    const number = (key: string): number => Number(found[key] ?? Number.NaN);
    const year = found['era']?.startsWith('B') ? 1 - number('year') : number('year');
    return {
      year,
      month: number('month'),
      day: number('day'),
      hour: number('hour'),
      minute: number('minute'),
      second: number('second'),
    };
  }
}

function utc(wall: WallTime): Ms {
  const at = new Date(0);
  at.setUTCFullYear(wall.year, wall.month - 1, wall.day);
  at.setUTCHours(wall.hour, wall.minute, wall.second);
  return at.getTime();
}
