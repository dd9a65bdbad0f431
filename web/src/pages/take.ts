// Taking something along: the picture on the screen, and a range as a file.

import { ApiError, inWords } from '../api/errors';
import type { Ms } from '../api/types';
import type { App } from '../app/context';
import { soundWanted } from '../player/support';
import { openDialog } from '../ui/dialog';
import { h, setText } from '../ui/dom';
import { timesFields } from '../ui/times';

/** `yard 2026-11-24 08.00.00`: what every file system takes. */
function fileName(app: App, name: string, at: Ms): string {
  return `${name} ${app.time.inputValue(at).replace('T', ' ').replaceAll(':', '.')}`;
}

function save(url: string, name: string): void {
  const link = h('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

/** Saves exactly what the element shows, in its own size. */
export async function takeStill(app: App, name: string, video: HTMLVideoElement, at: Ms | null): Promise<void> {
  const canvas = h('canvas', {});
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  if (video.readyState < 2 || canvas.width === 0) return app.toast('There is no picture yet.', 'bad');
  canvas.getContext('2d')?.drawImage(video, 0, 0);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/jpeg', 0.95));
  if (blob === null) return app.toast('The browser could not make a picture of it.', 'bad');
  const url = URL.createObjectURL(blob);
  save(url, `${fileName(app, name, at ?? app.api.clock.now())}.jpg`);
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  app.toast('The picture is saved.');
}

/** Asks for a range, and saves it as a file. */
export function openExport(app: App, stream: string, range: { from: Ms; to: Ms }): void {
  const dialog = openDialog('Export a clip', { class: 'keep-open' });
  const times = timesFields(app, 'export', range);
  const format = (value: string, label: string, checked: boolean): HTMLElement =>
    h('label', { class: 'check' }, h('input', { type: 'radio', name: 'format', value, checked }), h('span', {}, label));
  const problem = h('p', { class: 'field-error', role: 'alert', hidden: true });
  const button = h('button', { type: 'submit', class: 'button primary', 'data-testid': 'export-save' }, 'Export');
  const form = h(
    'form',
    { class: 'form', novalidate: true },
    h('p', { class: 'hint' }, `The pictures as they were recorded, from the last key frame before the start on. Times are ${app.time.zone.name}’s.`),
    times.element,
    format('mp4', 'MP4: plays everywhere; sound that few players take becomes AAC', true),
    format('mkv', 'Matroska: everything as it was recorded', false),
    problem,
    h('div', { class: 'form-actions' }, button, h('button', { type: 'button', class: 'button', on: { click: () => dialog.close() } }, 'Cancel')),
  );
  const submit = async (): Promise<void> => {
    problem.hidden = true;
    const wanted = times.read();
    if (wanted === null) return;
    const kind = form.querySelector<HTMLInputElement>('input[name=format]:checked')?.value === 'mkv' ? 'mkv' : 'mp4';
    button.disabled = true;
    try {
      // Said here if there is nothing; a download would say it in a file.
      const { spans } = await app.api.timeline(stream, wanted.from, wanted.to);
      if (spans.length === 0) throw new ApiError(404, 'NotFound', 'nothing is recorded in this range');
      save(app.api.exportUrl(stream, wanted.from, wanted.to, kind, kind === 'mp4' ? soundWanted() : 'asIs'), `${fileName(app, stream, wanted.from)}.${kind}`);
      dialog.close();
      app.toast('The clip is being downloaded.');
    } catch (error) {
      problem.hidden = false;
      setText(problem, inWords(error));
    } finally {
      button.disabled = false;
    }
  };
  dialog.scope.listen(form, 'submit', (event) => {
    event.preventDefault();
    void submit();
  });
  dialog.body.append(form);
  button.focus();
}
