// Times and durations in words. Everything goes through one `TimeFormat`, which holds the zone.

import type { Ms } from '../api/types';
import { DAY, HOUR, MINUTE, Zone } from './zone';

const LOCALE = 'en-GB';

export class TimeFormat {
  readonly zone: Zone;
  private readonly formats = new Map<string, Intl.DateTimeFormat>();

  constructor(zone?: string) {
    this.zone = new Zone(zone);
  }

  /** `Tue 24 Nov, 07:15:03 CET`; with the year when it is not this one. */
  full(at: Ms, now: Ms = Date.now()): string {
    return `${this.date(at, now)}, ${this.clock(at)} ${this.zoneName(at)}`;
  }

  /** `Tue 24 Nov`, or `Tue 24 Nov 2025` when that is not this year. */
  date(at: Ms, now: Ms = Date.now()): string {
    const parts = this.parts(at, { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric' });
    const year = this.zone.wall(now).year === this.zone.wall(at).year ? '' : ` ${parts['year']}`;
    // ICU abbreviates September to four letters; three keep columns even.
    return `${parts['weekday']} ${parts['day']} ${parts['month']?.slice(0, 3)}${year}`;
  }

  /** `07:15:03` */
  clock(at: Ms): string {
    const { hour, minute, second } = this.zone.wall(at);
    return `${two(hour)}:${two(minute)}:${two(second)}`;
  }

  /** `07:15` */
  minutes(at: Ms): string {
    const { hour, minute } = this.zone.wall(at);
    return `${two(hour)}:${two(minute)}`;
  }

  /** `CET`, `EST`, or `GMT+5:30` where the zone has no letters. */
  zoneName(at: Ms): string {
    const british = this.parts(at, { timeZoneName: 'short' })['timeZoneName'] ?? '';
    // British English knows no American zones by letters, and the other way round.
    if (!/^GMT[+-−]/.test(british)) return british;
    const american = this.parts(at, { timeZoneName: 'short' }, 'en-US')['timeZoneName'] ?? '';
    return american.startsWith('GMT') ? british : american;
  }

  /** What `<input type="datetime-local" step="1">` takes. */
  inputValue(at: Ms): string {
    const { year, month, day, hour, minute, second } = this.zone.wall(at);
    return `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}T${two(hour)}:${two(minute)}:${two(second)}`;
  }

  private parts(at: Ms, options: Intl.DateTimeFormatOptions, locale = LOCALE): Record<string, string> {
    const key = locale + JSON.stringify(options);
    let format = this.formats.get(key);
    if (format === undefined) {
      format = new Intl.DateTimeFormat(locale, { ...options, timeZone: this.zone.name });
      this.formats.set(key, format);
    }
    return Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
  }
}

/** `now`, `5 s ago`, `3 min ago`, `2 h ago`, `4 days ago`. */
export function age(elapsed: Ms): string {
  if (elapsed < 3000) return 'now';
  return `${duration(elapsed)} ago`;
}

/** The largest unit that fits: `5 s`, `3 min`, `2 h`, `4 days`. */
export function duration(length: Ms): string {
  if (length < MINUTE) return `${Math.max(0, Math.floor(length / 1000))} s`;
  if (length < HOUR) return `${Math.floor(length / MINUTE)} min`;
  if (length < 2 * DAY) return `${Math.floor(length / HOUR)} h`;
  return `${Math.floor(length / DAY)} days`;
}

/** How far behind live: `3.2 s`, `48 s`, `12:05`, `3:02:10`, `4 d 3 h`. */
export function behind(length: Ms): string {
  if (length < 10_000) return `${(Math.max(0, length) / 1000).toFixed(1)} s`;
  if (length < MINUTE) return `${Math.floor(length / 1000)} s`;
  const seconds = two(Math.floor(length / 1000) % 60);
  if (length < HOUR) return `${Math.floor(length / MINUTE)}:${seconds}`;
  if (length < DAY) return `${Math.floor(length / HOUR)}:${two(Math.floor(length / MINUTE) % 60)}:${seconds}`;
  return `${Math.floor(length / DAY)} d ${Math.floor((length % DAY) / HOUR)} h`;
}

/** `4.1 Mb/s` */
export function bitrate(bits: number): string {
  if (bits >= 10e6) return `${Math.round(bits / 1e6)} Mb/s`;
  if (bits >= 1e6) return `${(bits / 1e6).toFixed(1)} Mb/s`;
  return `${Math.round(bits / 1e3)} kb/s`;
}

/** Bytes in decimal units, as disks are sold: `412 GB`, `1.6 TB`. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}

/** Days that are left: `12 days`, `about 7 months`, `more than 10 years`. */
export function daysLeft(days: number): string {
  if (days < 1) return `${Math.max(0, Math.floor(days * 24))} hours`;
  if (days < 2) return '1 day';
  if (days < 90) return `${Math.floor(days)} days`;
  if (days < 730) return `about ${Math.round(days / 30.44)} months`;
  if (days < 3652) return `about ${Math.floor(days / 365.25)} years`;
  return 'more than 10 years';
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
