import { expect, test, vi } from 'vitest';
import { Places } from '../src/player/places';

test('there is room for so much, and who waits comes next', () => {
  const places = new Places(3);
  const [a, b] = [places.claim(2, vi.fn()), places.claim(1, vi.fn())];
  expect([a.held, b.held]).toEqual([true, true]);
  const called: string[] = [];
  const c = places.claim(1, () => called.push('c'));
  places.claim(1, () => called.push('d'));
  expect(c.held).toBe(false);
  b.release();
  b.release();
  expect(called).toEqual(['c']);
  a.release();
  expect(called).toEqual(['c', 'd']);
});

test('who needs less passes who needs more; who gave up is not called', () => {
  const places = new Places(4);
  const held = [places.claim(3, vi.fn()), places.claim(1, vi.fn())];
  const called: string[] = [];
  places.claim(2, () => called.push('large'));
  const gone = places.claim(1, () => called.push('gone'));
  places.claim(1, () => called.push('small'));
  gone.release();
  held[1]?.release();
  expect(called).toEqual(['small']);
  held[0]?.release();
  expect(called).toEqual(['small', 'large']);
});

test('what is larger than everything has it to itself', () => {
  const places = new Places(4);
  const granted = vi.fn();
  const small = places.claim(1, vi.fn());
  const large = places.claim(100, granted);
  expect(large.held).toBe(false);
  small.release();
  expect(granted).toHaveBeenCalledOnce();
  expect(places.take(1)).toBeNull();
  large.release();
  expect(places.take(4)?.held).toBe(true);
  expect(places.take(1)).toBeNull();
});
