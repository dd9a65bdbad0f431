// Where other programs find a camera's picture: addresses to be copied.

import { inWords } from '../api/errors';
import { ms } from '../api/types';
import type { App } from '../app/context';
import { copyBox } from '../ui/copy';
import { openDialog } from '../ui/dialog';
import { h } from '../ui/dom';
import { shellQuote } from './commands';

/** As long as the server lets an address be good. */
const LASTS = 7 * 24 * 3600;

export function openElsewhere(app: App, stream: string): void {
  const dialog = openDialog(`Watch ${stream} elsewhere`, { class: 'add-dialog' });
  const { signal } = dialog.scope;
  const here = (path: string): string => new URL(path, location.href).href;
  const way = (title: string, note: string, ...boxes: HTMLElement[]): HTMLElement =>
    h('details', { class: 'command', open: true }, h('summary', {}, title), h('p', { class: 'hint' }, note), ...boxes);
  const wait = h('p', { class: 'hint', role: 'status' }, 'Making addresses …');
  dialog.body.append(wait);

  const show = async (): Promise<void> => {
    const [hls, whep] = await Promise.all([
      app.api.openSession(stream, { protocol: 'hls', audio: 'aac', expiresInSeconds: LASTS }, signal),
      app.api.watchToken(stream, LASTS, signal),
    ]);
    const [playlist, still] = [here(hls.url), here(app.api.stillUrl(stream))];
    const lasting = here(`/v1/streams/${encodeURIComponent(stream)}/live.m3u8`).replace('://', '://ACCESS_KEY_ID:SECRET@');
    dialog.body.replaceChildren(
      h(
        'div',
        { class: 'publish' },
        h('p', {}, `Whoever has these can watch “${stream}” live and do nothing else, until ${app.time.full(ms(hls.expires), app.api.clock.now())}.`),
        way('HLS', 'For VLC, FFmpeg, Safari and televisions; a few seconds behind live.', copyBox(playlist, 'HLS address')),
        way('HLS, for good', 'For recorders and whatever else keeps an address: it does not end, and wants an access key.', copyBox(lasting, 'lasting HLS address')),
        way('WebRTC (WHEP)', 'For players that speak WHEP, which ask for an address and a bearer token; well under a second behind live.', copyBox(here(whep.url), 'WHEP address'), copyBox(whep.token, 'token')),
        way('Still picture', 'The latest key frame as JPEG. It wants an access key, as user name and password.', copyBox(`curl -u ACCESS_KEY_ID:SECRET -o still.jpg ${shellQuote(still)}`, 'command for a still')),
        h('div', { class: 'form-actions' }, h('button', { type: 'button', class: 'button primary', on: { click: () => dialog.close() } }, 'Done')),
      ),
    );
  };
  show().catch((error: unknown) => {
    if (!signal.aborted) wait.replaceChildren(inWords(error));
  });
}
