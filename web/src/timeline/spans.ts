// Spans of recorded time: sorted, apart from each other, in milliseconds.

import type { Ms, Span as ApiSpan } from '../api/types';
import { ms } from '../api/types';

export interface Span {
  from: Ms;
  to: Ms;
}

/** Fragments less than this apart are one span, on the server and here. */
export const JOIN = 1000;

export function fromApi(spans: readonly ApiSpan[]): Span[] {
  return tidy(spans.map(spanFromApi));
}

export function spanFromApi({ from, to }: ApiSpan): Span {
  return { from: ms(from), to: ms(to) };
}

/** Sorted, without empty ones, those that touch joined. */
export function tidy(spans: readonly Span[]): Span[] {
  const sorted = spans.filter(({ from, to }) => to > from).sort((a, b) => a.from - b.from);
  const joined: Span[] = [];
  for (const span of sorted) {
    const last = joined.at(-1);
    if (last !== undefined && span.from - last.to < JOIN) last.to = Math.max(last.to, span.to);
    else joined.push({ ...span });
  }
  return joined;
}

/** `known` with what is true between `from` and `to` put in the place of what was thought there. */
export function replaceRange(known: readonly Span[], from: Ms, to: Ms, fresh: readonly Span[]): Span[] {
  const kept = known.flatMap((span): Span[] => {
    if (span.to <= from || span.from >= to) return [span];
    return [
      { from: span.from, to: Math.min(span.to, from) },
      { from: Math.max(span.from, to), to: span.to },
    ];
  });
  return tidy([...kept, ...fresh]);
}

/** The last span grows to `to`, unless more than `most` is missing in between: then something else may have happened. */
export function extendTail(spans: readonly Span[], to: Ms, most: Ms): Span[] {
  const last = spans.at(-1);
  if (last === undefined || to <= last.to || to - last.to > most) return [...spans];
  return [...spans.slice(0, -1), { from: last.from, to }];
}

export function spanAt(spans: readonly Span[], at: Ms): Span | null {
  const span = spans[lastAtOrBefore(spans, at)];
  return span !== undefined && at < span.to ? span : null;
}

export function spanAfter(spans: readonly Span[], at: Ms): Span | null {
  return spans[lastAtOrBefore(spans, at) + 1] ?? null;
}

/** The last span that begins before `at` and does not hold it. */
export function spanBefore(spans: readonly Span[], at: Ms): Span | null {
  const index = lastAtOrBefore(spans, at);
  const span = spans[index];
  if (span === undefined) return null;
  return at < span.to ? (spans[index - 1] ?? null) : span;
}

function lastAtOrBefore(spans: readonly Span[], at: Ms): number {
  let low = 0;
  let high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((spans[middle] as Span).from <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
