// What a console without cameras says: how to get the first one.

import type { App } from '../app/context';
import { copyBox } from '../ui/copy';
import { h } from '../ui/dom';
import { icon, mark } from '../ui/icons';
import { openAdd } from './add';
import { shellQuote } from './commands';

/** Where `rushes serve` listens for RTSP unless told otherwise. */
const RTSP_PORT = 8554;

export function emptyCameras(app: App): HTMLElement {
  const key = app.session?.accessKeyId ?? 'ACCESS_KEY_ID';
  const host = location.hostname.includes(':') ? `[${location.hostname.replace(/[[\]]/g, '')}]` : location.hostname;
  const url = `rtsp://${key}:SECRET@${host}:${RTSP_PORT}/yard`;
  return h(
    'section',
    { class: 'empty' },
    mark(),
    h('h2', {}, 'No camera yet'),
    h('p', {}, 'Rushes can fetch the video from a camera on your network, or take what an encoder sends to it.'),
    h('div', { class: 'empty-actions' }, h('button', { type: 'button', class: 'button primary', on: { click: () => openAdd(app) } }, icon('add'), 'Add a camera by its address'), h('button', { type: 'button', class: 'button', on: { click: () => openAdd(app, 'push') } }, 'Get an address to send to')),
    h('div', { class: 'empty-push' }, h('p', {}, 'Or send a file with FFmpeg and your own key; the camera “yard” appears by itself:'), copyBox(`ffmpeg -re -stream_loop -1 -i FILE.mp4 -c copy -f rtsp -rtsp_transport tcp ${shellQuote(url)}`, 'FFmpeg command')),
  );
}
