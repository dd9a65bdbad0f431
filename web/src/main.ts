// The console: puts the parts together and shows the page that the address names.

import './styles/base.css';
import './styles/controls.css';
import './styles/shell.css';
import './styles/cameras.css';
import './styles/player.css';
import './styles/timeline.css';
import './styles/dialogs.css';

import { Api } from './api/client';
import { ApiError } from './api/errors';
import type { App } from './app/context';
import { listenForHelp } from './app/keys';
import type { Route } from './app/router';
import { formatRoute, parseRoute, Router } from './app/router';
import { Shell } from './app/shell';
import { Store } from './app/store';
import { camerasPage } from './pages/cameras';
import { cameraPage } from './pages/camera';
import { signInPage } from './pages/sign-in';
import { storagePage } from './pages/storage';
import { unreachablePage } from './pages/unreachable';
import { loadHls } from './player/preload';
import { TimeFormat } from './time/format';
import type { View } from './ui/dom';
import { toast } from './ui/toast';

const root = document.getElementById('app') ?? document.body;
const api = new Api();
const app: App = { api, store: new Store(api), router: new Router(), time: new TimeFormat(), session: null, toast };
const shell = new Shell(app);
let view: View | null = null;
/** Whether the server has said if we are signed in. */
let known = false;

function show(next: View, route: Route, framed = true): void {
  view?.dispose();
  view = next;
  document.title = `${next.title} · Rushes`;
  if (framed) {
    shell.show(next.element, route);
    if (root.firstElementChild !== shell.element) root.replaceChildren(shell.element);
  } else {
    root.replaceChildren(next.element);
  }
  scrollTo(0, 0);
}

function showRoute(route: Route): void {
  // An address changed before the first answer waits for it.
  if (!known) return;
  if (route.page === 'sign-in') {
    return show(signInPage(app, begin), route, false);
  }
  if (app.session === null) return app.router.replace({ page: 'sign-in', then: formatRoute(route) });
  switch (route.page) {
    case 'cameras':
      return show(camerasPage(app), route);
    case 'camera':
      return show(cameraPage(app, route.name, route.at), route);
    case 'storage':
      return show(storagePage(app), route);
  }
}

/** Finds out whether we are signed in, and shows the page that the address names by then. */
async function begin(): Promise<void> {
  let signedIn = true;
  try {
    app.session = await api.session();
  } catch (error) {
    signedIn = false;
    if (!(error instanceof ApiError) || error.status !== 401) {
      return show(unreachablePage(error, begin), { page: 'cameras' }, false);
    }
  }
  known = true;
  const wanted = app.router.current;
  if (!signedIn) return app.router.replace(wanted.page === 'sign-in' ? wanted : { page: 'sign-in', then: formatRoute(wanted) });
  app.store.start();
  app.router.replace(wanted.page === 'sign-in' ? parseRoute(wanted.then) : wanted);
  const idle = globalThis.requestIdleCallback ?? ((run: () => void) => setTimeout(run, 1000));
  idle(() => void loadHls());
}

api.onSignedOut = () => {
  if (app.session === null) return;
  app.session = null;
  app.store.stop();
  const { current } = app.router;
  app.router.replace({ page: 'sign-in', then: current.page === 'sign-in' ? '' : formatRoute(current) });
};

app.router.onRoute = showRoute;
listenForHelp(app);
// The player's code comes along with the first answers when it will be needed at once.
if (app.router.current.page === 'camera') void loadHls();
void begin();
