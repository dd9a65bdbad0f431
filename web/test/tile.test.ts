import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '../src/api/errors';
import type { Camera, CameraState, SubSource, Track } from '../src/api/types';
import type { Driver, Means, Rooms } from '../src/player/tile';
import { rooms, Tile, tileCost, tileWish, tileWords } from '../src/player/tile';

const h264: Track = { id: 1, kind: 'video', codec: 'avc1.64001f', codecName: 'H.264', width: 1920, height: 1080, fps: 25, mime: 'video/mp4; codecs="avc1.64001f"' };
const small: Track = { ...h264, width: 640, height: 360 };
const h265: Track = { ...h264, codec: 'hvc1.1.6.L120.90', codecName: 'H.265', mime: 'video/mp4; codecs="hvc1.1.6.L120.90"' };
const vp8: Track = { ...h264, codec: 'vp8', codecName: 'VP8', mime: null };
const recorded = { from: '2026-11-01T00:00:00Z', to: '2026-11-01T01:00:00Z', bytes: 1 };

function camera(main: Track | null, sub: Track | null = null, state: CameraState = 'running', subState: CameraState = 'running'): Camera {
  const source = { source: { kind: 'push' }, detail: '', since: '', lastFrame: null, bitrate: 0, unitsIn: 0, unitsOut: 0, lost: 0, clockWarning: null, timesEstimated: false } as const;
  const its = sub === null ? null : ({ ...source, stream: 'yard.sub', state: subState, tracks: [sub], recorded } satisfies SubSource);
  return { ...source, name: 'yard', enabled: true, created: '', state, tracks: main === null ? [] : [main], recorded, sub: its };
}

const nothing = { near: new Set<string>(), playlist: new Set<string>() };
const means: Means = { plays: (mime) => !mime.includes('hvc1'), webrtc: () => true };
const noWebrtc: Means = { ...means, webrtc: () => false };

describe('what a tile plays', () => {
  it('the sub, else the main', () => {
    expect(tileWish(camera(h264, small), nothing, means)).toEqual({ stream: 'yard.sub', near: true, playlist: true, pixels: 640 * 360 });
    expect(tileWish(camera(h264), nothing, means)).toEqual({ stream: 'yard', near: true, playlist: true, pixels: 1920 * 1080 });
    expect(tileWish(camera(h264, small, 'running', 'failed'), nothing, means)).toMatchObject({ stream: 'yard' });
    expect(tileWish(camera(h264, small, 'failed'), nothing, means)).toMatchObject({ stream: 'yard.sub' });
  });

  it('nothing while nothing is sent', () => {
    expect(tileWish(camera(h264, small, 'failed', 'stalled'), nothing, means)).toBeNull();
    expect(tileWish(camera(null), nothing, means)).toBeNull();
    expect(tileWish({ ...camera(h264), recorded: null }, nothing, noWebrtc)).toBeNull();
    expect(tileWish({ ...camera(h264), recorded: null }, nothing, means)).toMatchObject({ near: true, playlist: false });
  });

  it('what this browser cannot play it says, where there is no other way', () => {
    expect(tileWish(camera(h265), { ...nothing, near: new Set(['yard']) }, means)).toBe('H.265 is not supported by this browser.');
    expect(tileWish(camera(h264, h265), { ...nothing, near: new Set(['yard.sub']) }, means)).toMatchObject({ stream: 'yard' });
    expect(tileWish(camera(vp8), nothing, means)).toMatchObject({ near: true, playlist: false });
    expect(tileWish(camera(vp8), nothing, noWebrtc)).toContain('VP8');
    expect(tileWish(camera(h264), { near: new Set(['yard']), playlist: new Set(['yard']) }, means)).toContain('could not decode');
  });
});

/** A tile whose ways are opened and refused by hand. */
class Bench {
  readonly calls: string[] = [];
  changes = 0;
  private settle: { resolve: () => void; reject: (error: unknown) => void } | null = null;
  readonly tile: Tile;

  constructor(shared: Rooms = rooms(true), how: Means = means) {
    const way = (name: string): Promise<void> => {
      this.calls.push(name);
      return new Promise((resolve, reject) => (this.settle = { resolve, reject }));
    };
    const driver: Driver = {
      near: (stream) => way(`near ${stream}`),
      playlist: (stream, low) => way(`${low ? 'low' : 'hls'} ${stream}`),
      stop: () => this.calls.push('stop'),
      changed: () => (this.changes += 1),
    };
    this.tile = new Tile(driver, shared, how);
  }

  /** What was done since the last time, but for stopping what did not play. */
  get did(): string[] {
    return this.calls.splice(0).filter((call, index, all) => call !== 'stop' || (index > 0 && all[index - 1] !== 'stop'));
  }

  async refuse(error: unknown): Promise<void> {
    this.settle?.reject(error);
    await vi.advanceTimersByTimeAsync(0);
  }

  plays(): void {
    this.settle?.resolve();
    this.tile.picture();
  }
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

function shown(of: Camera, ...how: ConstructorParameters<typeof Bench>): Bench {
  const bench = new Bench(...how);
  bench.tile.wants(of);
  bench.tile.see(true);
  return bench;
}

describe('a tile', () => {
  it('plays by WebRTC while it is seen', () => {
    const bench = new Bench();
    bench.tile.wants(camera(h264, small));
    expect(bench.did).toEqual([]);
    bench.tile.see(true);
    bench.plays();
    expect([bench.did, bench.tile.playing]).toEqual([['near yard.sub'], true]);
    // News of the same camera disturb nothing.
    bench.tile.wants(camera(h264, small));
    expect(bench.did).toEqual([]);
    bench.tile.see(false);
    expect([bench.calls.includes('stop'), bench.tile.playing]).toEqual([true, false]);
  });

  it.each([
    ['refused', new ApiError(406, 'NotAcceptable', 'B-frames'), true],
    ['not connected', new Error('There was no picture in time.'), true],
    ['not now', new ApiError(503, 'Unavailable', 'as many sessions as may be'), false],
  ])('goes on by low-latency HLS where WebRTC is %s', async (_, error, forGood) => {
    const bench = shown(camera(h264, small));
    await bench.refuse(error);
    bench.plays();
    expect([bench.did, bench.tile.playing, bench.tile.problem]).toEqual([['near yard.sub', 'low yard.sub'], true, null]);
    bench.tile.see(false);
    bench.tile.see(true);
    expect(bench.did).toContain(forGood ? 'low yard.sub' : 'near yard.sub');
  });

  it('takes the other source where neither way plays the first', async () => {
    const bench = shown(camera(h264, h265));
    await bench.refuse(new ApiError(406, 'NotAcceptable', 'H.265 was not offered'));
    expect(bench.did).toEqual(['near yard.sub', 'stop', 'near yard']);
    const alone = shown(camera(h265));
    await alone.refuse(new ApiError(406, 'NotAcceptable', 'H.265 was not offered'));
    expect(alone.tile.problem).toEqual({ words: 'H.265 is not supported by this browser.', retryAt: null });
  });

  it('says why it failed, and tries again, later each time', async () => {
    const bench = shown(camera(h264), rooms(true), noWebrtc);
    const waits: number[] = [];
    for (let times = 0; times < 6; times += 1) {
      await bench.refuse(new ApiError(0, 'Network', 'The server cannot be reached.'));
      expect(tileWords(bench.tile.problem, Date.now())).toMatch(/^The server cannot be reached. Trying again in \d+ s\.$/);
      const wait = Number(bench.tile.problem?.retryAt) - Date.now();
      waits.push(wait);
      bench.calls.length = 0;
      await vi.advanceTimersByTimeAsync(wait);
      expect(bench.did).toEqual(['low yard']);
      expect(tileWords(bench.tile.problem, Date.now())).toBe('The server cannot be reached. Trying again.');
    }
    expect(waits.every((wait, times) => wait >= Math.min(30_000, 2000 * 2 ** times) / 2 && wait <= Math.min(30_000, 2000 * 2 ** times))).toBe(true);
    bench.plays();
    expect(bench.tile.problem).toBeNull();
  });

  it('tries at once when told to', async () => {
    const bench = shown(camera(h264), rooms(true), noWebrtc);
    await bench.refuse(new ApiError(0, 'Network', 'The server cannot be reached.'));
    bench.calls.length = 0;
    bench.tile.retryNow();
    bench.tile.retryNow();
    expect(bench.did).toEqual(['low yard']);
    // The wait that was cut short does not come to its end.
    bench.plays();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(bench.calls).toEqual([]);
  });

  it('does not wait for a picture for ever, nor for one that moves no more', async () => {
    const bench = shown(camera(h264));
    await vi.advanceTimersByTimeAsync(20_000);
    expect(bench.tile.problem?.words).toBe('The video does not start.');
    await vi.advanceTimersByTimeAsync(2000);
    bench.plays();
    for (let second = 1; second <= 15; second += 1) {
      await vi.advanceTimersByTimeAsync(1000);
      bench.tile.tick(second * 25, 300);
    }
    expect(bench.tile.playing).toBe(true);
    for (let second = 1; second <= 11; second += 1) {
      await vi.advanceTimersByTimeAsync(1000);
      bench.tile.tick(375, 300);
    }
    expect([bench.tile.playing, bench.tile.problem?.words]).toEqual([false, 'No new picture came.']);
  });

  it('leaves WebRTC where it is lost again and again', async () => {
    const bench = shown(camera(h264));
    for (let times = 0; times < 3; times += 1) {
      bench.plays();
      bench.tile.fault({ kind: 'network', words: 'The connection was lost.' });
      expect(bench.did).toContain('near yard');
      await vi.advanceTimersByTimeAsync(10_000);
    }
    expect(bench.did).toEqual(['low yard']);
  });

  it('takes what it failed to decode for a codec that this browser lacks', () => {
    const bench = shown(camera(h264, small), rooms(true), noWebrtc);
    bench.tile.fault({ kind: 'codec', words: '' });
    expect(bench.did).toEqual(['low yard.sub', 'stop', 'low yard']);
  });

  it('answers nobody after it was left', async () => {
    const bench = shown(camera(h264));
    bench.tile.see(false);
    bench.calls.length = 0;
    await bench.refuse(new ApiError(503, 'Unavailable', ''));
    bench.tile.fault({ kind: 'network', words: 'The connection was lost.' });
    bench.tile.picture();
    expect([bench.calls, bench.tile.playing, bench.tile.problem]).toEqual([[], false, null]);
  });
});

describe('tiles together', () => {
  it('play as many as there is room for; the next when one goes', () => {
    const shared = rooms(true);
    const benches = Array.from({ length: 17 }, () => shown(camera(h264, small), shared));
    expect(benches.map((bench) => bench.calls.includes('near yard.sub'))).toEqual([...Array<boolean>(16).fill(true), false]);
    benches[3]?.tile.see(false);
    expect(benches[16]?.calls).toContain('near yard.sub');
  });

  it('say when they wait for room to try again, which nobody can make them do at once', async () => {
    const shared = rooms(true);
    const [bench, other] = Array.from({ length: 17 }, () => shown(camera(h264, small), shared)) as [Bench, Bench];
    bench.plays();
    // Its place goes to the seventeenth.
    bench.tile.fault({ kind: 'network', words: 'The connection was lost.' });
    expect(bench.tile.retriable).toBe(true);
    bench.calls.length = 0;
    const told = bench.changes;
    bench.tile.retryNow();
    expect([tileWords(bench.tile.problem, Date.now()), bench.tile.retriable]).toEqual(['The connection was lost. Trying again when there is room.', false]);
    expect(bench.changes).toBeGreaterThan(told);
    bench.tile.retryNow();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(bench.did).toEqual([]);
    other.tile.see(false);
    expect([bench.did, tileWords(bench.tile.problem, Date.now())]).toEqual([['near yard.sub'], 'The connection was lost. Trying again.']);
    bench.plays();
    expect(bench.tile.problem).toBeNull();
  });

  it('are fewer where there is more to decode', () => {
    const shared = rooms(true);
    const benches = Array.from({ length: 10 }, () => shown(camera(h264), shared));
    expect(benches.filter((bench) => bench.calls.includes('near yard')).length).toBe(7);
    expect(tileCost(160 * 90)).toBe(tileCost(1280 * 720));
  });

  it('hold no more connections than HTTP/1.1 can spare', () => {
    const shared = rooms(false);
    const benches = Array.from({ length: 4 }, () => shown(camera(h264, small), shared, noWebrtc));
    expect(benches.map((bench) => bench.did.at(-1))).toEqual(['low yard.sub', 'low yard.sub', 'hls yard.sub', 'hls yard.sub']);
  });
});
