// The row of buttons under the picture, and what it says: the moment, and how far behind live that is.

import type { App } from '../app/context';
import { behind } from '../time/format';
import { h, setAttribute, setText } from '../ui/dom';
import type { IconName } from '../ui/icons';
import { icon } from '../ui/icons';
import { select } from '../ui/select';
import { SPEEDS } from './decide';
import { HOW } from './engine';
import type { Player } from './player';
import type { Sound } from './sound';

export interface ControlsOptions {
  app: App;
  player: Player;
  sound: Sound;
  goLive(): void;
  fullscreen(): void;
}

export class Controls {
  readonly element: HTMLElement;
  private readonly play: HTMLButtonElement;
  private readonly live = h('button', { type: 'button', class: 'live-button', 'data-testid': 'go-live' }, h('span', { class: 'live-dot' }), h('span', {}, 'Live'));
  private readonly near = h('button', { type: 'button', class: 'live-button', 'data-testid': 'near-live' }, 'WebRTC');
  private readonly moment = h('time', { class: 'moment' });
  private readonly how = h('span', { class: 'behind', 'data-testid': 'how' });
  private readonly behind = h('span', { class: 'behind', 'data-testid': 'behind-live' });
  private readonly speed = select({ 'aria-label': 'Speed', title: 'Speed (< and >)', 'data-testid': 'speed' }, SPEEDS.map((value) => [String(value), `${value}×`]));
  private readonly mute: HTMLButtonElement;
  private readonly volume = h('input', { type: 'range', class: 'volume', min: '0', max: '1', step: '0.05', 'aria-label': 'Volume' });
  private readonly soundBox: HTMLElement;
  private readonly full: HTMLButtonElement;
  private readonly pip: HTMLButtonElement;

  constructor(private readonly options: ControlsOptions) {
    const { player, sound } = options;
    const button = (name: IconName, label: string, run: () => void, extra = ''): HTMLButtonElement =>
      h('button', { type: 'button', class: `button quiet icon-only ${extra}`, 'aria-label': label, title: label, on: { click: run } }, icon(name));
    this.play = button('pause', 'Pause (space)', () => player.toggle());
    this.mute = button('volume', 'Sound off (M)', () => sound.toggle());
    this.full = button('fullscreen', 'Full screen (F)', options.fullscreen);
    this.pip = button('pip', 'Picture in picture', () => void this.togglePip(), 'pip-button');
    this.pip.hidden = !document.pictureInPictureEnabled;
    this.soundBox = h('div', { class: 'sound' }, this.mute, this.volume);
    this.live.addEventListener('click', options.goLive);
    this.near.addEventListener('click', () => player.setNear(!player.near.wanted));
    this.speed.input.addEventListener('change', () => player.setSpeed(Number(this.speed.input.value)));
    this.volume.addEventListener('input', () => sound.setVolume(Number(this.volume.value)));
    this.element = h(
      'div',
      { class: 'controls', role: 'group', 'aria-label': 'Playback' },
      h('div', { class: 'controls-play' }, button('back10', '10 seconds back (J)', () => player.step(-10_000)), this.play, button('forward10', '10 seconds on (L)', () => player.step(10_000))),
      h('div', { class: 'live-buttons' }, this.live, this.near),
      h('div', { class: 'where' }, this.moment, this.how, this.behind),
      h('div', { class: 'controls-end' }, this.speed.element, this.soundBox, this.pip, this.full),
    );
    this.update();
  }

  update(): void {
    const { app, player, sound } = this.options;
    const { position, live } = player;
    const playing = player.wantsPlay && player.phase !== 'ended' && player.phase !== 'problem';
    this.face(this.play, playing ? 'pause' : 'play', playing ? 'Pause (space)' : 'Play (space)');
    this.live.classList.toggle('on', live);
    setAttribute(this.live, 'aria-pressed', String(live));
    setAttribute(this.live, 'aria-label', live ? 'Live' : 'Go live (End)');
    setAttribute(this.live, 'title', live ? 'Live' : 'Go live (End)');

    const { possible, wanted } = player.near;
    this.near.hidden = !possible;
    this.near.classList.toggle('on', wanted);
    setAttribute(this.near, 'aria-pressed', String(wanted));
    setAttribute(this.near, 'title', wanted ? 'Live comes by WebRTC; press for HLS' : 'Live comes by HLS; press for WebRTC, which is nearer');
    setText(this.how, player.how === null ? '' : `by ${HOW[player.how]}`);

    setText(this.moment, position === null ? '' : app.time.full(position, app.api.clock.now()));
    setAttribute(this.moment, 'datetime', position === null ? null : new Date(position).toISOString());
    const late = player.behind;
    setText(this.behind, late === null ? '' : `${behind(late)} behind live`);

    const speed = String(player.speed);
    if (this.speed.input.value !== speed) this.speed.input.value = speed;
    this.soundBox.hidden = !sound.available;
    const silent = sound.muted || sound.volume === 0;
    this.face(this.mute, silent ? 'volumeOff' : 'volume', silent ? 'Sound on (M)' : 'Sound off (M)');
    const volume = String(sound.muted ? 0 : sound.volume);
    if (this.volume.value !== volume) this.volume.value = volume;
    const isFull = document.fullscreenElement !== null;
    this.face(this.full, isFull ? 'fullscreenOff' : 'fullscreen', isFull ? 'Leave full screen (F)' : 'Full screen (F)');
  }

  /** A step slower or faster. */
  changeSpeed(direction: -1 | 1): void {
    const { player } = this.options;
    const next = SPEEDS[SPEEDS.findIndex((speed) => speed === player.speed) + direction];
    if (next !== undefined) player.setSpeed(next);
  }

  private face(button: HTMLButtonElement, name: IconName, label: string): void {
    if (button.getAttribute('aria-label') === label) return;
    button.replaceChildren(icon(name));
    setAttribute(button, 'aria-label', label);
    setAttribute(button, 'title', label);
  }

  private async togglePip(): Promise<void> {
    const { app, player } = this.options;
    try {
      if (document.pictureInPictureElement === null) await player.video.requestPictureInPicture();
      else await document.exitPictureInPicture();
    } catch {
      app.toast('The browser does not allow a picture in picture here.', 'bad');
    }
  }
}
