// How long to wait before trying again.

/**
 * Milliseconds before attempt `attempt` (0 is the first repetition): doubling from `base` to `most`, with the upper half
 * of it at random, so that many pages do not come back to a restarted server in step.
 */
export function backoff(attempt: number, random: () => number = Math.random, base = 1000, most = 30_000): number {
  const full = Math.min(most, base * 2 ** Math.min(attempt, 20));
  return full / 2 + (full / 2) * random();
}
