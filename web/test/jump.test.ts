import { expect, test } from 'vitest';
import { TimeFormat } from '../src/time/format';
import { parseLocal, planJump } from '../src/time/jump';

const time = new TimeFormat('Europe/Berlin');
const at = (text: string): number => Date.parse(text);
const now = at('2026-11-24T12:00:00Z');

test('values of the input', () => {
  expect(parseLocal('2026-11-24T07:15')).toEqual({ year: 2026, month: 11, day: 24, hour: 7, minute: 15, second: 0 });
  expect(parseLocal('2026-11-24T07:15:03.250')?.second).toBe(3);
  for (const wrong of ['', '2026-11-24', '2026-02-30T10:00', '2026-13-01T10:00', '2026-11-24T24:30', 'yesterday']) {
    expect(parseLocal(wrong)).toBeNull();
  }
});

test('a usual time', () => {
  expect(planJump('2026-11-24T07:15:03', time, now, null)).toEqual({ kind: 'go', at: at('2026-11-24T06:15:03Z'), note: null });
});

test('a time that came twice is asked about', () => {
  const plan = planJump('2026-10-25T02:30:00', time, now, null);
  expect(plan).toEqual({
    kind: 'choose',
    choices: [
      { at: at('2026-10-25T00:30:00Z'), label: '02:30:00 CEST' },
      { at: at('2026-10-25T01:30:00Z'), label: '02:30:00 CET' },
    ],
  });
});

test('a time that never was is the one an hour on, and says so', () => {
  const plan = planJump('2026-03-29T02:30:00', time, now, null);
  expect(plan).toMatchObject({ kind: 'go', at: at('2026-03-29T01:30:00Z') });
  expect(plan.kind === 'go' && plan.note).toContain('03:30:00 CEST');
});

test('the future and nonsense are refused in words', () => {
  expect(planJump('2026-11-25T07:15:03', time, now, null)).toEqual({ kind: 'wrong', words: 'That is in the future.' });
  expect(planJump('', time, now, null).kind).toBe('wrong');
});

test('before the first recording goes to the first recording', () => {
  const earliest = at('2026-11-20T00:00:00Z');
  expect(planJump('2026-11-01T00:00:00', time, now, earliest)).toMatchObject({ kind: 'go', at: earliest });
});
