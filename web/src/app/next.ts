// What retention will remove next: worked out from what every stream keeps, how full it is, and how fast it grows.

import type { Ms, Retention, Storage } from '../api/types';

export interface Growing {
  stream: string;
  /** Its oldest recording; null when there is none. */
  from: Ms | null;
  bytes: number;
  /** Bytes a millisecond. */
  rate: number;
  retention: Retention;
}

export interface Next {
  /** Why: too old, over the stream's bytes, over everything's bytes, or the disk. */
  cause: 'age' | 'stream' | 'total' | 'disk';
  at: Ms;
  /** The bound that is met then: hours, or bytes. */
  limit: number;
  /** Whose oldest goes; null when none may go, and what comes is refused. */
  stream: string | null;
  /** From when that is. */
  from: Ms | null;
}

const DAY = 86_400_000;

export function whatGoesNext(streams: readonly Growing[], storage: Pick<Storage, 'used' | 'free' | 'bytesPerDay' | 'limits'>, now: Ms): Next | null {
  const found: Next[] = [];
  for (const { stream, from, bytes, rate, retention } of streams) {
    const goes = retention.onFull === 'overwrite' ? stream : null;
    if (from !== null && retention.hours !== null) found.push({ cause: 'age', at: from + retention.hours * 3_600_000, limit: retention.hours, stream, from });
    if (retention.bytes !== null && from !== null) {
      const at = when(retention.bytes - bytes, rate, now);
      if (at !== null) found.push({ cause: 'stream', at, limit: retention.bytes, stream: goes, from });
    }
  }
  // Room for everybody is made by whoever has the oldest and may overwrite.
  let oldest: Growing | null = null;
  for (const one of streams) {
    if (one.from !== null && one.retention.onFull === 'overwrite' && (oldest?.from == null || one.from < oldest.from)) oldest = one;
  }
  const { used, free, bytesPerDay, limits } = storage;
  const add = (cause: 'total' | 'disk', left: number, limit: number): void => {
    const at = when(left, bytesPerDay / DAY, now);
    if (at !== null) found.push({ cause, at, limit, stream: oldest?.stream ?? null, from: oldest?.from ?? null });
  };
  if (limits.total !== null) add('total', limits.total - used, limits.total);
  if (!limits.remote) add('disk', free - limits.freeFloor, limits.freeFloor);
  return found.reduce<Next | null>((best, next) => (best === null || next.at < best.at ? next : best), null);
}

/** When so much more is there; null for never. */
function when(left: number, rate: number, now: Ms): Ms | null {
  if (left <= 0) return now;
  return rate > 0 ? now + left / rate : null;
}
