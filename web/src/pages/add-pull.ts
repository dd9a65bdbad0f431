// Paste an address, see what is there, name it, save it. A sub source is looked at beside the main one.

import { ApiError, inWords, isAbort } from '../api/errors';
import type { Camera, ProbeRequest, ProbeResult, Source, Transport } from '../api/types';
import type { App } from '../app/context';
import { trackWords } from '../app/words';
import { trackPlays } from '../player/support';
import type { Dialog } from '../ui/dialog';
import { h } from '../ui/dom';
import type { Field } from '../ui/field';
import { field } from '../ui/field';
import { icon } from '../ui/icons';
import { select } from '../ui/select';
import type { AddForm } from './add';
import { countSeconds } from './progress';
import { checkName, checkUrl, splitUrl, suggestName } from './source-url';

export const SUB_HINT = 'The same view in fewer pixels. The list of cameras plays it, and it stands in where a browser cannot play the main source.';

/** What there is already, and which of its sources is to be another one. */
export interface Present {
  camera: Camera;
  part: 'main' | 'sub';
}

/** What was looked at and answered. */
interface Found {
  main: ProbeRequest;
  sub: ProbeRequest | null;
}

/** For a new camera, or with `present` for another address of one that there is. */
export function pullForm(app: App, dialog: Dialog, present: Present | null = null): AddForm {
  const address = field('Address', { type: 'text', inputmode: 'url', placeholder: present?.part === 'sub' ? 'rtsp://10.0.0.9/sub' : 'rtsp://10.0.0.9/main', class: 'input mono', 'data-testid': 'probe-url' });
  const subAddress = field('Sub source’s address (if it has one)', { type: 'text', inputmode: 'url', placeholder: 'rtsp://10.0.0.9/sub', class: 'input mono', 'data-testid': 'probe-sub-url' }, SUB_HINT);
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
  const remove = h('button', { type: 'button', class: 'button danger', 'data-testid': 'remove-sub', hidden: true }, 'Remove the sub source');
  const progress = h('div', { class: 'progress', role: 'status', hidden: true }, h('span', { class: 'spinner small' }), h('span', {}));
  const form = h('form', { class: 'form', novalidate: true }, address.element, present === null && subAddress.element, credentials, more, h('div', { class: 'form-actions' }, check, cancel, remove, progress));

  const results = h('div', {});
  const name = field('Name', { maxlength: '256' }, 'Letters, digits, and _ . -');
  const save = h('button', { type: 'submit', class: 'button primary', 'data-testid': 'save-camera' }, present === null ? 'Save camera' : 'Save address');
  const naming = h('form', { class: 'form', novalidate: true, hidden: true }, name.element, h('div', { class: 'form-actions' }, save));

  let probing: AbortController | null = null;
  let found: Found | null = null;
  const taken = (): string[] => app.store.cameras.map((camera) => camera.name);

  const forget = (): void => {
    probing?.abort();
    found = null;
    results.replaceChildren();
    naming.hidden = true;
    check.classList.add('primary');
    address.fail(null);
    subAddress.fail(null);
  };
  for (const input of [address.input, subAddress.input, user.input, password.input]) dialog.scope.listen(input, 'input', forget);
  dialog.scope.listen(transport.input, 'change', forget);
  dialog.scope.listen(insecure, 'change', forget);

  /** What a field asks for; null after it has said what is wrong with it. */
  const read = (at: Field): ProbeRequest | null => {
    const checked = checkUrl(at.input.value, user.input.value, password.input.value);
    if ('problem' in checked) {
      at.fail(checked.problem);
      at.input.focus();
      return null;
    }
    const request: ProbeRequest = { url: checked.url, transport: transport.input.value as Transport };
    if (insecure.checked) request.tlsInsecure = true;
    return request;
  };

  const probe = async (): Promise<void> => {
    forget();
    const main = read(address);
    if (main === null) return;
    const wantsSub = present === null && subAddress.input.value.trim() !== '';
    const sub = wantsSub ? read(subAddress) : null;
    if (wantsSub && sub === null) return;
    const calling = new AbortController();
    probing = calling;
    const stopWaiting = showProgress();
    try {
      const asked = [main, sub].filter((request) => request !== null).map((request) => app.api.probe(request, calling.signal));
      const [mainAnswer, subAnswer] = await Promise.allSettled(asked);
      if (mainAnswer === undefined || calling.signal.aborted) return;
      const good = [show(mainAnswer, address, sub === null ? null : 'Main source'), subAnswer === undefined || show(subAnswer, subAddress, 'Sub source')];
      if (!good.every(Boolean)) return;
      found = { main, sub };
      offerToSave();
    } finally {
      stopWaiting();
    }
  };

  /** One answer, or what is wrong beside the field that asked; whether it is an answer. */
  const show = (answer: PromiseSettledResult<ProbeResult>, at: Field, title: string | null): boolean => {
    if (answer.status === 'fulfilled') {
      results.append(resultBox(answer.value, title));
      return true;
    }
    const error: unknown = answer.reason;
    if (isAbort(error)) return false;
    at.fail(inWords(error));
    if (error instanceof ApiError && error.code === 'WrongCredentials') {
      credentials.hidden = false;
      user.input.focus();
    } else {
      at.input.focus();
    }
    return false;
  };

  /** Counts the seconds; what it returns ends that. */
  const showProgress = (): (() => void) => {
    check.disabled = true;
    cancel.hidden = false;
    const stop = countSeconds(progress, 'Asking the camera…');
    return () => {
      stop();
      check.disabled = false;
      cancel.hidden = true;
    };
  };

  const offerToSave = (): void => {
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
    naming.scrollIntoView({ block: 'nearest' });
  };

  if (present !== null) {
    const { camera, part } = present;
    const source = part === 'main' ? camera.source : camera.sub?.source;
    if (source?.kind === 'pull') {
      // The password is not shown to anybody, so it has to be typed again.
      const { url, user: known } = splitUrl(source.url);
      address.input.value = url;
      user.input.value = known;
      credentials.hidden = known === '';
      transport.input.value = source.transport ?? 'auto';
      insecure.checked = source.tlsInsecure === true;
      remove.hidden = part === 'main';
    }
    name.input.value = camera.name;
    name.input.readOnly = true;
  }

  const store = async (wanted: string, { main, sub }: Found): Promise<Camera> => {
    const source: Source = { kind: 'pull', ...main };
    if (present === null) return app.api.createCamera(wanted, source, sub);
    return app.api.changeCamera(wanted, present.part === 'main' ? { source } : { sub: main });
  };

  const saveCamera = async (): Promise<void> => {
    const wanted = name.input.value.trim();
    const problem = present === null ? checkName(wanted, taken()) : null;
    name.fail(problem);
    if (problem !== null || found === null) return name.input.focus();
    save.disabled = true;
    try {
      app.store.put(await store(wanted, found));
      dialog.close();
      app.toast(present === null ? `${wanted} is added.` : `${wanted} has its new ${present.part === 'main' ? 'address' : 'sub source'}.`);
    } catch (error) {
      name.fail(inWords(error));
    } finally {
      save.disabled = false;
    }
  };

  const removeSub = async (camera: Camera): Promise<void> => {
    remove.disabled = true;
    try {
      app.store.put(await app.api.changeCamera(camera.name, { sub: null }));
      dialog.close();
      app.toast(`${camera.name} has no sub source now; what it recorded stays.`);
      await app.store.refresh();
    } catch (error) {
      address.fail(inWords(error));
    } finally {
      remove.disabled = false;
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
  dialog.scope.listen(remove, 'click', () => present !== null && void removeSub(present.camera));
  dialog.scope.listen(name.input, 'input', () => name.fail(null));
  dialog.scope.add(() => probing?.abort());
  return { element: h('div', {}, form, results, naming), focus: () => address.input.focus() };
}

/** The first picture, what is sent, and whether it plays here. */
function resultBox(answer: ProbeResult, title: string | null): HTMLElement {
  const picture = answer.still === null ? h('div', { class: 'probe-still none' }, 'No picture yet') : h('img', { class: 'probe-still', src: answer.still, alt: 'The first picture from the camera' });
  const tracks = answer.tracks.map((track) => {
    const plays = trackPlays(track);
    return h('li', { class: plays ? 'plays' : 'plays-not' }, icon(plays ? 'check' : 'warning'), h('span', {}, h('b', {}, trackWords(track)), plays ? 'plays in this browser' : 'is recorded, but does not play in this browser'));
  });
  const server = answer.server === null || answer.server === '' ? 'Answered' : `${answer.server} answered`;
  return h(
    'div',
    { class: 'probe-result', 'data-testid': title === 'Sub source' ? 'probe-sub-result' : 'probe-result' },
    picture,
    h('div', {}, title !== null && h('h3', {}, title), h('ul', { class: 'probe-tracks' }, ...tracks), h('p', { class: 'hint' }, `${server} in ${Math.round(answer.elapsedMs)} ms.`)),
  );
}
