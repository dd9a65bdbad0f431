// Paste an address, see what is there, name it, save it.

import { ApiError, inWords, isAbort } from '../api/errors';
import type { Camera, ProbeRequest, ProbeResult, Source, Transport } from '../api/types';
import type { App } from '../app/context';
import { trackWords } from '../app/words';
import { trackPlays } from '../player/support';
import type { Dialog } from '../ui/dialog';
import { h, setText } from '../ui/dom';
import { field } from '../ui/field';
import { icon } from '../ui/icons';
import { select } from '../ui/select';
import type { AddForm } from './add';
import { checkName, checkUrl, splitUrl, suggestName } from './source-url';

/** For a new camera, or with `present` for another address of one that there is. */
export function pullForm(app: App, dialog: Dialog, present: Camera | null = null): AddForm {
  const address = field('Address', { type: 'text', inputmode: 'url', placeholder: 'rtsp://10.0.0.9/main', class: 'input mono', 'data-testid': 'probe-url' });
  const user = field('User name', { autocomplete: 'off' });
  const password = field('Password', { type: 'password', autocomplete: 'new-password' });
  const credentials = h('div', { class: 'field-row', hidden: true }, user.element, password.element);
  const transport = select({ id: 'add-transport' }, [['auto', 'Automatic'], ['tcp', 'TCP'], ['udp', 'UDP']]);
  const insecure = h('input', { type: 'checkbox', id: 'add-insecure' });
  const more = h(
    'details',
    { class: 'more' },
    h('summary', {}, 'Transport and certificate'),
    h('div', { class: 'field' }, h('label', { for: 'add-transport' }, 'Transport'), transport.element),
    h('label', { class: 'check' }, insecure, h('span', {}, 'Take any certificate (rtsps:// with one that the camera made itself)')),
  );
  const check = h('button', { type: 'submit', class: 'button primary', 'data-testid': 'probe-button' }, 'Check');
  const cancel = h('button', { type: 'button', class: 'button', hidden: true }, 'Cancel');
  const progress = h('div', { class: 'progress', role: 'status', hidden: true }, h('span', { class: 'spinner small' }), h('span', {}));
  const form = h('form', { class: 'form', novalidate: true }, address.element, credentials, more, h('div', { class: 'form-actions' }, check, cancel, progress));

  const result = h('div', { class: 'probe-result', 'data-testid': 'probe-result', hidden: true });
  const name = field('Name', { maxlength: '256' }, 'Letters, digits, and _ . -');
  const save = h('button', { type: 'submit', class: 'button primary', 'data-testid': 'save-camera' }, present === null ? 'Save camera' : 'Save address');
  const naming = h('form', { class: 'form', novalidate: true, hidden: true }, name.element, h('div', { class: 'form-actions' }, save));

  let probing: AbortController | null = null;
  let found: ProbeRequest | null = null;
  const taken = (): string[] => app.store.cameras.map((camera) => camera.name);

  const forget = (): void => {
    probing?.abort();
    found = null;
    result.hidden = true;
    naming.hidden = true;
    check.classList.add('primary');
    address.fail(null);
  };
  for (const input of [address.input, user.input, password.input]) dialog.scope.listen(input, 'input', forget);
  dialog.scope.listen(transport.input, 'change', forget);
  dialog.scope.listen(insecure, 'change', forget);

  const probe = async (): Promise<void> => {
    const checked = checkUrl(address.input.value, user.input.value, password.input.value);
    if ('problem' in checked) {
      address.fail(checked.problem);
      return address.input.focus();
    }
    forget();
    const request: ProbeRequest = { url: checked.url, transport: transport.input.value as Transport };
    if (insecure.checked) request.tlsInsecure = true;
    const calling = new AbortController();
    probing = calling;
    const stopWaiting = showProgress(true);
    try {
      const answer = await app.api.probe(request, calling.signal);
      found = request;
      showResult(answer);
    } catch (error) {
      if (isAbort(error)) return;
      if (error instanceof ApiError && error.code === 'WrongCredentials') {
        credentials.hidden = false;
        address.fail(inWords(error));
        user.input.focus();
      } else {
        address.fail(inWords(error));
        address.input.focus();
      }
    } finally {
      stopWaiting();
    }
  };

  /** Counts the seconds; what it returns ends that. */
  const showProgress = (busy: boolean): (() => void) => {
    check.disabled = busy;
    cancel.hidden = !busy;
    progress.hidden = !busy;
    const started = performance.now();
    const words = progress.lastElementChild as HTMLElement;
    const tick = (): void => {
      const seconds = Math.floor((performance.now() - started) / 1000);
      setText(words, seconds < 1 ? 'Asking the camera…' : `Asking the camera… ${seconds} s`);
    };
    tick();
    const timer = setInterval(tick, 500);
    return () => {
      clearInterval(timer);
      check.disabled = false;
      cancel.hidden = true;
      progress.hidden = true;
    };
  };

  const showResult = (answer: ProbeResult): void => {
    const picture = answer.still === null ? h('div', { class: 'probe-still none' }, 'No picture yet') : h('img', { class: 'probe-still', src: answer.still, alt: 'The first picture from the camera' });
    const tracks = answer.tracks.map((track) => {
      const plays = trackPlays(track);
      return h('li', { class: plays ? 'plays' : 'plays-not' }, icon(plays ? 'check' : 'warning'), h('span', {}, h('b', {}, trackWords(track)), plays ? 'plays in this browser' : 'is recorded, but does not play in this browser'));
    });
    result.replaceChildren(picture, h('div', {}, h('ul', { class: 'probe-tracks' }, ...tracks), h('p', { class: 'hint' }, `${answer.server === '' ? 'Answered' : `${answer.server} answered`} in ${Math.round(answer.elapsedMs)} ms.`)));
    result.hidden = false;
    naming.hidden = false;
    check.classList.remove('primary');
    name.fail(null);
    if (present === null) {
      name.input.value = suggestName(address.input.value.trim(), taken());
      name.input.focus();
      name.input.select();
    } else {
      save.focus();
    }
    result.scrollIntoView({ block: 'nearest' });
  };

  if (present !== null && present.source.kind === 'pull') {
    // The password is not shown to anybody, so it has to be typed again.
    const { url, user: known } = splitUrl(present.source.url);
    address.input.value = url;
    user.input.value = known;
    credentials.hidden = known === '';
    transport.input.value = present.source.transport ?? 'auto';
    insecure.checked = present.source.tlsInsecure === true;
    name.input.value = present.name;
    name.input.readOnly = true;
  }

  const saveCamera = async (): Promise<void> => {
    const wanted = name.input.value.trim();
    const problem = present === null ? checkName(wanted, taken()) : null;
    name.fail(problem);
    if (problem !== null || found === null) return name.input.focus();
    save.disabled = true;
    try {
      const source: Source = { kind: 'pull', ...found };
      app.store.put(await (present === null ? app.api.createCamera(wanted, source) : app.api.changeCamera(present.name, { source })));
      dialog.close();
      app.toast(present === null ? `${wanted} is added.` : `${present.name} has its new address.`);
    } catch (error) {
      name.fail(inWords(error));
    } finally {
      save.disabled = false;
    }
  };

  dialog.scope.listen(form, 'submit', (event) => {
    event.preventDefault();
    void probe();
  });
  dialog.scope.listen(naming, 'submit', (event) => {
    event.preventDefault();
    void saveCamera();
  });
  dialog.scope.listen(cancel, 'click', () => probing?.abort());
  dialog.scope.listen(name.input, 'input', () => name.fail(null));
  dialog.scope.add(() => probing?.abort());
  return { element: h('div', {}, form, result, naming), focus: () => address.input.focus() };
}
