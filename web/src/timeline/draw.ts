// The drawing of the timeline on its canvas.

import type { Ms } from '../api/types';
import type { TimeFormat } from '../time/format';
import { DAY } from '../time/zone';
import type { View } from './scale';
import { minorStep, tickStep, ticks, toX } from './scale';
import type { Span } from './spans';

export interface Scene {
  view: View;
  spans: readonly Span[];
  /** Where `spans` is the whole truth. */
  covered: Span | null;
  now: Ms;
  position: Ms | null;
  live: boolean;
  hover: Ms | null;
}

export interface Colours {
  ink: string;
  faint: string;
  line: string;
  track: string;
  recorded: string;
  live: string;
  head: string;
  surface: string;
}

/** Heights in CSS pixels. Detections will have a lane of their own below the recordings. */
export const LAYOUT = { height: 76, labels: 24, lane: 32, laneHeight: 26, radius: 3 };

const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';

export function readColours(element: Element): Colours {
  const style = getComputedStyle(element);
  const colour = (name: string): string => style.getPropertyValue(name).trim();
  return {
    ink: colour('--ink-2'),
    faint: colour('--ink-3'),
    line: colour('--line'),
    track: colour('--track'),
    recorded: colour('--recorded'),
    live: colour('--live'),
    head: colour('--ink'),
    surface: colour('--surface'),
  };
}

export function draw(context: CanvasRenderingContext2D, width: number, scene: Scene, colours: Colours, time: TimeFormat): void {
  const { view, now } = scene;
  context.clearRect(0, 0, width, LAYOUT.height);
  drawTicks(context, width, view, colours, time);
  drawLane(context, width, scene, colours);
  const x = (at: Ms): number => toX(view, width, at);

  if (scene.hover !== null) line(context, x(scene.hover), LAYOUT.labels, LAYOUT.height - 6, colours.faint, 1);
  const nowX = x(now);
  if (nowX >= 0 && nowX <= width) line(context, nowX, LAYOUT.lane - 4, LAYOUT.lane + LAYOUT.laneHeight + 4, colours.live, 1.5);
  if (scene.position !== null) drawHead(context, x(scene.position), scene.live ? colours.live : colours.head, colours.surface);
}

function drawTicks(context: CanvasRenderingContext2D, width: number, view: View, colours: Colours, time: TimeFormat): void {
  const step = tickStep(view, width, width < 600 ? 62 : 76);
  const bottom = LAYOUT.lane + LAYOUT.laneHeight;
  const minor = minorStep(view, width, step, 14);
  if (minor !== null) {
    for (const { at } of ticks(view, minor, time.zone)) line(context, toX(view, width, at), bottom + 3, bottom + 6, colours.line, 1);
  }
  context.font = FONT;
  context.textBaseline = 'middle';
  context.textAlign = 'center';
  for (const { at, day } of ticks(view, step, time.zone)) {
    const x = toX(view, width, at);
    line(context, x, LAYOUT.labels - 2, bottom + 9, day && step < DAY ? colours.faint : colours.line, 1);
    const label = day ? time.date(at).replace(/^(\w+ \d+ \w+).*/, '$1') : time.minutes(at);
    const half = context.measureText(label).width / 2;
    // A label that would be cut off says nothing.
    if (x - half < 2 || x + half > width - 2) continue;
    context.fillStyle = day ? colours.ink : colours.faint;
    context.fillText(label, x, LAYOUT.labels / 2);
  }
}

function drawLane(context: CanvasRenderingContext2D, width: number, { view, spans, covered, now }: Scene, colours: Colours): void {
  const { lane, laneHeight, radius } = LAYOUT;
  const x = (at: Ms): number => Math.min(width + 8, Math.max(-8, toX(view, width, at)));
  context.fillStyle = colours.track;
  bar(context, -8, x(now) + 8, lane, laneHeight, radius);
  context.fillStyle = colours.recorded;
  for (const { from, to } of spans) {
    if (to < view.from || from > view.to) continue;
    const left = x(from);
    bar(context, left, Math.max(1, x(to) - left), lane, laneHeight, radius);
  }
  // What is not known yet is neither recorded nor a gap.
  context.fillStyle = colours.line;
  const unknown: [Ms, Ms][] = covered === null ? [[view.from, now]] : [[view.from, covered.from], [covered.to, now]];
  for (const [from, to] of unknown) {
    if (to - from > 10_000 && x(to) > x(from)) bar(context, x(from), x(to) - x(from), lane + laneHeight / 2 - 1, 2, 0);
  }
}

function drawHead(context: CanvasRenderingContext2D, x: number, colour: string, surface: string): void {
  const { lane, laneHeight } = LAYOUT;
  const bottom = lane + laneHeight + 8;
  line(context, x, lane - 8, bottom, surface, 5);
  line(context, x, lane - 8, bottom, colour, 2);
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, lane - 7, 5, 0, 2 * Math.PI);
  context.fill();
}

function bar(context: CanvasRenderingContext2D, x: number, width: number, top: number, height: number, radius: number): void {
  context.beginPath();
  context.roundRect(x, top, Math.max(0, width), height, Math.min(radius, Math.max(0, width) / 2));
  context.fill();
}

function line(context: CanvasRenderingContext2D, x: number, top: number, bottom: number, colour: string, width: number): void {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineCap = width > 2 ? 'round' : 'butt';
  // On the middle of a pixel, so that a thin line is sharp.
  const at = width === 1 ? Math.round(x) + 0.5 : x;
  context.beginPath();
  context.moveTo(at, top);
  context.lineTo(at, bottom);
  context.stroke();
}
