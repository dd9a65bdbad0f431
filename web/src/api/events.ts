// The live feed: Server-Sent Events of `/v1/events`, opened again whenever it breaks.

import { backoff } from './backoff';
import type { Camera, Storage } from './types';

export interface FeedHandlers {
  camera(camera: Camera): void;
  removed(name: string): void;
  storage(storage: Storage): void;
  /** The feed is up (again): what was missed meanwhile must be asked for. */
  up(): void;
  /** The feed broke; it will be tried again by itself. */
  down(): void;
}

/**
 * After this long without an event the connection may be dead although nobody said so. A server without running cameras
 * may also just have nothing to say, so the feed is opened anew quietly, and reported as down only if that fails.
 */
const SILENCE = 45_000;

export class Feed {
  private source: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private watchdog: ReturnType<typeof setTimeout> | undefined;
  private attempt = 0;
  private closed = false;

  constructor(
    private readonly handlers: FeedHandlers,
    private readonly path = '/v1/events',
  ) {
    this.connect();
    addEventListener('online', this.retry);
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    this.source?.close();
    removeEventListener('online', this.retry);
  }

  /** Tries now what it would have tried later: something says that the server is back. */
  readonly retry = (): void => {
    if (this.closed || this.source !== null) return;
    this.attempt = 0;
    this.connect();
  };

  private connect(): void {
    clearTimeout(this.timer);
    clearTimeout(this.watchdog);
    this.source?.close();
    const source = new EventSource(this.path);
    this.source = source;
    source.addEventListener('open', () => {
      this.attempt = 0;
      this.heard();
      this.handlers.up();
    });
    // EventSource gives up for good on any answer but 200, so it is always closed and replaced here.
    source.addEventListener('error', () => this.broken(source));
    this.on<Camera>(source, 'camera', (camera) => this.handlers.camera(camera));
    this.on<{ name: string }>(source, 'removed', ({ name }) => this.handlers.removed(name));
    this.on<Storage>(source, 'storage', (storage) => this.handlers.storage(storage));
  }

  private on<T>(source: EventSource, name: string, handle: (value: T) => void): void {
    source.addEventListener(name, (event) => {
      this.heard();
      let value: T;
      try {
        value = JSON.parse((event as MessageEvent<string>).data) as T;
      } catch {
        return;
      }
      handle(value);
    });
  }

  private heard(): void {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => this.connect(), SILENCE);
  }

  private broken(source: EventSource): void {
    if (this.closed || source !== this.source) return;
    source.close();
    clearTimeout(this.watchdog);
    this.source = null;
    this.handlers.down();
    this.timer = setTimeout(() => this.connect(), backoff(this.attempt++));
  }
}
