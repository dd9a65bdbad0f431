// The frame around every page: where one is, how the server is, and the few controls that belong to no page.

import { inWords } from '../api/errors';
import { daysLeft } from '../time/format';
import { h, setAttribute, setText } from '../ui/dom';
import type { IconName } from '../ui/icons';
import { icon, mark } from '../ui/icons';
import { openMenu } from '../ui/menu';
import type { App } from './context';
import { openHelp } from './help';
import type { Route } from './router';
import type { Theme } from './theme';
import { nextTheme, onTheme, theme } from './theme';

const THEMES: Record<Theme, [IconName, string]> = {
  auto: ['auto', 'as the system'],
  light: ['sun', 'light'],
  dark: ['moon', 'dark'],
};

export class Shell {
  readonly element: HTMLElement;
  private readonly place = h('div', { class: 'place' });
  private readonly links: [string, HTMLElement][];
  private readonly offline = h('div', { class: 'banner', role: 'status', hidden: true });
  private offlineTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly app: App) {
    const cameras = h('a', { href: '#/', class: 'nav-link' }, icon('camera'), h('span', {}, 'Cameras'));
    const storageWords = h('span', {}, 'Storage');
    const storage = h('a', { href: '#/storage', class: 'nav-link', 'data-testid': 'storage' }, icon('disk'), storageWords);
    this.links = [
      ['cameras', cameras],
      ['storage', storage],
    ];
    const themeButton = h('button', { type: 'button', class: 'button quiet icon-only' });
    const showTheme = (): void => {
      const [name, words] = THEMES[theme()];
      themeButton.replaceChildren(icon(name));
      setAttribute(themeButton, 'aria-label', `Colours: ${words}. Change`);
      setAttribute(themeButton, 'title', `Colours: ${words}`);
    };
    themeButton.addEventListener('click', () => nextTheme());
    onTheme(showTheme);
    showTheme();
    const help = h('button', { type: 'button', class: 'button quiet icon-only help-button', 'aria-label': 'Keyboard and help', title: 'Keyboard (?)', on: { click: () => openHelp(app) } }, icon('help'));
    const account = h('button', { type: 'button', class: 'button quiet icon-only', 'aria-label': 'Account', 'aria-haspopup': 'menu', title: 'Account' }, icon('signOut'));
    account.addEventListener('click', () => {
      openMenu(account, [{ label: `Sign out ${app.session?.accessKeyId ?? ''}`, run: () => void this.signOut() }]);
    });

    this.element = h(
      'div',
      { class: 'shell' },
      h('a', { class: 'skip', href: '#main', on: { click: (event) => this.skip(event) } }, 'Skip to the page'),
      h(
        'header',
        { class: 'top' },
        h('a', { class: 'brand', href: '#/', 'aria-label': 'Rushes, cameras' }, mark(), h('span', {}, 'Rushes')),
        h('nav', { class: 'nav', 'aria-label': 'Pages' }, cameras, storage),
        h('div', { class: 'top-end' }, themeButton, help, account),
      ),
      this.offline,
      this.place,
    );
    app.store.subscribe(() => {
      const left = app.store.storage?.daysLeft ?? null;
      setText(storageWords, left === null ? 'Storage' : `${daysLeft(left)} left`);
      storage.classList.toggle('low', left !== null && left < 2);
      this.showConnection();
    });
  }

  show(page: HTMLElement, route: Route): void {
    this.place.replaceChildren(page);
    for (const [name, link] of this.links) {
      setAttribute(link, 'aria-current', name === route.page ? 'page' : null);
    }
  }

  private showConnection(): void {
    clearTimeout(this.offlineTimer);
    if (this.app.store.connected) {
      this.offline.hidden = true;
      return;
    }
    // A restart of the server is over in a moment: nobody need hear of that.
    this.offlineTimer = setTimeout(() => {
      setText(this.offline, 'The server does not answer. Trying again…');
      this.offline.hidden = false;
    }, 2500);
  }

  private skip(event: Event): void {
    event.preventDefault();
    const main = document.getElementById('main');
    main?.setAttribute('tabindex', '-1');
    main?.focus();
  }

  private async signOut(): Promise<void> {
    try {
      await this.app.api.signOut();
      this.app.api.onSignedOut();
    } catch (error) {
      this.app.toast(inWords(error), 'bad');
    }
  }
}
