// Which moment of wall-clock time is at which second of the media, piece by piece: there may be a gap between any two
// fragments, so no single offset will do.

import type { Ms } from '../api/types';

/** A fragment: it starts at `media` seconds and shows what happened from `wall` on, for `duration` seconds. */
export interface Piece {
  media: number;
  wall: Ms;
  duration: number;
}

export class TimeMap {
  /** `pieces` in the order of the media. */
  constructor(private readonly pieces: readonly Piece[]) {}

  get empty(): boolean {
    return this.pieces.length === 0;
  }

  /** The first moment there is. */
  get from(): Ms | null {
    return this.pieces[0]?.wall ?? null;
  }

  /** The moment after the last there is. */
  get to(): Ms | null {
    const last = this.pieces.at(-1);
    return last === undefined ? null : last.wall + last.duration * 1000;
  }

  /** The moment shown at this second of the media; outside of all pieces, counted on from the nearest. */
  wall(media: number): Ms | null {
    const piece = this.pieces[this.indexAt(media)] ?? this.pieces[0];
    return piece === undefined ? null : piece.wall + (media - piece.media) * 1000;
  }

  /**
   * The second of the media that shows this moment; for one in a gap, where the recording goes on. Null before the first
   * piece and after the last.
   */
  media(wall: Ms): number | null {
    const { from, to } = this;
    if (from === null || to === null || wall < from || wall > to) return null;
    let next: Piece | null = null;
    // From the end: where a clock was set back, the later of two equal readings is the one that counts.
    for (let index = this.pieces.length - 1; index >= 0; index -= 1) {
      const piece = this.pieces[index] as Piece;
      if (wall >= piece.wall && wall < piece.wall + piece.duration * 1000) {
        return piece.media + (wall - piece.wall) / 1000;
      }
      if (piece.wall > wall && (next === null || piece.wall <= next.wall)) next = piece;
    }
    return next?.media ?? this.end;
  }

  /** Where the media ends, in seconds. */
  get end(): number | null {
    const last = this.pieces.at(-1);
    return last === undefined ? null : last.media + last.duration;
  }

  /** The index of the last piece that starts at or before `media`; −1 when none does. */
  private indexAt(media: number): number {
    let low = 0;
    let high = this.pieces.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.pieces[middle] as Piece).media <= media + 1e-6) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
