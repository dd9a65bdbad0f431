import { describe, expect, test } from 'vitest';
import type { Span } from '../src/timeline/spans';
import { extendTail, fromApi, replaceRange, spanAfter, spanAt, spanBefore, tidy } from '../src/timeline/spans';

const span = (from: number, to: number): Span => ({ from, to });

test('from the API', () => {
  expect(fromApi([{ from: '2026-11-24T06:00:00.500000Z', to: '2026-11-24T06:00:02.000000Z' }])).toEqual([
    span(Date.parse('2026-11-24T06:00:00.5Z'), Date.parse('2026-11-24T06:00:02Z')),
  ]);
});

test('tidy sorts, drops the empty and joins what nearly touches', () => {
  expect(tidy([span(9000, 9000), span(5000, 6000), span(0, 2000), span(2900, 4000)])).toEqual([span(0, 4000), span(5000, 6000)]);
});

describe('looking up', () => {
  const spans = [span(1000, 3000), span(10_000, 20_000), span(30_000, 40_000)];
  test.each([
    [500, null, 1000, null],
    [1000, 1000, 10_000, null],
    [2999, 1000, 10_000, null],
    [3000, null, 10_000, 1000],
    [15_000, 10_000, 30_000, 1000],
    [25_000, null, 30_000, 10_000],
    [99_000, null, null, 30_000],
  ])('at %d', (at, here, after, before) => {
    expect(spanAt(spans, at)?.from ?? null).toBe(here);
    expect(spanAfter(spans, at)?.from ?? null).toBe(after);
    expect(spanBefore(spans, at)?.from ?? null).toBe(before);
  });
});

test('the tail grows, but not over an outage', () => {
  expect(extendTail([span(0, 1000)], 3000, 5000)).toEqual([span(0, 3000)]);
  expect(extendTail([span(0, 1000)], 9000, 5000)).toEqual([span(0, 1000)]);
  expect(extendTail([span(0, 1000)], 500, 5000)).toEqual([span(0, 1000)]);
  expect(extendTail([], 500, 5000)).toEqual([]);
});

test('replacing a range agrees with doing it second by second', () => {
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 48271) % 2147483647) % below;
  const some = (): Span[] => tidy(Array.from({ length: random(6) }, () => random(100)).map((at) => span(at * 2000, (at + 1 + random(9)) * 2000)));
  const bits = (spans: Span[]): boolean[] => Array.from({ length: 120 }, (_, index) => spanAt(spans, index * 2000) !== null);
  for (let round = 0; round < 500; round += 1) {
    const known = some();
    const from = random(100) * 2000;
    const to = from + random(20) * 2000;
    const fresh = some().flatMap((one) => {
      const cut = span(Math.max(from, one.from), Math.min(to, one.to));
      return cut.to > cut.from ? [cut] : [];
    });
    const result = replaceRange(known, from, to, fresh);
    const [was, is, now] = [bits(known), bits(fresh), bits(result)];
    now.forEach((recorded, index) => {
      const inside = index * 2000 >= from && index * 2000 < to;
      expect(recorded).toBe(inside ? is[index] : was[index]);
    });
    for (let index = 1; index < result.length; index += 1) expect(result[index]!.from).toBeGreaterThan(result[index - 1]!.to);
  }
});
