// The server's clock, as far as its answers tell: an interval in which `server − ours` must lie, narrowed by every answer.
//
// A `Date` header was true at some moment between sending and receiving, and is cut to whole seconds, so an answer with
// date D, sent at t0 and received at t1, says D − t1 ≤ offset < D + 1000 − t0. A precise `now` in a body says the same
// without the second. Each answer falls elsewhere within its second, so a handful of them agree to tens of milliseconds.

import type { Ms } from './types';

/** How fast two clocks may drift apart; the interval widens by this, so that old answers lose their hold. */
const DRIFT = 100e-6;

export class ServerClock {
  private low = Number.NEGATIVE_INFINITY;
  private high = Number.POSITIVE_INFINITY;
  private at: Ms = 0;

  constructor(private readonly local: () => Ms = () => Date.now()) {}

  /** Takes note that the server's clock showed `shown` (with the given resolution) between `sent` and `received`. */
  observe(shown: Ms, sent: Ms, received: Ms, resolution: Ms): void {
    if (!Number.isFinite(shown) || received < sent) return;
    const low = shown - received;
    const high = shown + resolution - sent;
    const widened = Math.max(0, received - this.at) * DRIFT;
    const nextLow = Math.max(low, this.low - widened);
    const nextHigh = Math.min(high, this.high + widened);
    // Contradiction: one of the clocks was set. The newest answer alone counts then.
    [this.low, this.high] = nextLow <= nextHigh ? [nextLow, nextHigh] : [low, high];
    this.at = received;
  }

  /** Milliseconds to add to our clock to have the server's; 0 before the first answer. */
  get offset(): Ms {
    if (!Number.isFinite(this.low) || !Number.isFinite(this.high)) return 0;
    return (this.low + this.high) / 2;
  }

  /** Half the width of what is still possible. */
  get uncertainty(): Ms {
    return (this.high - this.low) / 2;
  }

  /** The server's time now. */
  now(): Ms {
    return this.local() + this.offset;
  }
}
