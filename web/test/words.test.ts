import { describe, expect, test } from 'vitest';
import type { Camera, Track } from '../src/api/types';
import { formatRoute, parseRoute } from '../src/app/router';
import { detailNow, stateWords, summary, tracksWords, trackWords } from '../src/app/words';
import { blocked, playability } from '../src/player/support';

const h264: Track = { id: 1, kind: 'video', codec: 'avc1.64001f', codecName: 'H.264', width: 1920, height: 1080, fps: 29.97, mime: 'video/mp4; codecs="avc1.64001f"' };
const h265: Track = { ...h264, codec: 'hvc1.1.6.L120.90', codecName: 'H.265', mime: 'video/mp4; codecs="hvc1.1.6.L120.90"' };
const aac: Track = { id: 2, kind: 'audio', codec: 'mp4a.40.2', codecName: 'AAC', rate: 44100, channels: 2, mime: 'audio/mp4; codecs="mp4a.40.2"' };
const g711: Track = { ...aac, codec: 'pcmu', codecName: 'G.711', rate: 8000, channels: 1, mime: null };
const chromium = (mime: string): boolean => !mime.includes('hvc1');

test('tracks in words', () => {
  expect(trackWords(h264)).toBe('H.264 1920×1080, 29.97 fps');
  expect(trackWords(aac)).toBe('AAC 44.1 kHz stereo');
  expect(tracksWords([h264, g711])).toBe('H.264 1920×1080 · G.711');
});

describe('what plays', () => {
  test('everything', () => {
    expect(playability([h264, aac], chromium)).toEqual({ video: true, audio: true, words: null });
  });
  test('not this codec in this browser', () => {
    expect(playability([h265, aac], chromium)).toEqual({ video: false, audio: true, words: 'H.265 is not supported by this browser.' });
  });
  test('a codec that MP4 does not carry', () => {
    expect(playability([h264, g711], chromium)).toEqual({ video: true, audio: false, words: 'G.711 cannot be carried to a browser.' });
  });
  test('unknown tracks are tried', () => {
    expect(playability([], chromium)).toMatchObject({ video: true, words: null });
  });
});

test('when there is no point in trying', () => {
  const now = Date.parse('2026-11-24T08:00:00Z');
  const camera = (change: Partial<Camera>): Camera => ({ state: 'running', detail: '', tracks: [h264], recorded: null, ...change }) as Camera;
  const recorded = { from: '2026-11-24T06:00:00Z', to: '2026-11-24T07:00:00Z', bytes: 1 };
  expect(blocked(undefined, now, chromium)).toBeNull();
  expect(blocked(camera({}), now, chromium)).toBeNull();
  expect(blocked(camera({ tracks: [h265], recorded }), now, chromium)).toBe('H.265 is not supported by this browser.');
  expect(blocked(camera({ state: 'failed', detail: 'no route to host', recorded }), now, chromium)).toBeNull();
  expect(blocked(camera({ state: 'failed', detail: 'no route to host' }), now, chromium)).toBe('Nothing is recorded yet. No route to host.');
});

test('the next attempt is counted down from when the state began', () => {
  const since = '2026-11-24T08:00:00Z';
  const camera = { state: 'failed', detail: 'no route to host; next attempt in 28 s', since } as Camera;
  const after = (seconds: number): string => detailNow(camera, Date.parse(since) + seconds * 1000);
  // The browser's idea of the server's time may be a little behind.
  expect([-0.2, 0, 0.2, 1, 27.5].map(after)).toEqual([28, 28, 28, 27, 1].map((left) => `no route to host; next attempt in ${left} s`));
  expect([28, 40].map(after)).toEqual(Array(2).fill('no route to host; next attempt now'));
  expect(blocked({ ...camera, tracks: [], recorded: null } as unknown as Camera, Date.parse(since) + 25_000, chromium)).toBe('Nothing is recorded yet. No route to host; next attempt in 3 s.');
  for (const detail of ['', 'connecting', 'next attempt in 28 s or so']) expect(detailNow({ ...camera, detail }, Date.parse(since) + 9_000)).toBe(detail);
});

test('a summary of cameras', () => {
  const camera = (state: Camera['state']): Camera => ({ state }) as Camera;
  expect(summary([])).toBe('');
  expect(summary([camera('running')])).toBe('Running');
  expect(summary([camera('running'), camera('running')])).toBe('All running');
  expect(summary([camera('running'), camera('failed'), camera('rejected'), camera('stopped'), camera('waiting')])).toBe('1 running, 2 need attention, 1 waiting, 1 disabled');
  // A state of a newer server is shown as it is.
  expect(stateWords({ state: 'dreaming' } as unknown as Camera)).toBe('dreaming');
});

describe('addresses of pages', () => {
  test.each([
    ['', { page: 'cameras' }],
    ['#/', { page: 'cameras' }],
    ['#/nowhere/at/all', { page: 'cameras' }],
    ['#/storage', { page: 'storage' }],
    ['#/cameras/a%20b', { page: 'camera', name: 'a b', at: null }],
    ['#/cameras/%zz', { page: 'cameras' }],
    ['#/cameras/yard?at=2026-11-24T06:00:00Z', { page: 'camera', name: 'yard', at: Date.parse('2026-11-24T06:00:00Z') }],
    ['#/cameras/yard?at=1795500000000', { page: 'camera', name: 'yard', at: 1795500000000 }],
    ['#/cameras/yard?at=soon', { page: 'camera', name: 'yard', at: null }],
  ])('%s', (hash, route) => {
    expect(parseRoute(hash)).toEqual(route);
  });

  test('there and back', () => {
    for (const route of [
      { page: 'cameras' },
      { page: 'storage' },
      { page: 'camera', name: 'a.b-c_D', at: 1795500000000 },
      { page: 'sign-in', then: '#/cameras/yard?at=2026-11-24T06:00:00.000Z' },
    ] as const) {
      expect(parseRoute(formatRoute(route))).toEqual(route);
    }
  });
});
