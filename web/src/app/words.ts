// Cameras in words.

import { sentence } from '../api/errors';
import type { AudioTrack, Camera, CameraState, Ms, SourceStatus, Track, VideoTrack } from '../api/types';
import { ms } from '../api/types';

export type Tone = 'ok' | 'busy' | 'warn' | 'bad' | 'off';

const STATES: Record<CameraState, [string, Tone]> = {
  running: ['Running', 'ok'],
  connecting: ['Connecting', 'busy'],
  stalled: ['Stalled', 'warn'],
  failed: ['Not reachable, trying again', 'bad'],
  rejected: ['Needs your attention', 'bad'],
  stopped: ['Disabled', 'off'],
  waiting: ['Waiting for a publisher', 'off'],
  archived: ['Recordings only', 'off'],
};

export function stateWords(camera: SourceStatus): string {
  return STATES[camera.state]?.[0] ?? camera.state;
}

export function stateTone(camera: SourceStatus): Tone {
  return STATES[camera.state]?.[1] ?? 'warn';
}

/**
 * What the server says of a source, by now (the server's time): “next attempt in 28 s” was so when the state began, and is counted
 * down.
 */
export function detailNow({ detail, since }: SourceStatus, now: Ms): string {
  return detail.replace(/(; next attempt) in (\d+) s$/, (whole, words: string, seconds: string) => {
    const left = Math.ceil(Number(seconds) - (now - ms(since)) / 1000);
    if (Number.isNaN(left)) return whole;
    return left > 0 ? `${words} in ${Math.min(left, Number(seconds))} s` : `${words} now`;
  });
}

/** Why a camera sends no picture by now, as a sentence. */
export function whyNot(camera: SourceStatus, now: Ms): string {
  return camera.state === 'stopped' ? 'The camera is disabled.' : sentence(detailNow(camera, now) || stateWords(camera));
}

export function isVideo(track: Track): track is VideoTrack {
  return track.kind === 'video';
}

export function isAudio(track: Track): track is AudioTrack {
  return track.kind === 'audio';
}

/** `H.264 1920×1080, 25 fps` */
export function trackWords(track: Track): string {
  if (isVideo(track)) {
    const rate = track.fps ? `, ${Number(track.fps.toFixed(2))} fps` : '';
    return `${track.codecName} ${track.width}×${track.height}${rate}`;
  }
  const channels = track.channels === 1 ? 'mono' : track.channels === 2 ? 'stereo' : `${track.channels} channels`;
  return `${track.codecName} ${Number((track.rate / 1000).toFixed(2))} kHz ${channels}`;
}

/** `H.264 1920×1080 · AAC` */
export function tracksWords(tracks: Track[]): string {
  return tracks
    .map((track) => (isVideo(track) ? `${track.codecName} ${track.width}×${track.height}` : track.codecName))
    .join(' · ');
}

/** `All running`, `2 running, 1 needs attention`… */
export function summary(cameras: Camera[]): string {
  const count = (states: CameraState[]): number => cameras.filter(({ state }) => states.includes(state)).length;
  const parts: string[] = [];
  const running = count(['running']);
  const attention = count(['failed', 'rejected', 'stalled']);
  const waiting = count(['waiting', 'connecting']);
  const off = count(['stopped']);
  const past = count(['archived']);
  if (running > 0) parts.push(running === cameras.length ? (running === 1 ? 'Running' : 'All running') : `${running} running`);
  if (attention > 0) parts.push(`${attention} ${attention === 1 ? 'needs' : 'need'} attention`);
  if (waiting > 0) parts.push(`${waiting} waiting`);
  if (off > 0) parts.push(`${off} disabled`);
  if (past > 0) parts.push(`${past} with recordings only`);
  return parts.join(', ');
}
