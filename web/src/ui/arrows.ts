// Arrow keys in a grid of things that are rows by how wide the page happens to be.

/** Where an arrow leads from a place in a grid; null for another key, and where there is nothing in that direction. */
export function neighbour(key: string, index: number, count: number, columns: number): number | null {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  if (step === undefined) return null;
  const next = index + step;
  if (next >= 0 && next < count) return next;
  // Below the last but one row there may be a shorter one.
  const lastRow = Math.floor((count - 1) / columns);
  return key === 'ArrowDown' && Math.floor(index / columns) < lastRow ? count - 1 : null;
}

/** How many stand in the first row. */
export function columnsOf(elements: readonly HTMLElement[]): number {
  const top = elements[0]?.offsetTop;
  const below = elements.findIndex((element) => element.offsetTop !== top);
  return below === -1 ? Math.max(1, elements.length) : below;
}
