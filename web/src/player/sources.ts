// Which of a camera's two sources is played: the main, unless this browser or that moment lacks it.

import type { Camera, Ms, SourceStatus } from '../api/types';
import { ms } from '../api/types';
import { isVideo } from '../app/words';
import type { Span } from '../timeline/spans';
import { spanAt } from '../timeline/spans';
import type { TypeTest } from './support';
import { browserPlays, playability } from './support';

/** One of the two, by its stream. */
export interface Choice {
  stream: string;
  sub: boolean;
  /** Why it is not the main, as a sentence; null for the main. */
  words: string | null;
}

/** What is recorded of a source, as far as known. */
export interface Known {
  spans: readonly Span[];
  covered: Span | null;
}

export interface Sources {
  main: Known | null;
  sub: Known | null;
  /** Streams that the player failed to decode, whatever the browser said before. */
  failed: ReadonlySet<string>;
}

/** A main that runs again counts as live once its newest recording is this young. */
const FRESH: Ms = 15_000;

/** The source for a moment, or for live (`null`). */
export function chooseSource(camera: Camera, at: Ms | null, now: Ms, known: Sources, plays: TypeTest = browserPlays): Choice {
  const main: Choice = { stream: camera.name, sub: false, words: null };
  const { sub } = camera;
  if (sub === null || !decodes(sub, sub.stream, known, plays)) return main;
  const instead = (why: string): Choice => ({ stream: sub.stream, sub: true, words: `${why} This is the sub source${size(sub)}.` });
  if (!decodes(camera, camera.name, known, plays)) {
    return instead(playability(camera.tracks, plays).words ?? 'This browser could not decode the main source.');
  }
  if (at === null) {
    const fresh = camera.state === 'running' && camera.recorded !== null && now - ms(camera.recorded.to) < FRESH;
    return fresh || sub.state !== 'running' || sub.recorded === null ? main : instead('The main source sends no picture.');
  }
  if (has(known.main, at) === false && has(known.sub, at) === true) return instead('The main source was not recorded here.');
  return main;
}

/** Whether the browser cannot play the main at all, and the sub instead: what only the main recorded is then out of reach. */
export function subOnly(camera: Camera, failed: ReadonlySet<string>, plays: TypeTest = browserPlays): boolean {
  const known: Sources = { main: null, sub: null, failed };
  return camera.sub !== null && decodes(camera.sub, camera.sub.stream, known, plays) && !decodes(camera, camera.name, known, plays);
}

/** Null where nobody knows. */
function has(known: Known | null, at: Ms): boolean | null {
  if (known === null || known.covered === null || at < known.covered.from || at > known.covered.to) return null;
  return spanAt(known.spans, at) !== null;
}

function decodes(source: SourceStatus, stream: string, { failed }: Sources, plays: TypeTest): boolean {
  return !failed.has(stream) && playability(source.tracks, plays).video;
}

function size(source: SourceStatus): string {
  const track = source.tracks.find(isVideo);
  return track === undefined ? '' : `, ${track.width}×${track.height}`;
}
