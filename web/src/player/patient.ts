// A playlist loader that takes its time. A session that begins long ago has thousands of entries ahead of the player; to
// fetch them all again every two seconds, as HLS has it for playlists that may still grow, would cost more than the video.

import type Hls from 'hls.js';
import type { Loader, LoaderCallbacks, LoaderConfiguration, PlaylistLoaderContext } from 'hls.js';

type LoaderClass = new (config: Hls['config']) => Loader<PlaylistLoaderContext>;

/** Milliseconds to wait before a playlist is fetched again, when this many seconds of it are still to be played. */
export function patience(ahead: number, speed: number): number {
  const left = ahead / Math.max(1, speed);
  return left < 120 ? 0 : Math.min(30_000, (left / 4) * 1000);
}

/** The loader to give to hls.js as `pLoader`; `wait` says how long a reload may wait at the moment. */
export function patientLoader(base: LoaderClass, wait: () => number): LoaderClass {
  return class extends base {
    private timer: ReturnType<typeof setTimeout> | undefined;

    override load(context: PlaylistLoaderContext, config: LoaderConfiguration, callbacks: LoaderCallbacks<PlaylistLoaderContext>): void {
      const milliseconds = wait();
      if (milliseconds === 0) return super.load(context, config, callbacks);
      this.timer = setTimeout(() => super.load(context, config, callbacks), milliseconds);
    }

    override abort(): void {
      clearTimeout(this.timer);
      super.abort();
    }

    override destroy(): void {
      clearTimeout(this.timer);
      super.destroy();
    }
  };
}
