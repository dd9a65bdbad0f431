// What the console knows of the server: the cameras and the storage, kept fresh by the feed.

import type { Api } from '../api/client';
import { ApiError, inWords, isAbort } from '../api/errors';
import { Feed } from '../api/events';
import type { Camera, Storage, Stream, SubSource } from '../api/types';
import { archived, archivedSub } from '../api/types';

const SLEEP_AFTER = 30_000;

export type Loading = 'loading' | 'ready' | 'failed';

export class Store {
  loading: Loading = 'loading';
  /** Why the list could not be fetched, in words. */
  failure = '';
  /** Whether live updates come in. */
  connected = true;
  storage: Storage | null = null;

  private readonly byName = new Map<string, Camera>();
  /** What is left of the subs of cameras that have none now, by camera. */
  private readonly formerSubs = new Map<string, SubSource>();
  private readonly listeners = new Set<() => void>();
  private started = false;
  private feed: Feed | null = null;
  private fetching: AbortController | null = null;
  private notifying = false;
  private sleepTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly api: Api) {
    document.addEventListener('visibilitychange', () => this.sleepOrWake());
  }

  /** By name, as people sort: `door 2` before `door 10`. */
  get cameras(): Camera[] {
    return [...this.byName.values()].sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
  }

  camera(name: string): Camera | undefined {
    return this.byName.get(name);
  }

  /** Calls back at most once a frame after any change. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  start(): void {
    if (this.started) return;
    this.started = true;
    void this.refresh();
    this.api.onAnswer = () => {
      if (!this.connected) this.feed?.retry();
    };
    this.feed = this.openFeed();
  }

  private openFeed(): Feed {
    return new Feed({
      camera: (camera) => this.put(camera),
      // Its recordings may stay: ask.
      removed: () => void this.refresh(),
      storage: (storage) => {
        this.storage = storage;
        this.changed();
      },
      up: () => {
        if (!this.connected) void this.refresh();
        this.connected = true;
        this.changed();
      },
      down: () => {
        this.connected = false;
        this.changed();
        // A feed that is refused looks like one that broke: asking tells them apart, and says 401 to whom it concerns.
        void this.api.session().catch((error: unknown) => {
          if (error instanceof ApiError && error.status === 401) this.api.onSignedOut();
        });
      },
    });
  }

  stop(): void {
    this.started = false;
    clearTimeout(this.sleepTimer);
    this.feed?.close();
    this.feed = null;
    this.fetching?.abort();
    this.byName.clear();
    this.formerSubs.clear();
    this.storage = null;
    this.loading = 'loading';
    this.connected = true;
  }

  /** A tab that nobody sees gives its connection back: plain HTTP has six for all tabs together. */
  private sleepOrWake(): void {
    clearTimeout(this.sleepTimer);
    if (!this.started) return;
    if (document.hidden) {
      this.sleepTimer = setTimeout(() => {
        if (document.pictureInPictureElement) return;
        this.feed?.close();
        this.feed = null;
      }, SLEEP_AFTER);
    } else if (this.feed === null) {
      this.feed = this.openFeed();
      void this.refresh();
    }
  }

  async refresh(): Promise<void> {
    this.fetching?.abort();
    const fetching = new AbortController();
    this.fetching = fetching;
    try {
      const [cameras, streams] = await Promise.all([this.api.cameras(fetching.signal), this.api.streams(fetching.signal)]);
      this.take(cameras, streams);
      this.loading = 'ready';
      this.changed();
      this.storage = await this.api.storage(fetching.signal);
    } catch (error) {
      if (isAbort(error)) return;
      if (this.loading !== 'ready') {
        this.loading = 'failed';
        this.failure = inWords(error);
      }
    }
    this.changed();
  }

  put(camera: Camera): void {
    this.byName.set(camera.name, this.withSub(camera));
    this.changed();
  }

  /** Whatever has recordings can be watched, whether or not a camera still sends to it; a sub's with its camera's. */
  private take(cameras: Camera[], streams: Stream[]): void {
    this.byName.clear();
    this.formerSubs.clear();
    const left = streams.filter(({ recorded }) => recorded !== null);
    const names = new Set([...left.map(({ name }) => name), ...cameras.map(({ name }) => name)]);
    for (const stream of left) {
      if (stream.subOf !== null && names.has(stream.subOf)) this.formerSubs.set(stream.subOf, archivedSub(stream));
      else this.byName.set(stream.name, archived(stream));
    }
    for (const camera of cameras) this.byName.set(camera.name, camera);
    for (const [name, camera] of this.byName) this.byName.set(name, this.withSub(camera));
  }

  private withSub(camera: Camera): Camera {
    const former = this.formerSubs.get(camera.name);
    return camera.sub === null && former !== undefined ? { ...camera, sub: former } : camera;
  }

  private changed(): void {
    if (this.notifying) return;
    this.notifying = true;
    // Not requestAnimationFrame: a page in the background must still notice, if only to set its title.
    queueMicrotask(() => {
      this.notifying = false;
      for (const listener of [...this.listeners]) listener();
    });
  }
}
