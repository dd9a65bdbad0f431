// The overlay that lists the keys.

import { openDialog } from '../ui/dialog';
import { h } from '../ui/dom';
import type { App } from './context';

const KEYS: [string[], string][] = [
  [['←', '→', '↑', '↓'], 'In the list: another camera'],
  [['Enter'], 'In the list: its page'],
  [['Space', 'K'], 'Play, pause'],
  [['J', 'L'], '10 seconds back, on'],
  [['←', '→'], '5 seconds back, on'],
  [['Shift ←', 'Shift →'], '1 second back, on'],
  [['Home', 'End'], 'The oldest recording, live'],
  [['+', '−'], 'Zoom the timeline'],
  [['T'], 'Jump to a time'],
  [['<', '>'], 'Slower, faster'],
  [['F'], 'Full screen'],
  [['M'], 'Sound on, off'],
  [['S'], 'Save the picture'],
  [['Esc'], 'Back to the cameras'],
  [['?'], 'This list'],
];

export function openHelp(app: App): void {
  const { body } = openDialog('Keyboard');
  body.append(
    h(
      'dl',
      { class: 'keys' },
      ...KEYS.map(([keys, words]) => h('div', {}, h('dt', {}, ...keys.map((key) => h('kbd', {}, key))), h('dd', {}, words))),
    ),
    h('p', { class: 'hint' }, `Times are shown in the zone of this browser, ${app.time.zone.name}. Rushes ${app.session?.version ?? ''}`),
  );
}
