// Signing in with an access key.

import { ApiError, inWords } from '../api/errors';
import type { App } from '../app/context';
import type { View } from '../ui/dom';
import { h, Scope, setAttribute, setText } from '../ui/dom';
import { mark } from '../ui/icons';

export function signInPage(app: App, signedIn: () => Promise<void>): View {
  const scope = new Scope();
  const id = h('input', { class: 'input mono', id: 'access-key-id', name: 'username', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true });
  const secret = h('input', { class: 'input mono', id: 'secret', name: 'password', type: 'password', autocomplete: 'current-password', required: true });
  const problem = h('p', { class: 'field-error', id: 'sign-in-error', role: 'alert', hidden: true });
  const button = h('button', { type: 'submit', class: 'button primary wide' }, 'Sign in');
  const form = h(
    'form',
    { class: 'form', 'data-testid': 'sign-in', novalidate: true },
    h('div', { class: 'field' }, h('label', { for: 'access-key-id' }, 'Access key id'), id),
    h('div', { class: 'field' }, h('label', { for: 'secret' }, 'Secret access key'), secret),
    problem,
    button,
  );

  const fail = (words: string, at: HTMLInputElement): void => {
    setText(problem, words);
    problem.hidden = false;
    for (const field of [id, secret]) setAttribute(field, 'aria-describedby', field === at ? problem.id : null);
    setAttribute(at, 'aria-invalid', 'true');
    at.focus();
    at.select();
  };

  const submit = async (): Promise<void> => {
    for (const field of [id, secret]) setAttribute(field, 'aria-invalid', null);
    problem.hidden = true;
    if (id.value.trim() === '') return fail('Enter the access key id.', id);
    if (secret.value === '') return fail('Enter the secret access key.', secret);
    button.disabled = true;
    setText(button, 'Signing in…');
    try {
      await app.api.signIn(id.value.trim(), secret.value.trim());
      await signedIn();
    } catch (error) {
      const wrong = error instanceof ApiError && (error.status === 401 || error.status === 403);
      fail(wrong ? 'This key id and secret do not belong together, or the key is not known here.' : inWords(error), secret);
    } finally {
      button.disabled = false;
      setText(button, 'Sign in');
    }
  };
  scope.listen(form, 'submit', (event) => {
    event.preventDefault();
    void submit();
  });

  // The server sends those here whose link it does not take (any more).
  if (new URLSearchParams(location.search).get('link') === 'expired') {
    setText(problem, 'That link has expired, or was used already. Sign in with the key instead.');
    problem.hidden = false;
    history.replaceState(null, '', location.pathname + location.hash);
  }

  const element = h(
    'main',
    { class: 'sign-in', id: 'main' },
    h(
      'div',
      { class: 'sign-in-box' },
      h('h1', { class: 'brand big' }, mark(), 'Rushes'),
      form,
      h('p', { class: 'hint' }, h('code', {}, 'rushes serve'), ' prints a link that signs you in, and says where the root key is kept.'),
    ),
  );
  queueMicrotask(() => id.focus());
  return { element, title: 'Sign in', dispose: () => scope.end() };
}
