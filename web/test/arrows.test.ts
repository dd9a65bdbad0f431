import { expect, test } from 'vitest';
import { neighbour } from '../src/ui/arrows';

// 0 1 2
// 3 4
test('arrows lead to what is beside, above and below', () => {
  const to = (key: string, index: number): number | null => neighbour(key, index, 5, 3);
  expect([to('ArrowRight', 0), to('ArrowRight', 2), to('ArrowRight', 4)]).toEqual([1, 3, null]);
  expect([to('ArrowLeft', 0), to('ArrowLeft', 3)]).toEqual([null, 2]);
  expect([to('ArrowDown', 1), to('ArrowDown', 2), to('ArrowDown', 3)]).toEqual([4, 4, null]);
  expect([to('ArrowUp', 4), to('ArrowUp', 1)]).toEqual([1, null]);
  expect(to('Enter', 1)).toBeNull();
  // A phone's width.
  expect([neighbour('ArrowDown', 0, 2, 1), neighbour('ArrowUp', 1, 2, 1)]).toEqual([1, 0]);
});
