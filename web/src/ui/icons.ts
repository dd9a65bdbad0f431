// The icons, drawn for this console on a 24 × 24 grid with round 1.75 strokes.

const SVG = 'http://www.w3.org/2000/svg';

const PATHS = {
  add: ['M12 5v14', 'M5 12h14'],
  back: ['M15 5l-7 7 7 7'],
  back10: ['M11 5.5 7.5 9 11 12.5', 'M7.5 9H14a5.5 5.5 0 1 1-5.5 5.5'],
  camera: ['M4 8.5A2.5 2.5 0 0 1 6.5 6h6A2.5 2.5 0 0 1 15 8.5v7a2.5 2.5 0 0 1-2.5 2.5h-6A2.5 2.5 0 0 1 4 15.5z', 'M15 11l5-2.8v7.6L15 13'],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  close: ['M6 6l12 12', 'M18 6L6 18'],
  copy: ['M9 9h8.5A1.5 1.5 0 0 1 19 10.5v8a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 9 18.5z', 'M6.5 15H6a1.5 1.5 0 0 1-1.5-1.5v-8A1.5 1.5 0 0 1 6 4h7A1.5 1.5 0 0 1 14.5 5.5V6'],
  down: ['M7 10l5 5 5-5'],
  download: ['M12 4v10.5', 'M7.5 10.5 12 15l4.5-4.5', 'M5 19.5h14'],
  disk: ['M4 7.5C4 5.6 7.6 4 12 4s8 1.6 8 3.5-3.6 3.5-8 3.5-8-1.6-8-3.5z', 'M4 7.5v9C4 18.4 7.6 20 12 20s8-1.6 8-3.5v-9', 'M4 12c0 1.9 3.6 3.5 8 3.5s8-1.6 8-3.5'],
  forward10: ['M13 5.5 16.5 9 13 12.5', 'M16.5 9H10a5.5 5.5 0 1 0 5.5 5.5'],
  fullscreen: ['M4.5 9V4.5H9', 'M15 4.5h4.5V9', 'M19.5 15v4.5H15', 'M9 19.5H4.5V15'],
  fullscreenOff: ['M9 4.5V9H4.5', 'M19.5 9H15V4.5', 'M15 19.5V15h4.5', 'M4.5 15H9v4.5'],
  help: ['M9.2 9.3a2.9 2.9 0 1 1 4.4 2.5c-1 .6-1.6 1.2-1.6 2.2', 'M12 17.2v.1', 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z'],
  link: ['M10 14a4 4 0 0 0 6 .4l2.5-2.5a4 4 0 0 0-5.7-5.7L11.5 7.5', 'M14 10a4 4 0 0 0-6-.4l-2.5 2.5a4 4 0 0 0 5.7 5.7l1.3-1.3'],
  minus: ['M5 12h14'],
  more: ['M12 6v.1', 'M12 12v.1', 'M12 18v.1'],
  moon: ['M19.5 14.3A8 8 0 0 1 9.7 4.5a8 8 0 1 0 9.8 9.8z'],
  auto: ['M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17z', 'M12 3.5v17', 'M12 7.5h6.5', 'M12 12h8.5', 'M12 16.5h6.5'],
  pause: ['M8.5 5.5v13', 'M15.5 5.5v13'],
  pip: ['M20 11V7.5A1.5 1.5 0 0 0 18.5 6h-13A1.5 1.5 0 0 0 4 7.5v9A1.5 1.5 0 0 0 5.5 18H10', 'M13.5 13.5h6v5h-6z'],
  pin: ['M9 4h6l-.8 6 3.3 3.5h-11L9.8 10z', 'M12 13.5V20'],
  play: ['M8 5.5v13l10.5-6.5z'],
  signOut: ['M14 5H7.5A1.5 1.5 0 0 0 6 6.5v11A1.5 1.5 0 0 0 7.5 19H14', 'M11 12h9', 'M16.5 8.5 20 12l-3.5 3.5'],
  still: ['M4 9A2 2 0 0 1 6 7h2l1.5-2h5L16 7h2a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2z', 'M12 9.8a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4z'],
  sun: ['M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z', 'M12 3v1.5', 'M12 19.5V21', 'M3 12h1.5', 'M19.5 12H21', 'M5.6 5.6l1.1 1.1', 'M17.3 17.3l1.1 1.1', 'M18.4 5.6l-1.1 1.1', 'M6.7 17.3l-1.1 1.1'],
  volume: ['M4.5 9.5v5H8l4.5 4v-13L8 9.5z', 'M16 9a4.2 4.2 0 0 1 0 6', 'M18.5 6.5a7.8 7.8 0 0 1 0 11'],
  volumeOff: ['M4.5 9.5v5H8l4.5 4v-13L8 9.5z', 'M16.5 10l4 4', 'M20.5 10l-4 4'],
  warning: ['M12 4 3.5 18.5h17z', 'M12 10v4', 'M12 16.3v.1'],
} satisfies Record<string, string[]>;

export type IconName = keyof typeof PATHS;

/** An icon; it says nothing to a screen reader, the control around it does. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(...PATHS[name].map(path));
  return svg;
}

/** The mark of Rushes: three reeds in a stream. */
export function mark(): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'mark');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(...['M5.5 20C5.5 15 6 11.5 7.5 8.5', 'M11.5 20C11.5 13 12 8.5 14 4', 'M17.5 20C17.5 16.5 18 14 19 11.5'].map(path));
  return svg;
}

function path(d: string): SVGPathElement {
  const element = document.createElementNS(SVG, 'path');
  element.setAttribute('d', d);
  return element;
}
