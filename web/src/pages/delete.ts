// Deleting a camera, with or without what it recorded; or what is left of one.

import { inWords } from '../api/errors';
import type { Camera } from '../api/types';
import type { App } from '../app/context';
import { forgetStill } from '../app/stills';
import { bytes } from '../time/format';
import { openDialog } from '../ui/dialog';
import { h } from '../ui/dom';
import { field } from '../ui/field';

export function openDelete(app: App, camera: Camera): void {
  const { name, recorded, sub } = camera;
  const only = camera.state === 'archived';
  const dialog = openDialog(only ? `Delete the recordings of ${name}` : `Delete ${name}`);
  const choice = (value: string, label: string, hint: string): HTMLElement =>
    h('label', { class: 'choice' }, h('input', { type: 'radio', name: 'recordings', value, checked: value === 'keep' }), h('span', {}, h('b', {}, label), h('span', { class: 'hint' }, hint)));
  const typed = field(`Type ${name} to confirm`, { 'data-testid': 'delete-confirm' });
  const confirm = h('button', { type: 'submit', class: 'button danger', 'data-testid': 'delete-camera' }, 'Delete camera');
  const all = (recorded?.bytes ?? 0) + (sub?.recorded?.bytes ?? 0);
  const size = all === 0 ? '' : ` (${bytes(all)})`;
  const streams = sub === null ? `its stream “${name}”` : `its streams “${name}” and “${sub.stream}”`;
  const form = h(
    'form',
    { class: 'form', novalidate: true },
    only && h('p', {}, `All of its recordings${size} go. Its keys are destroyed: nothing brings them back.`),
    !only && h('fieldset', { class: 'choices' }, h('legend', {}, 'What it recorded'), choice('keep', 'Keep', `Only the camera goes; ${streams} and the recordings${size} stay.`), choice('delete', 'Delete as well', 'Its keys are destroyed: nothing brings the recordings back.')),
    typed.element,
    h('div', { class: 'form-actions' }, confirm, h('button', { type: 'button', class: 'button', on: { click: () => dialog.close() } }, 'Cancel')),
  );
  const recordings = (): 'keep' | 'delete' => (only || new FormData(form).get('recordings') === 'delete' ? 'delete' : 'keep');
  const update = (): void => {
    const deleting = recordings() === 'delete';
    typed.element.hidden = !deleting;
    typed.fail(null);
    confirm.textContent = only ? 'Delete recordings' : deleting ? 'Delete camera and recordings' : 'Delete camera';
    confirm.disabled = deleting && typed.input.value.trim() !== name;
  };
  const submit = async (): Promise<void> => {
    confirm.disabled = true;
    try {
      const kept = recordings() === 'keep';
      if (only) {
        if (sub !== null) await app.api.deleteStream(sub.stream);
        await app.api.deleteStream(name);
      }
      if (!only) await app.api.deleteCamera(name, kept ? 'keep' : 'delete');
      dialog.close();
      if (!kept) forgetStill(name);
      const { current } = app.router;
      if (!kept && current.page === 'camera' && current.name === name) app.router.go({ page: 'cameras' });
      await app.store.refresh();
      app.toast(only ? `The recordings of ${name} are deleted.` : `${name} is deleted.`);
    } catch (error) {
      update();
      typed.element.hidden = false;
      typed.fail(inWords(error));
    }
  };
  dialog.scope.listen(form, 'input', update);
  dialog.scope.listen(form, 'submit', (event) => {
    event.preventDefault();
    if (!confirm.disabled) void submit();
  });
  dialog.body.append(form);
  update();
}
