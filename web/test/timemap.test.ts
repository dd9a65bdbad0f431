import { expect, test } from 'vitest';
import { TimeMap } from '../src/player/timemap';

// Ten seconds, a gap of a minute, ten seconds.
const map = new TimeMap([
  { media: 100, wall: 1_000_000, duration: 5 },
  { media: 105, wall: 1_005_000, duration: 5 },
  { media: 110, wall: 1_070_000, duration: 5 },
  { media: 115, wall: 1_075_000, duration: 5 },
]);

test('the ends', () => {
  expect([map.from, map.to, map.end]).toEqual([1_000_000, 1_080_000, 120]);
  const none = new TimeMap([]);
  expect([none.empty, none.from, none.to, none.end, none.wall(3), none.media(3)]).toEqual([true, null, null, null, null, null]);
});

test('from the media to the clock', () => {
  expect(map.wall(100)).toBe(1_000_000);
  expect(map.wall(109.5)).toBe(1_009_500);
  expect(map.wall(110)).toBe(1_070_000);
  expect(map.wall(119)).toBe(1_079_000);
  // Beyond the ends it goes on counting.
  expect(map.wall(98)).toBe(998_000);
  expect(map.wall(121)).toBe(1_081_000);
});

test('from the clock to the media', () => {
  expect(map.media(1_000_000)).toBe(100);
  expect(map.media(1_007_500)).toBe(107.5);
  expect(map.media(1_079_000)).toBe(119);
  expect(map.media(999_999)).toBeNull();
  expect(map.media(1_080_001)).toBeNull();
});

test('a moment in the gap is where the recording goes on', () => {
  expect(map.media(1_010_000)).toBe(110);
  expect(map.media(1_040_000)).toBe(110);
});

test('a clock that was set back: the later of two equal readings', () => {
  const back = new TimeMap([
    { media: 0, wall: 1_000_000, duration: 10 },
    { media: 10, wall: 1_005_000, duration: 10 },
  ]);
  expect(back.media(1_007_000)).toBe(12);
  expect(back.media(1_002_000)).toBe(2);
});

test('there and back again', () => {
  for (let media = 100; media < 120; media += 0.37) expect(map.media(map.wall(media)!)).toBeCloseTo(media, 6);
});
