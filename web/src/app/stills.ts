// The last still of each camera, so that the player has a poster before it has asked for anything.

import type { Ms } from '../api/types';

interface Kept {
  url: string;
  time: Ms | null;
}

const kept = new Map<string, Kept>();

/** Keeps a picture; the one before is given back to the browser. */
export function keepStill(name: string, blob: Blob, time: Ms | null): string {
  const before = kept.get(name);
  const url = URL.createObjectURL(blob);
  kept.set(name, { url, time });
  // An <img> that still shows the one before has decoded it; revoking later spares one that has not.
  if (before !== undefined) setTimeout(() => URL.revokeObjectURL(before.url), 5000);
  return url;
}

export function keptStill(name: string): Kept | undefined {
  return kept.get(name);
}

export function forgetStill(name: string): void {
  const before = kept.get(name);
  if (before !== undefined) URL.revokeObjectURL(before.url);
  kept.delete(name);
}
