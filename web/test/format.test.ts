import { describe, expect, test } from 'vitest';
import { age, behind, bitrate, bytes, daysLeft, duration, TimeFormat } from '../src/time/format';

const at = (text: string): number => Date.parse(text);
const now = at('2026-11-24T12:00:00Z');

describe('moments', () => {
  test.each([
    ['Europe/Berlin', '2026-11-24T06:15:03Z', 'Tue 24 Nov, 07:15:03 CET'],
    ['Europe/Berlin', '2026-07-24T06:15:03Z', 'Fri 24 Jul, 08:15:03 CEST'],
    ['Europe/Berlin', '2026-10-25T00:30:00Z', 'Sun 25 Oct, 02:30:00 CEST'],
    ['Europe/Berlin', '2026-10-25T01:30:00Z', 'Sun 25 Oct, 02:30:00 CET'],
    ['Europe/London', '2026-11-24T00:00:00Z', 'Tue 24 Nov, 00:00:00 GMT'],
    ['America/New_York', '2026-11-24T06:15:03Z', 'Tue 24 Nov, 01:15:03 EST'],
    ['America/New_York', '2026-09-01T16:15:03Z', 'Tue 1 Sep, 12:15:03 EDT'],
    ['Asia/Kolkata', '2026-11-24T06:15:03Z', 'Tue 24 Nov, 11:45:03 GMT+5:30'],
    ['UTC', '2026-11-24T06:15:03Z', 'Tue 24 Nov, 06:15:03 UTC'],
  ])('%s %s', (zone, text, words) => {
    expect(new TimeFormat(zone).full(at(text), now)).toBe(words);
  });

  test('another year is named', () => {
    expect(new TimeFormat('Europe/Berlin').full(at('2025-12-31T22:59:59Z'), now)).toBe('Wed 31 Dec 2025, 23:59:59 CET');
    // This year already, there.
    expect(new TimeFormat('Europe/Berlin').date(at('2025-12-31T23:00:00Z'), now)).toBe('Thu 1 Jan');
  });

  test('the value of an input', () => {
    expect(new TimeFormat('Europe/Berlin').inputValue(at('2026-03-29T01:00:00Z'))).toBe('2026-03-29T03:00:00');
  });
});

test('ages and durations', () => {
  expect(age(400)).toBe('now');
  expect(age(-5000)).toBe('now');
  expect(age(5900)).toBe('5 s ago');
  expect(age(190_000)).toBe('3 min ago');
  expect(duration(47 * 3600_000)).toBe('47 h');
  expect(duration(49 * 3600_000)).toBe('2 days');
});

test('how far behind live', () => {
  expect(behind(-3)).toBe('0.0 s');
  expect(behind(3240)).toBe('3.2 s');
  expect(behind(48_900)).toBe('48 s');
  expect(behind(725_000)).toBe('12:05');
  expect(behind(10_930_000)).toBe('3:02:10');
  expect(behind(99 * 3600_000)).toBe('4 d 3 h');
});

test('amounts', () => {
  expect(bitrate(4_100_000)).toBe('4.1 Mb/s');
  expect(bitrate(24_000_000)).toBe('24 Mb/s');
  expect(bitrate(64_000)).toBe('64 kb/s');
  expect(bytes(0)).toBe('0 B');
  expect(bytes(999)).toBe('999 B');
  expect(bytes(999_600)).toBe('1.0 MB');
  expect(bytes(412_300_000_000)).toBe('412 GB');
  expect(bytes(1_600_000_000_000)).toBe('1.6 TB');
  expect(daysLeft(0.4)).toBe('9 hours');
  expect(daysLeft(1.2)).toBe('1 day');
  expect(daysLeft(12.5)).toBe('12 days');
  expect(daysLeft(213)).toBe('about 7 months');
  expect(daysLeft(9000)).toBe('more than 10 years');
});
