import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Scope } from '../src/ui/dom';
import { eachSecond } from '../src/ui/seconds';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('all that counts moves on together, by one timer, for as long as it is shown', () => {
  const [one, other] = [new Scope(), new Scope()];
  const counts = [0, 0, 0];
  const count = (which: number) => (): void => void (counts[which] = (counts[which] ?? 0) + 1);
  const twice = count(0);
  eachSecond(one, twice);
  vi.advanceTimersByTime(500);
  eachSecond(one, twice);
  eachSecond(other, count(1));
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(500);
  expect(counts).toEqual([2, 1, 0]);
  vi.advanceTimersByTime(9_000);
  expect(counts).toEqual([20, 10, 0]);
  one.end();
  vi.advanceTimersByTime(1_000);
  expect(counts).toEqual([20, 11, 0]);
  other.end();
  expect(vi.getTimerCount()).toBe(0);
  // What has ended begins nothing; the next page begins anew.
  eachSecond(other, count(2));
  expect(vi.getTimerCount()).toBe(0);
  const next = new Scope();
  eachSecond(next, count(2));
  vi.advanceTimersByTime(1_000);
  expect(counts).toEqual([20, 11, 1]);
  next.end();
});
