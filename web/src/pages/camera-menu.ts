// What can be done to a camera, as a menu.

import { inWords } from '../api/errors';
import type { Camera } from '../api/types';
import type { App } from '../app/context';
import type { MenuItem } from '../ui/menu';
import { openMenu } from '../ui/menu';
import { openChange, openSub } from './add';
import { openDelete } from './delete';
import { openElsewhere } from './elsewhere';
import { openPublish } from './publish';
import { openPublishHere } from './publish-here';

export function cameraMenu(app: App, camera: Camera, anchor: HTMLElement): void {
  const items: MenuItem[] = [];
  if (camera.state === 'archived') {
    return openMenu(anchor, [{ label: 'Delete recordings…', danger: true, run: () => openDelete(app, camera) }]);
  }
  if (camera.source.kind === 'push') {
    items.push({ label: 'Publish from this browser…', run: () => openPublishHere(app, camera.name) });
    items.push({ label: 'New publish address…', run: () => openPublish(app, camera.name) });
  }
  if (camera.source.kind === 'pull') {
    items.push({ label: 'Change address…', run: () => openChange(app, camera) });
  }
  const hasSub = camera.sub !== null && camera.sub.state !== 'archived';
  items.push({ label: 'Watch elsewhere…', run: () => openElsewhere(app, camera.name) });
  items.push({ label: hasSub ? 'Change sub source…' : 'Add a sub source…', run: () => openSub(app, camera) });
  items.push(
    { label: camera.enabled ? 'Disable' : 'Enable', run: () => void setEnabled(app, camera, !camera.enabled) },
    { label: 'Delete…', danger: true, run: () => openDelete(app, camera) },
  );
  openMenu(anchor, items);
}

export async function setEnabled(app: App, camera: Camera, enabled: boolean): Promise<void> {
  try {
    app.store.put(await app.api.changeCamera(camera.name, { enabled }));
    app.toast(enabled ? `${camera.name} is enabled.` : `${camera.name} is disabled; what is recorded stays.`);
  } catch (error) {
    app.toast(inWords(error), 'bad');
  }
}
