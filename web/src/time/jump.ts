// What somebody typed as a time, in the browser's zone, with its pitfalls said in words.

import type { Ms } from '../api/types';
import type { TimeFormat } from './format';
import type { WallTime } from './zone';

export interface Choice {
  at: Ms;
  /** `02:30:00 CEST` */
  label: string;
}

export type Jump =
  | { kind: 'go'; at: Ms; note: string | null }
  /** The reading came twice that night. */
  | { kind: 'choose'; choices: [Choice, Choice] }
  | { kind: 'wrong'; words: string };

/** The value of a `datetime-local` input; seconds may be missing. */
export function parseLocal(value: string): WallTime | null {
  const found = /^(\d{4,6})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?$/.exec(value);
  if (found === null) return null;
  const [year, month, day, hour, minute, second] = found.slice(1).map((part) => Number(part ?? 0)) as [number, number, number, number, number, number];
  const check = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  const same = check.getUTCMonth() === month - 1 && check.getUTCDate() === day && check.getUTCHours() === hour && check.getUTCMinutes() === minute;
  return same ? { year, month, day, hour, minute, second } : null;
}

export function planJump(value: string, time: TimeFormat, now: Ms, earliest: Ms | null): Jump {
  const wall = parseLocal(value);
  if (wall === null) return { kind: 'wrong', words: 'Enter a date and a time.' };
  const found = time.zone.instants(wall);
  if (found.kind === 'two' && found.first <= now) {
    const choice = (at: Ms): Choice => ({ at, label: `${time.clock(at)} ${time.zoneName(at)}` });
    return { kind: 'choose', choices: [choice(found.first), choice(found.second)] };
  }
  const at = found.kind === 'two' ? found.first : found.at;
  if (at > now) return { kind: 'wrong', words: 'That is in the future.' };
  if (earliest !== null && at < earliest) {
    return { kind: 'go', at: earliest, note: `The recording begins ${time.full(earliest, now)}.` };
  }
  const note = found.kind === 'none' ? `The clocks went forward over that time; this is ${time.clock(at)} ${time.zoneName(at)}.` : null;
  return { kind: 'go', at, note };
}
