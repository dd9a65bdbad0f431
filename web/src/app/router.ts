// Addresses of the console's pages. They live in the hash, so the server needs to know none of them.

export type Route =
  | { page: 'cameras' }
  | { page: 'camera'; name: string; at: number | null }
  | { page: 'storage' }
  | { page: 'sign-in'; then: string };

/** The page a hash names; anything unknown is the list of cameras. */
export function parseRoute(hash: string): Route {
  const text = hash.replace(/^#\/?/, '');
  const [path = '', query = ''] = text.split('?', 2);
  const parameters = new URLSearchParams(query);
  const [first, second] = path.split('/');
  if (first === 'cameras' && second !== undefined && second !== '') {
    const name = decode(second);
    if (name !== null) return { page: 'camera', name, at: instant(parameters.get('at')) };
  }
  if (first === 'storage') return { page: 'storage' };
  if (first === 'sign-in') return { page: 'sign-in', then: parameters.get('then') ?? '' };
  return { page: 'cameras' };
}

export function formatRoute(route: Route): string {
  switch (route.page) {
    case 'cameras':
      return '#/';
    case 'camera': {
      const at = route.at === null ? '' : `?at=${new Date(route.at).toISOString()}`;
      return `#/cameras/${encodeURIComponent(route.name)}${at}`;
    }
    case 'storage':
      return '#/storage';
    case 'sign-in':
      return route.then === '' ? '#/sign-in' : `#/sign-in?then=${encodeURIComponent(route.then)}`;
  }
}

export class Router {
  /** Called with every new route. */
  onRoute: (route: Route) => void = () => undefined;
  private shown: string | null = null;

  constructor() {
    addEventListener('hashchange', () => this.show());
  }

  get current(): Route {
    return parseRoute(location.hash);
  }

  go(route: Route): void {
    const hash = formatRoute(route);
    if (location.hash === hash) this.show(true);
    else location.hash = hash;
  }

  /** Goes to a page without leaving the present one in the history. */
  replace(route: Route): void {
    history.replaceState(null, '', formatRoute(route));
    this.show(true);
  }

  private show(again = false): void {
    const route = this.current;
    const key = formatRoute(route);
    if (key === this.shown && !again) return;
    this.shown = key;
    this.onRoute(route);
  }
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

function instant(text: string | null): number | null {
  if (text === null) return null;
  const at = /^\d{11,}$/.test(text) ? Number(text) : Date.parse(text);
  return Number.isFinite(at) ? at : null;
}
