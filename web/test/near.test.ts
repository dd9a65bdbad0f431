import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Api } from '../src/api/client';
import { isAbort } from '../src/api/errors';
import type { Track } from '../src/api/types';
import { Near, nearPossible, Refusals } from '../src/player/near';

function track(kind: 'video' | 'audio', codecName: string): Track {
  return { id: 1, kind, codec: '', codecName, mime: null } as unknown as Track;
}

describe('live without delay', () => {
  const picture = track('video', 'H.264');

  it('is for what WebRTC carries as it is', () => {
    expect(nearPossible([picture], true)).toBe(true);
    expect(nearPossible([picture, track('audio', 'Opus')], true)).toBe(true);
    expect(nearPossible([picture, track('audio', 'G.711 A-law')], true)).toBe(true);
    for (const name of ['VP8', 'VP9', 'AV1']) expect(nearPossible([track('video', name), track('audio', 'Opus')], true)).toBe(true);
  });

  it('never costs the sound, and needs a picture', () => {
    expect(nearPossible([picture, track('audio', 'AAC')], true)).toBe(false);
    expect(nearPossible([track('audio', 'Opus')], true)).toBe(false);
    expect(nearPossible([track('video', 'mjpg')], true)).toBe(false);
    expect(nearPossible([], true)).toBe(false);
    expect(nearPossible([picture], false)).toBe(false);
  });
});

describe('what could not be had', () => {
  it('is tried again later, and later still, unless it was refused for good', () => {
    let now = 0;
    const refusals = new Refusals(() => now);
    expect([refusals.possible('yard'), refusals.worthIt('yard')]).toEqual([true, true]);
    refusals.forNow('yard');
    expect([refusals.possible('yard'), refusals.worthIt('yard'), refusals.worthIt('door')]).toEqual([true, false, true]);
    now += 10_000;
    expect(refusals.worthIt('yard')).toBe(true);
    refusals.forNow('yard');
    now += 10_000;
    expect(refusals.worthIt('yard')).toBe(false);
    now += 10_000;
    expect(refusals.worthIt('yard')).toBe(true);
    for (let time = 0; time < 20; time += 1) refusals.forNow('yard');
    now += 300_000;
    expect(refusals.worthIt('yard')).toBe(true);
    refusals.played('yard');
    refusals.forNow('yard');
    now += 10_000;
    expect(refusals.worthIt('yard')).toBe(true);
    refusals.forGood('yard');
    now += 1e9;
    expect([refusals.possible('yard'), refusals.worthIt('yard')]).toEqual([false, false]);
    refusals.clear();
    expect([refusals.possible('yard'), refusals.worthIt('yard')]).toEqual([true, true]);
  });
});

describe('a session', () => {
  afterEach(() => vi.unstubAllGlobals());

  it('that was given up while it connected leaves the element alone, and ends', async () => {
    const gone = new AbortController();
    const closed = vi.fn();
    class Connection extends EventTarget {
      localDescription = { sdp: 'offer' };
      addTransceiver = (): void => undefined;
      setLocalDescription = async (): Promise<void> => undefined;
      setRemoteDescription = async (): Promise<void> => gone.abort();
      close = closed;
    }
    vi.stubGlobal('RTCPeerConnection', Connection);
    vi.stubGlobal('MediaStream', class {});
    const unwatch = vi.fn(async () => undefined);
    const api = { watch: async () => ({ answer: 'answer', resource: '/whep/1' }), unwatch } as unknown as Api;
    const other = {};
    const video = Object.assign(new EventTarget(), { srcObject: other }) as unknown as HTMLVideoElement;
    await expect(Near.open(api, 'yard', video, gone.signal)).rejects.toSatisfy(isAbort);
    expect(video.srcObject).toBe(other);
    expect(closed).toHaveBeenCalledOnce();
    expect(unwatch).toHaveBeenCalledWith('/whep/1');
  });
});
