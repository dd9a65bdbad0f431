import { describe, expect, test } from 'vitest';
import type { Situation } from '../src/player/decide';
import { framesFor, LIVE_ZONE, planContinue, planSeek, SPEEDS, stepTarget, tailOf } from '../src/player/decide';
import { tokenOf, withToken } from '../src/player/engine';
import { patience } from '../src/player/patient';

const NOW = 10_000_000;
const spans = [
  { from: 1_000_000, to: 2_000_000 },
  { from: 3_000_000, to: 9_998_000 },
];
const usual: Situation = {
  now: NOW,
  spans,
  covered: { from: 0, to: NOW },
  arriving: true,
  loaded: { from: 9_400_000, to: 9_998_000, frames: 'all' },
  frames: 'all',
};

describe('seeking', () => {
  test('near now is live', () => {
    expect(planSeek(NOW, usual)).toEqual({ go: 'live' });
    expect(planSeek(NOW + 5000, usual)).toEqual({ go: 'live' });
    expect(planSeek(NOW - LIVE_ZONE, usual)).toEqual({ go: 'live' });
  });

  test('within the session it is the element’s business', () => {
    expect(planSeek(9_500_000, usual)).toEqual({ go: 'element', at: 9_500_000 });
    expect(planSeek(9_400_000, usual)).toEqual({ go: 'element', at: 9_400_000 });
  });

  test('outside it another session is opened', () => {
    expect(planSeek(9_399_999, usual)).toEqual({ go: 'open', at: 9_399_999 });
    expect(planSeek(9_500_000, { ...usual, loaded: null })).toEqual({ go: 'open', at: 9_500_000 });
  });

  test('a session of other frames will not do', () => {
    expect(planSeek(9_500_000, { ...usual, frames: 'key' })).toEqual({ go: 'open', at: 9_500_000 });
  });

  test('a gap leads on to the next recording', () => {
    expect(planSeek(2_000_000, usual)).toEqual({ go: 'open', at: 3_000_000 });
    expect(planSeek(2_500_000, usual)).toEqual({ go: 'open', at: 3_000_000 });
    expect(planSeek(500_000, usual)).toEqual({ go: 'open', at: 1_000_000 });
  });

  test('a gap whose next recording is loaded needs no session', () => {
    const loaded = { from: 1_500_000, to: 4_000_000, frames: 'all' as const };
    expect(planSeek(2_500_000, { ...usual, loaded })).toEqual({ go: 'element', at: 3_000_000 });
  });

  test('where nothing is known the server decides', () => {
    expect(planSeek(2_500_000, { ...usual, spans: null, covered: null })).toEqual({ go: 'open', at: 2_500_000 });
    expect(planSeek(2_500_000, { ...usual, covered: { from: 5_000_000, to: NOW } })).toEqual({ go: 'open', at: 2_500_000 });
  });

  test('after the end of a camera that is off: its last seconds', () => {
    const off = { ...usual, arriving: false, spans: [{ from: 1_000_000, to: 2_000_000 }], loaded: null };
    expect(planSeek(NOW, off)).toEqual({ go: 'open', at: 1_998_000 });
    expect(planSeek(2_500_000, off)).toEqual({ go: 'open', at: 1_998_000 });
  });

  test('after the last recording of one that just came back: live', () => {
    const back = { ...usual, spans: [{ from: 1_000_000, to: 2_000_000 }], loaded: null };
    expect(planSeek(5_000_000, back)).toEqual({ go: 'live' });
  });
});

describe('steps', () => {
  test('within a recording', () => {
    expect(stepTarget(5_000_000, -10_000, spans)).toBe(4_990_000);
    expect(stepTarget(5_000_000, 10_000, spans)).toBe(5_010_000);
    expect(stepTarget(5_000_000, -10_000, null)).toBe(4_990_000);
  });

  test('back over a gap: first to its edge, then before it', () => {
    expect(stepTarget(3_005_000, -10_000, spans)).toBe(3_000_000);
    expect(stepTarget(3_000_500, -10_000, spans)).toBe(1_990_000);
  });

  test('back before the first recording stays at its start', () => {
    expect(stepTarget(1_000_500, -10_000, spans)).toBe(1_000_000);
  });
});

describe('at the end of a session', () => {
  const edge = { position: 5_000_000, end: 5_000_000, now: NOW, spans, arriving: true };
  test('goes on where the recording goes on', () => {
    expect(planContinue(edge)).toBe(5_000_000);
    expect(planContinue({ ...edge, position: 1_999_900, end: 2_000_000 })).toBe(3_000_000);
  });
  test('is live when it ends near now', () => {
    expect(planContinue({ ...edge, position: NOW - 9000, end: NOW - 8000 })).toBe('live');
  });
  test('ends when there is no more', () => {
    expect(planContinue({ ...edge, position: 9_998_000, end: 9_998_000, arriving: false })).toBeNull();
    expect(planContinue({ ...edge, spans: null, arriving: false })).toBeNull();
  });
});

test('key frames alone above four times', () => {
  expect(SPEEDS.map(framesFor)).toEqual(['all', 'all', 'all', 'all', 'all', 'key', 'key']);
});

test('tokens in addresses', () => {
  expect(tokenOf('/hls/abc-DEF_1/main.m3u8')).toBe('abc-DEF_1');
  expect(tokenOf('/other')).toBe('');
  expect(withToken('http://host:4566/hls/old/1/5.m4s?x=/hls/', 'new')).toBe('http://host:4566/hls/new/1/5.m4s?x=/hls/');
});

test('a long list is not fetched again every two seconds', () => {
  expect(patience(6, 1)).toBe(0);
  expect(patience(119, 1)).toBe(0);
  expect(patience(1000, 16)).toBe(0);
  expect(patience(120, 0.5)).toBe(30_000);
  expect(patience(9000, 1)).toBe(30_000);
});

test('the tail of a camera that sends no more', () => {
  expect(tailOf({ from: 0, to: NOW - 14_000 }, NOW)).toBeNull();
  expect(tailOf({ from: 0, to: NOW - 60_000 }, NOW)).toBe(NOW - 90_000);
  expect(tailOf({ from: NOW - 70_000, to: NOW - 60_000 }, NOW)).toBe(NOW - 70_000);
});
