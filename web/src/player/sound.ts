// Volume and mute, remembered from one camera to the next. Silent at first: a page of cameras should not start to talk.

const KEY = 'rushes.sound';

export class Sound {
  /** Whether there is anything to hear. */
  available = false;

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly changed: () => void,
  ) {
    const { volume, muted } = remembered();
    video.volume = volume;
    video.muted = muted;
    video.addEventListener('volumechange', changed);
  }

  get muted(): boolean {
    return this.video.muted;
  }

  get volume(): number {
    return this.video.volume;
  }

  toggle(): void {
    if (!this.available) return;
    this.video.muted = !this.video.muted;
    if (!this.video.muted && this.video.volume === 0) this.video.volume = 0.5;
    this.remember();
  }

  setVolume(volume: number): void {
    this.video.volume = volume;
    this.video.muted = volume === 0;
    this.remember();
  }

  private remember(): void {
    try {
      localStorage.setItem(KEY, JSON.stringify({ volume: this.volume, muted: this.muted }));
    } catch {
      // Storage may be forbidden: then it is not remembered.
    }
    this.changed();
  }
}

function remembered(): { volume: number; muted: boolean } {
  try {
    const { volume, muted } = JSON.parse(localStorage.getItem(KEY) ?? '{}') as { volume?: unknown; muted?: unknown };
    if (typeof volume === 'number' && volume >= 0 && volume <= 1) return { volume, muted: muted !== false };
  } catch {
    // Whatever is there is not ours.
  }
  return { volume: 1, muted: true };
}
