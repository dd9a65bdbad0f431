// Whether this browser can play a camera, and if not, in words why.

import type { Ms, SourceStatus, Track } from '../api/types';
import { isAudio, isVideo, whyNot } from '../app/words';

export interface Playability {
  /** Whether there is a picture to be had. */
  video: boolean;
  audio: boolean;
  /** What does not play and why; null when everything does. */
  words: string | null;
}

export type TypeTest = (mime: string) => boolean;

/** Asks the browser; iPhones have `ManagedMediaSource` or only native HLS, where `canPlayType` answers. */
export const browserPlays: TypeTest = (mime) => {
  const managed = (globalThis as { ManagedMediaSource?: typeof MediaSource }).ManagedMediaSource;
  if (typeof MediaSource !== 'undefined') return MediaSource.isTypeSupported(mime);
  if (managed !== undefined) return managed.isTypeSupported(mime);
  return document.createElement('video').canPlayType(mime) !== '';
};

/** What sound to ask for: AAC plays everywhere, Opus not in every Safari. */
export function soundWanted(plays: TypeTest = browserPlays): 'aac' | 'aacOrOpus' {
  return typeof document !== 'undefined' && plays('audio/mp4; codecs="opus"') ? 'aacOrOpus' : 'aac';
}

export function trackPlays(track: Track, plays: TypeTest = browserPlays): boolean {
  return track.mime !== null && plays(track.mime);
}

export function playability(tracks: Track[], plays: TypeTest = browserPlays): Playability {
  // Nothing known of the tracks yet: try, and hear from the player.
  if (tracks.length === 0) return { video: true, audio: true, words: null };
  const video = tracks.filter(isVideo);
  const audio = tracks.filter(isAudio);
  const good = (track: Track): boolean => trackPlays(track, plays);
  const words = tracks.filter((track) => !good(track)).map(why);
  return {
    video: video.some(good),
    audio: audio.some(good),
    words: words.length === 0 ? null : words.join(' '),
  };
}

/** Why there is no point in trying to play a source of a camera by now (the server's time), in words; null when there is. */
export function blocked(source: SourceStatus | undefined, now: Ms, plays: TypeTest = browserPlays): string | null {
  if (source === undefined) return null;
  const { video, words } = playability(source.tracks, plays);
  if (!video && words !== null) return words;
  if (source.recorded === null && source.state !== 'running') return `Nothing is recorded yet. ${whyNot(source, now)}`;
  return null;
}

/** Why a track does not play, as a sentence. */
function why(track: Track): string {
  if (track.codecName === 'VP8') return 'Browsers play VP8 only live, by WebRTC: what is recorded can be exported.';
  return track.mime === null
    ? `${track.codecName} cannot be carried to a browser.`
    : `${track.codecName} is not supported by this browser.`;
}
