// What there is to know about a camera, below its timeline.

import { sentence } from '../api/errors';
import type { Camera, SourceStatus } from '../api/types';
import { ms } from '../api/types';
import type { App } from '../app/context';
import { detailNow, stateWords, trackWords } from '../app/words';
import { trackPlays } from '../player/support';
import { age, bitrate, bytes, duration } from '../time/format';
import { h, setText } from '../ui/dom';

export interface Details {
  element: HTMLElement;
  update(camera: Camera): void;
}

export function cameraDetails(app: App): Details {
  const main = sourceDetails(app);
  const sub = sourceDetails(app);
  const subBox = h('div', { class: 'sub-details', 'data-testid': 'sub-details' }, h('h2', {}, 'Sub source'), sub.element);
  return {
    element: h('section', { class: 'details-box', 'aria-label': 'About this camera' }, main.element, subBox),
    update(camera) {
      main.update(camera);
      subBox.hidden = camera.sub === null;
      if (camera.sub !== null) sub.update(camera.sub);
    },
  };
}

interface SourceDetails {
  element: HTMLElement;
  update(source: SourceStatus): void;
}

function sourceDetails(app: App): SourceDetails {
  const list = h('dl', { class: 'details' });
  const values = new Map<string, HTMLElement>();
  const set = (label: string, value: string): void => {
    let place = values.get(label);
    if (place === undefined) {
      place = h('dd', {});
      values.set(label, place);
      list.append(h('div', {}, h('dt', {}, label), place));
    }
    setText(place, value);
    if (place.parentElement !== null) place.parentElement.hidden = value === '';
  };

  return {
    element: list,
    update(camera) {
      const now = app.api.clock.now();
      const { source, recorded } = camera;
      const unplayable = (mime: string): string => (mime === '' ? '' : ` (${mime})`);
      const running = camera.state === 'running';
      set('State', `${stateWords(camera)}, for ${duration(now - ms(camera.since))}`);
      set('Why', running || camera.detail === stateWords(camera) ? '' : sentence(detailNow(camera, now)));
      const past = camera.state === 'archived';
      set('Source', past ? '' : source.kind === 'pull' ? `${source.url}${source.transport === undefined || source.transport === 'auto' ? '' : `, ${source.transport.toUpperCase()}`}` : 'Published to Rushes');
      set('Tracks', camera.tracks.map((track) => trackWords(track) + unplayable(trackPlays(track) ? '' : 'does not play in this browser')).join('; '));
      set('Bit rate', running ? bitrate(camera.bitrate) : '');
      set('Last frame', camera.lastFrame === null ? '' : age(now - ms(camera.lastFrame)));
      set('Recorded', recorded === null ? 'Nothing yet' : `${bytes(recorded.bytes)} since ${app.time.full(ms(recorded.from), now)}`);
      set('Access units', past ? '' : `${camera.unitsIn.toLocaleString('en-GB')} in, ${camera.unitsOut.toLocaleString('en-GB')} stored, ${camera.lost === 0 ? 'none lost' : `${camera.lost.toLocaleString('en-GB')} lost`}`);
      // A camera whose clock is wrong says so already.
      const estimated = running && camera.timesEstimated ? 'Estimated: the camera tells no time of its own yet, so pictures are dated by when they arrive' : '';
      set('Clock', sentence(camera.clockWarning ?? estimated));
    },
  };
}
