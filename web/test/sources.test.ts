import { expect, test } from 'vitest';
import type { Camera, CameraState, Recorded, SubSource, Track } from '../src/api/types';
import type { Sources } from '../src/player/sources';
import { chooseSource, subOnly } from '../src/player/sources';

const h264: Track = { id: 1, kind: 'video', codec: 'avc1.64001f', codecName: 'H.264', width: 640, height: 360, fps: 25, mime: 'video/mp4; codecs="avc1.64001f"' };
const h265: Track = { ...h264, codec: 'hvc1.1.6.L120.90', codecName: 'H.265', width: 3840, height: 2160, mime: 'video/mp4; codecs="hvc1.1.6.L120.90"' };
const chromium = (mime: string): boolean => !mime.includes('hvc1');
const now = Date.parse('2026-11-24T12:00:00Z');
const until = (ago: number): Recorded => ({ from: '2026-11-01T00:00:00Z', to: new Date(now - ago).toISOString(), bytes: 1 });

function camera(main: Track, sub: Track | null, state: CameraState = 'running', ago = 1000): Camera {
  const source = { source: { kind: 'push' }, detail: '', since: '', lastFrame: null, bitrate: 0, unitsIn: 0, unitsOut: 0, lost: 0, clockWarning: null, timesEstimated: false } as const;
  const its = sub === null ? null : ({ ...source, stream: 'yard.sub', state: 'running', tracks: [sub], recorded: until(1000) } satisfies SubSource);
  return { ...source, name: 'yard', enabled: true, created: '', state, tracks: [main], recorded: until(ago), sub: its };
}

const nothing: Sources = { main: null, sub: null, failed: new Set() };

test('the main, unless there is a reason', () => {
  expect(chooseSource(camera(h264, null), null, now, nothing, chromium)).toEqual({ stream: 'yard', sub: false, words: null });
  expect(chooseSource(camera(h264, h264), null, now, nothing, chromium)).toMatchObject({ stream: 'yard' });
  expect(chooseSource(camera(h264, h264), now - 1e6, now, nothing, chromium)).toMatchObject({ stream: 'yard' });
});

test('a main that this browser cannot play', () => {
  const choice = chooseSource(camera(h265, h264), null, now, nothing, chromium);
  expect(choice).toEqual({ stream: 'yard.sub', sub: true, words: 'H.265 is not supported by this browser. This is the sub source, 640×360.' });
  expect(subOnly(camera(h265, h264), new Set(), chromium)).toBe(true);
  // Neither plays: the main says why.
  expect(chooseSource(camera(h265, h265), null, now, nothing, chromium)).toMatchObject({ stream: 'yard' });
  expect(subOnly(camera(h265, h265), new Set(), chromium)).toBe(false);
  // The browser promised too much.
  const failed = { ...nothing, failed: new Set(['yard']) };
  expect(chooseSource(camera(h265, h264), null, now, failed, () => true)).toMatchObject({ sub: true, words: 'This browser could not decode the main source. This is the sub source, 640×360.' });
  expect(chooseSource(camera(h264, h264), null, now, { ...nothing, failed: new Set(['yard', 'yard.sub']) }, chromium)).toMatchObject({ sub: false });
});

test('live, while the main sends nothing', () => {
  expect(chooseSource(camera(h264, h264, 'failed', 60_000), null, now, nothing, chromium)).toMatchObject({ sub: true, words: expect.stringContaining('sends no picture') });
  // It runs again, but nothing new is recorded yet.
  expect(chooseSource(camera(h264, h264, 'running', 60_000), null, now, nothing, chromium)).toMatchObject({ sub: true });
  expect(chooseSource(camera(h264, null, 'failed', 60_000), null, now, nothing, chromium)).toMatchObject({ sub: false });
});

test('a moment of which only the sub was recorded', () => {
  const covered = { from: 0, to: 1000 };
  const known: Sources = { main: { covered, spans: [{ from: 0, to: 400 }] }, sub: { covered, spans: [{ from: 100, to: 900 }] }, failed: new Set() };
  const at = (moment: number): boolean => chooseSource(camera(h264, h264), moment, now, known, chromium).sub;
  expect([50, 300, 500, 950].map(at)).toEqual([false, false, true, false]);
  // Where nobody knows what the main has, it is the main.
  expect(at(1500)).toBe(false);
  expect(chooseSource(camera(h264, h264), 500, now, { ...known, main: null }, chromium).sub).toBe(false);
});
