import { describe, expect, it } from 'vitest';
import type { Track } from '../src/api/types';
import { nearPossible } from '../src/player/near';

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
