// How long recordings stay, in words and back.

import type { Retention, RetentionChange } from '../api/types';
import { bytes } from '../time/format';

/** `30 days`, `12 hours`, `10 minutes`, `2 years` */
export function ageWords(hours: number): string {
  const { count, unit } = splitAge(hours);
  return `${count} ${count === 1 ? unit.slice(0, -1) : unit}`;
}

export type AgeUnit = 'minutes' | 'hours' | 'days' | 'years';

const HOURS: Record<AgeUnit, number> = { minutes: 1 / 60, hours: 1, days: 24, years: 8760 };

/** In the largest unit that has it in whole, or nearly. */
export function splitAge(hours: number): { count: number; unit: AgeUnit } {
  for (const unit of ['years', 'days', 'hours'] as const) {
    const count = hours / HOURS[unit];
    if (count >= 1 && Math.abs(count - Math.round(count)) < 1e-6) return { count: Math.round(count), unit };
  }
  if (hours >= 48) return { count: round(hours / 24), unit: 'days' };
  return hours >= 2 ? { count: round(hours), unit: 'hours' } : { count: Math.round(hours * 60), unit: 'minutes' };
}

export type SizeUnit = 'MB' | 'GB' | 'TB';

const BYTES: Record<SizeUnit, number> = { MB: 1e6, GB: 1e9, TB: 1e12 };

export function splitSize(count: number): { count: number; unit: SizeUnit } {
  const unit: SizeUnit = count >= 1e12 ? 'TB' : count >= 1e9 ? 'GB' : 'MB';
  return { count: Number((count / BYTES[unit]).toPrecision(6)), unit };
}

/** Hours; null when it is no age that the server takes. */
export function readAge(text: string, unit: AgeUnit): number | null {
  const count = number(text);
  const hours = count === null ? null : count * HOURS[unit];
  return hours === null || hours > 10 * HOURS.years ? null : hours;
}

/** Bytes; null when it is no size. */
export function readSize(text: string, unit: SizeUnit): number | null {
  const count = number(text);
  return count === null || count === 0 ? null : Math.round(count * BYTES[unit]);
}

/** `30 days, up to 500 GB`; `as long as there is room` */
export function keeps({ hours, bytes: most }: Retention): string {
  const parts = [hours === null ? '' : ageWords(hours), most === null ? '' : `up to ${bytes(most)}`].filter((part) => part !== '');
  return parts.length === 0 ? 'as long as there is room' : parts.join(', ');
}

/** What happens when there is no room, as a sentence. */
export function whenFull({ onFull }: Retention): string {
  return onFull === 'overwrite' ? 'When there is no room, its oldest recordings make way.' : 'When there is no room, it takes no more until there is.';
}

/** Only what is another: the rest is left as it is. */
export function changed(before: Retention, after: Required<RetentionChange>): RetentionChange {
  const now: Required<RetentionChange> = {
    hours: before.set.includes('hours') ? (before.hours ?? 'unlimited') : null,
    bytes: before.set.includes('bytes') ? (before.bytes ?? 'unlimited') : null,
    onFull: before.set.includes('onFull') ? before.onFull : null,
  };
  const change: RetentionChange = {};
  if (after.hours !== now.hours) change.hours = after.hours;
  if (after.bytes !== now.bytes) change.bytes = after.bytes;
  if (after.onFull !== now.onFull) change.onFull = after.onFull;
  return change;
}

function number(text: string): number | null {
  const trimmed = text.trim().replace(',', '.');
  return /^\d{1,9}(\.\d{1,6})?$/.test(trimmed) ? Number(trimmed) : null;
}

function round(count: number): number {
  return Math.round(count * 10) / 10;
}
