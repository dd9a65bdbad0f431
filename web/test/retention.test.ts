import { describe, expect, test } from 'vitest';
import type { Retention } from '../src/api/types';
import type { Growing } from '../src/app/next';
import { whatGoesNext } from '../src/app/next';
import { ageWords, changed, keeps, readAge, readSize, splitAge, splitSize } from '../src/app/retention';

const HOUR = 3_600_000;
const free: Retention = { hours: null, bytes: null, onFull: 'overwrite', set: [] };

test('ages and sizes in words and back', () => {
  expect([0.5, 1, 1.5, 10 / 60, 24, 48, 720, 8760, 87600, 36, 100.25].map(ageWords)).toEqual(['30 minutes', '1 hour', '90 minutes', '10 minutes', '1 day', '2 days', '30 days', '1 year', '10 years', '36 hours', '4.2 days']);
  for (const hours of [1, 12, 24, 720, 8760]) {
    const { count, unit } = splitAge(hours);
    expect(readAge(String(count), unit)).toBe(hours);
  }
  for (const size of [1e6, 500e9, 1.5e12, 2e12]) {
    const { count, unit } = splitSize(size);
    expect(readSize(String(count), unit)).toBe(size);
  }
  expect(readAge('0', 'days')).toBe(0);
  expect(readAge('1,5', 'days')).toBe(36);
  expect(readSize(' 500 ', 'GB')).toBe(500e9);
  for (const wrong of ['', 'x', '-1', '1e9', '11']) expect(readAge(wrong, 'years')).toBeNull();
  expect(readSize('0', 'GB')).toBeNull();
});

test('what is kept', () => {
  expect(keeps(free)).toBe('as long as there is room');
  expect(keeps({ ...free, hours: 720 })).toBe('30 days');
  expect(keeps({ ...free, hours: 720, bytes: 500e9 })).toBe('30 days, up to 500 GB');
});

test('only what is changed is sent', () => {
  const before: Retention = { hours: 720, bytes: null, onFull: 'overwrite', set: ['hours'] };
  expect(changed(before, { hours: 720, bytes: null, onFull: null })).toEqual({});
  expect(changed(before, { hours: null, bytes: null, onFull: null })).toEqual({ hours: null });
  expect(changed(before, { hours: 720, bytes: 'unlimited', onFull: 'refuse' })).toEqual({ bytes: 'unlimited', onFull: 'refuse' });
  expect(changed({ ...before, hours: null }, { hours: 'unlimited', bytes: null, onFull: null })).toEqual({});
});

describe('what goes next', () => {
  const now = Date.parse('2026-11-24T12:00:00Z');
  const stream = (name: string, old: number, retention: Partial<Retention> = {}, bytes = 1e9, rate = 1e9 / HOUR): Growing => ({ stream: name, from: now - old, bytes, rate, retention: { ...free, ...retention } });
  const storage = { used: 2e9, free: 100e9, bytesPerDay: 24e9, limits: { total: null, freeFloor: 4e9, remote: false } };

  test('the disk, and then the oldest of all that may go', () => {
    const streams = [stream('a', 5 * HOUR), stream('b', 9 * HOUR, { onFull: 'refuse' }), stream('c', 7 * HOUR)];
    expect(whatGoesNext(streams, storage, now)).toEqual({ cause: 'disk', at: now + 96 * HOUR, limit: 4e9, stream: 'c', from: now - 7 * HOUR });
    expect(whatGoesNext(streams, { ...storage, free: 1e9 }, now)).toMatchObject({ cause: 'disk', at: now });
    expect(whatGoesNext([streams[1] as Growing], storage, now)).toMatchObject({ cause: 'disk', stream: null });
    expect(whatGoesNext(streams, { ...storage, limits: { ...storage.limits, remote: true } }, now)).toBeNull();
  });
  test('whatever comes first', () => {
    expect(whatGoesNext([stream('a', 5 * HOUR, { hours: 24 }), stream('b', 9 * HOUR)], storage, now)).toEqual({ cause: 'age', at: now + 19 * HOUR, limit: 24, stream: 'a', from: now - 5 * HOUR });
    expect(whatGoesNext([stream('a', 5 * HOUR, { hours: 24, bytes: 3e9 })], storage, now)).toMatchObject({ cause: 'stream', at: now + 2 * HOUR, stream: 'a' });
    expect(whatGoesNext([stream('a', 5 * HOUR, { bytes: 3e9, onFull: 'refuse' })], storage, now)).toMatchObject({ cause: 'stream', stream: null });
    expect(whatGoesNext([stream('a', 5 * HOUR)], { ...storage, limits: { ...storage.limits, total: 3e9 } }, now)).toMatchObject({ cause: 'total', at: now + HOUR, stream: 'a' });
  });
  test('nothing, when nothing grows or has a bound', () => {
    expect(whatGoesNext([], { ...storage, bytesPerDay: 0 }, now)).toBeNull();
    expect(whatGoesNext([stream('a', HOUR, {}, 1e9, 0)], { ...storage, bytesPerDay: 0 }, now)).toBeNull();
  });
});
