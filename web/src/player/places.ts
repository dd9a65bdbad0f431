// Room for so much at once, given in the order in which it was asked for.

export interface Claim {
  /** Whether there was room at once. */
  readonly held: boolean;
  /** Gives the room back, or stops waiting for it; a second time does nothing. */
  release(): void;
}

interface Waiting {
  cost: number;
  granted: () => void;
}

export class Places {
  private free: number;
  private readonly waiting = new Set<Waiting>();

  constructor(private readonly room: number) {
    this.free = room;
  }

  /** Takes room, or waits for it: `granted` is called when it comes. What is larger than all the room waits to have it alone. */
  claim(cost: number, granted: () => void): Claim {
    const one: Waiting = { cost: Math.min(cost, this.room), granted };
    const held = this.fits(one);
    if (held) this.free -= one.cost;
    else this.waiting.add(one);
    let over = false;
    return {
      held,
      release: () => {
        if (over) return;
        over = true;
        if (this.waiting.delete(one)) return;
        this.free += one.cost;
        this.grant();
      },
    };
  }

  /** Takes room if there is some now. */
  take(cost: number): Claim | null {
    const claim = this.claim(cost, () => undefined);
    if (claim.held) return claim;
    claim.release();
    return null;
  }

  private fits({ cost }: Waiting): boolean {
    return cost <= this.free;
  }

  /** Who needs less may pass who needs more: a place that stands empty helps nobody. */
  private grant(): void {
    for (const one of this.waiting) {
      if (!this.fits(one)) continue;
      this.waiting.delete(one);
      this.free -= one.cost;
      one.granted();
    }
  }
}
