// What a console without cameras says: how to get the first one.

import type { App } from '../app/context';
import { copyBox } from '../ui/copy';
import { h } from '../ui/dom';
import { icon, mark } from '../ui/icons';
import { openAdd } from './add';
import { ownKeyCommand } from './commands';

export function emptyCameras(app: App): HTMLElement {
  const command = ownKeyCommand(app.session, location.hostname);
  return h(
    'section',
    { class: 'empty' },
    mark(),
    h('h2', {}, 'No camera yet'),
    h('p', {}, 'Rushes can fetch the video from a camera on your network, or take what an encoder sends to it.'),
    h('div', { class: 'empty-actions' }, h('button', { type: 'button', class: 'button primary', on: { click: () => openAdd(app) } }, icon('add'), 'Add a camera by its address'), h('button', { type: 'button', class: 'button', on: { click: () => openAdd(app, 'push') } }, 'Get an address to send to')),
    command !== null && h('div', { class: 'empty-push' }, h('p', {}, 'Or send a file with FFmpeg and your own key; the camera “yard” appears by itself:'), copyBox(command, 'FFmpeg command')),
  );
}
