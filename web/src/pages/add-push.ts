// A name, and then the address to send to.

import { inWords } from '../api/errors';
import type { App } from '../app/context';
import type { Dialog } from '../ui/dialog';
import { h } from '../ui/dom';
import { field } from '../ui/field';
import type { AddForm } from './add';
import { publishHelp } from './publish';
import { checkName } from './source-url';

export function pushForm(app: App, dialog: Dialog): AddForm {
  const name = field('Name', { maxlength: '256', placeholder: 'stage', 'data-testid': 'push-name' }, 'Letters, digits, and _ . -');
  const create = h('button', { type: 'submit', class: 'button primary', 'data-testid': 'save-push-camera' }, 'Create');
  const form = h(
    'form',
    { class: 'form', novalidate: true },
    h('p', { class: 'hint' }, 'For encoders, phones and cameras that publish by RTSP. You get an address that may send to this camera and do nothing else.'),
    name.element,
    h('div', { class: 'form-actions' }, create),
  );
  const element = h('div', {}, form);

  const submit = async (): Promise<void> => {
    const wanted = name.input.value.trim();
    const problem = checkName(wanted, app.store.cameras.map((camera) => camera.name));
    name.fail(problem);
    if (problem !== null) return name.input.focus();
    create.disabled = true;
    try {
      const { publishUrl, ...camera } = await app.api.createCamera(wanted, { kind: 'push' });
      app.store.put(camera);
      const url = publishUrl ?? (await app.api.publishUrl(wanted));
      element.replaceChildren(publishHelp(wanted, url, dialog));
      dialog.body.querySelector('.tabs')?.remove();
    } catch (error) {
      name.fail(inWords(error));
    } finally {
      create.disabled = false;
    }
  };
  dialog.scope.listen(form, 'submit', (event) => {
    event.preventDefault();
    void submit();
  });
  dialog.scope.listen(name.input, 'input', () => name.fail(null));
  return { element, focus: () => name.input.focus() };
}
