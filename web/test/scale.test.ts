import { describe, expect, test } from 'vitest';
import { DAY, HOUR, MINUTE, Zone } from '../src/time/zone';
import { around, clamp, fitting, follow, LENGTHS, length, LONGEST, minorStep, nextLength, pan, pinch, SHORTEST, tickStep, ticks, toTime, toX, zoom } from '../src/timeline/scale';

const NOW = Date.parse('2026-11-24T06:00:00Z');
const hour = { from: NOW - HOUR, to: NOW };

test('pixels and moments are each other’s inverse', () => {
  for (const x of [0, 1, 333.3, 1000]) expect(toX(hour, 1000, toTime(hour, 1000, x))).toBeCloseTo(x, 6);
});

describe('zoom', () => {
  test('keeps the moment under the pointer where it is', () => {
    for (const x of [0, 250, 999]) {
      for (const factor of [0.5, 0.9, 1.3, 4]) {
        const anchor = toTime(hour, 1000, x);
        expect(toX(zoom(hour, factor, anchor), 1000, anchor)).toBeCloseTo(x, 3);
      }
    }
  });

  test('stops at ten minutes and at thirty days', () => {
    expect(length(zoom(hour, 1e-6, NOW))).toBe(SHORTEST);
    expect(length(zoom(hour, 1e6, NOW))).toBe(LONGEST);
  });

  test('the buttons go through all lengths, both ways', () => {
    let at: number = SHORTEST;
    for (const expected of LENGTHS.slice(1)) expect((at = nextLength(at, 1))).toBe(expected);
    expect(nextLength(at, 1)).toBe(LONGEST);
    for (const expected of LENGTHS.slice(0, -1).reverse()) expect((at = nextLength(at, -1))).toBe(expected);
    expect(nextLength(2 * HOUR, -1)).toBe(HOUR);
    expect(nextLength(2 * HOUR, 1)).toBe(3 * HOUR);
  });
});

test('the length that fits', () => {
  expect(fitting(0)).toBe(SHORTEST);
  expect(fitting(9 * MINUTE)).toBe(30 * MINUTE);
  expect(fitting(400 * DAY)).toBe(LONGEST);
});

test('pinching keeps both fingers on their moments', () => {
  const [left, right] = [toTime(hour, 1000, 400), toTime(hour, 1000, 600)];
  const view = pinch(hour, 1000, [400, 600], [300, 800]);
  expect(toX(view, 1000, left)).toBeCloseTo(300, 3);
  expect(toX(view, 1000, right)).toBeCloseTo(800, 3);
});

describe('clamp', () => {
  test('does not go beyond now', () => {
    const view = clamp(pan(hour, 5 * DAY), NOW - 10 * DAY, NOW);
    expect(length(view)).toBe(HOUR);
    expect(toX(view, 1000, NOW)).toBeCloseTo(940, 0);
  });

  test('does not go before the first recording', () => {
    const view = clamp(pan(hour, -50 * DAY), NOW - 10 * DAY, NOW);
    expect(toX(view, 1000, NOW - 10 * DAY)).toBeCloseTo(60, 0);
  });

  test('a short history sits at the right', () => {
    const view = clamp({ from: NOW - 30 * DAY, to: NOW }, NOW - HOUR, NOW);
    expect(view.to).toBeGreaterThanOrEqual(NOW);
    expect(clamp(pan(view, -DAY), NOW - HOUR, NOW)).toEqual(clamp(view, NOW - HOUR, NOW));
  });

  test('leaves alone what is within', () => {
    const view = around(NOW - DAY, HOUR);
    expect(clamp(view, NOW - 10 * DAY, NOW)).toBe(view);
  });
});

describe('follow', () => {
  test('live moves with the clock', () => {
    const view = around(NOW, HOUR, 0.94);
    const later = follow(view, NOW - 5000, NOW + 60_000, true, NOW + 65_000);
    expect(toX(later, 1000, NOW + 65_000)).toBeCloseTo(940, 0);
  });

  test('live leaves a view alone in which somebody looks at something else', () => {
    const view = around(NOW - DAY, HOUR);
    expect(follow(view, NOW - 5000, NOW, true, NOW)).toBe(view);
  });

  test('a recorded playhead turns the page before it leaves', () => {
    const view = around(NOW - DAY, HOUR);
    const late = toTime(view, 1000, 955);
    expect(toX(follow(view, late - 1000, late, false, NOW), 1000, late)).toBeCloseTo(150, 0);
    const early = toTime(view, 1000, 500);
    expect(follow(view, early - 1000, early, false, NOW)).toBe(view);
  });
});

describe('ticks', () => {
  const berlin = new Zone('Europe/Berlin');

  test('have room for their labels', () => {
    for (const size of LENGTHS) {
      for (const width of [320, 360, 800, 1600]) {
        const view = around(NOW, size);
        const step = tickStep(view, width, 60);
        const found = ticks(view, step, berlin);
        expect(found.length).toBeGreaterThan(0);
        expect(found.length).toBeLessThan(width / 60 + 2);
        const minor = minorStep(view, width, step, 14);
        if (minor !== null) expect(step % minor).toBe(0);
      }
    }
  });

  test('lie within the view, rise, and mark midnight', () => {
    const view = { from: Date.parse('2026-10-24T12:00:00Z'), to: Date.parse('2026-10-26T12:00:00Z') };
    const found = ticks(view, 6 * HOUR, berlin);
    expect(found.every(({ at }) => at >= view.from && at <= view.to)).toBe(true);
    expect(found.filter(({ day }) => day).map(({ at }) => new Date(at).toISOString())).toEqual(['2026-10-24T22:00:00.000Z', '2026-10-25T23:00:00.000Z']);
    expect(found.map(({ at }) => berlin.wall(at).hour)).toEqual([18, 0, 6, 12, 18, 0, 6, 12]);
  });

  test('one on the left edge is shown', () => {
    const view = { from: Date.parse('2026-11-24T06:00:00Z'), to: Date.parse('2026-11-24T06:10:00Z') };
    expect(ticks(view, 5 * MINUTE, berlin)[0]?.at).toBe(view.from);
  });
});
