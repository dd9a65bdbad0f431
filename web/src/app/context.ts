// What every page is given.

import type { Api } from '../api/client';
import type { SessionInfo } from '../api/types';
import type { TimeFormat } from '../time/format';
import type { Router } from './router';
import type { Store } from './store';

export interface App {
  api: Api;
  store: Store;
  router: Router;
  time: TimeFormat;
  session: SessionInfo | null;
  /** Shows a short message for a few seconds. */
  toast(message: string, tone?: 'plain' | 'bad'): void;
}
