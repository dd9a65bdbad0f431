// What may be fetched before the click is done: the player's code when the pointer comes near, a session when it presses.

import type { Api } from '../api/client';
import type { Camera, PlaybackSession } from '../api/types';
import { chooseSource } from './sources';
import { playability, soundWanted } from './support';

let ready: { name: string; session: Promise<PlaybackSession>; at: number } | null = null;

/** A prepared session is as good as new for this long. */
const FRESH = 10_000;

export function preload(api: Api, camera: Camera, session: boolean): void {
  void loadHls();
  if (!session) return;
  const { stream, sub } = chooseSource(camera, null, api.clock.now(), { main: null, sub: null, failed: new Set() });
  const source = sub && camera.sub !== null ? camera.sub : camera;
  if (source.recorded !== null && playability(source.tracks).video) prepare(api, stream);
}

/** Asks for a live session of a stream that somebody will probably want in a moment. */
export function prepare(api: Api, name: string): void {
  if (ready !== null && ready.name === name && performance.now() - ready.at < FRESH) return;
  const opening = api.openSession(name, { protocol: 'hls', audio: soundWanted() });
  // Nobody may ever take it; its failure is then nobody's business.
  opening.catch(() => undefined);
  ready = { name, session: opening, at: performance.now() };
}

/** The live session that was prepared for this stream, once. */
export async function takePrepared(name: string): Promise<PlaybackSession | null> {
  const taken = ready;
  ready = null;
  if (taken === null || taken.name !== name || performance.now() - taken.at > FRESH) return null;
  try {
    return await taken.session;
  } catch {
    return null;
  }
}

/** hls.js is the greater part of the code and only the player needs it. */
export function loadHls(): Promise<typeof import('hls.js')> {
  return import('hls.js');
}
