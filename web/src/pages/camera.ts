// One camera: its picture, its timeline, and what there is to know about it.

import { ApiError, inWords, isAbort } from '../api/errors';
import type { Camera, Ms } from '../api/types';
import { archived } from '../api/types';
import type { App } from '../app/context';
import { listenForKeys } from '../app/keys';
import { formatRoute } from '../app/router';
import { detailNow, isAudio, stateTone, stateWords, whyNot } from '../app/words';
import { Controls } from '../player/controls';
import { JumpInput } from '../player/jump';
import { Player } from '../player/player';
import { Sound } from '../player/sound';
import { Stage } from '../player/stage';
import { playability } from '../player/support';
import type { Choice } from '../player/sources';
import { chooseSource, subOnly } from '../player/sources';
import { CameraRecordings } from '../timeline/recordings';
import { spanAt } from '../timeline/spans';
import { Timeline } from '../timeline/timeline';
import { copyText } from '../ui/copy';
import type { View } from '../ui/dom';
import { h, Scope, setAttribute, setText } from '../ui/dom';
import { icon } from '../ui/icons';
import { eachSecond } from '../ui/seconds';
import { cameraDetails } from './camera-details';
import { cameraMenu } from './camera-menu';
import { keepPanel } from './keep';
import { openExport, takeStill } from './take';

export function cameraPage(app: App, name: string, at: Ms | null): View {
  const scope = new Scope();
  let camera: Camera | undefined = app.store.camera(name);

  const recordings = new CameraRecordings(app.api, name, scope, () => timeline.recorded());
  /** Streams that this browser turned out not to play. */
  const failed = new Set<string>();
  const source = (moment: Ms | null): Choice => {
    if (camera === undefined) return { stream: name, sub: false, words: null };
    return chooseSource(camera, moment, app.api.clock.now(), { main: recordings.main, sub: recordings.sub, failed });
  };
  const knows = (moment: Ms): boolean => [recordings.main, recordings.sub].every((of) => of === null || (of.covered !== null && moment >= of.covered.from && moment <= of.covered.to));
  /** The stream of a moment's stills: these the server decodes, whatever the browser can. */
  const stillStream = (moment: Ms): string =>
    recordings.sub !== null && spanAt(recordings.main.spans, moment) === null && spanAt(recordings.sub.spans, moment) !== null ? `${name}.sub` : name;
  const stage: Stage = new Stage(app.api, name, () => player.source.stream, scope, () => player.retryNow());
  const player: Player = new Player(app.api, stage.video, {
    camera: () => camera,
    source,
    failed: (stream) => {
      failed.add(stream);
      return source(null).stream !== stream;
    },
    recordings: () => {
      const known = camera !== undefined && recordings.sub !== null && subOnly(camera, failed) ? recordings.sub : recordings;
      return known.covered === null ? null : { spans: known.spans, covered: known.covered };
    },
    opening: (moment) => {
      stage.cover(moment);
      timeline.reveal(moment ?? app.api.clock.now());
    },
    picture: () => stage.uncover(),
    changed: () => refresh(),
  });
  scope.add(() => player.dispose());
  const sound = new Sound(stage.video, () => refresh());
  const go = (moment: Ms): void => {
    timeline.reveal(moment);
    player.seek(moment);
  };
  const goLive = (): void => {
    timeline.reveal(app.api.clock.now());
    player.goLive();
  };
  const fullscreen = (): void => void toggleFullscreen(theatre, stage.video);
  const controls = new Controls({ app, player, sound, goLive, fullscreen });
  const jump = new JumpInput({ app, position: () => player.position, earliest: () => recordings.earliest, go });
  const timeline = new Timeline({ api: app.api, time: app.time, recordings, stream: stillStream, seek: (moment) => player.seek(moment) }, at, jump.element);
  scope.add(() => timeline.dispose());

  // The head of the page.
  const badge = h('span', { class: 'badge' });
  const more = h('button', { type: 'button', class: 'button quiet icon-only', 'aria-label': `More about ${name}`, 'aria-haspopup': 'menu' }, icon('more'));
  more.addEventListener('click', () => camera && cameraMenu(app, camera, more));
  const still = h('button', { type: 'button', class: 'button quiet icon-only', 'aria-label': 'Save this picture', title: 'Save this picture (S)', 'data-testid': 'take-still' }, icon('still'));
  const take = (): void => void takeStill(app, name, stage.video, player.position);
  still.addEventListener('click', take);
  const clip = h('button', { type: 'button', class: 'button quiet icon-only', 'aria-label': 'Export a clip', title: 'Export a clip', 'data-testid': 'export-clip' }, icon('download'));
  clip.addEventListener('click', () => openExport(app, player.source.stream, timeline.shown));
  const copyLink = h('button', { type: 'button', class: 'button quiet icon-only', 'aria-label': 'Copy a link to this moment', title: 'Copy a link to this moment' }, icon('link'));
  copyLink.addEventListener('click', () => {
    const link = new URL(formatRoute({ page: 'camera', name, at: player.position }), location.href).href;
    void copyText(link).then((done) => app.toast(done ? 'A link to this moment is on the clipboard.' : link));
  });
  const details = cameraDetails(app);
  const keep = keepPanel(app, () => timeline.shown, go, scope);
  const note = h('p', { class: 'source-note', role: 'status', 'data-testid': 'source-note', hidden: true });
  const desk = h('div', { class: 'desk' }, note, controls.element, timeline.element);
  const theatre = h('div', { class: 'theatre' }, stage.element, desk);
  const headEnd = h('div', { class: 'head-end' }, still, clip, copyLink, more);
  const below = h('div', { class: 'below' }, details.element, keep.element);
  const element = h(
    'main',
    { class: 'page camera-page', id: 'main' },
    h('header', { class: 'camera-head' }, h('a', { class: 'button quiet icon-only', href: '#/', 'aria-label': 'All cameras', title: 'All cameras (Esc)' }, icon('back')), h('h1', {}, name), badge, headEnd),
    theatre,
    below,
  );
  stage.element.addEventListener('click', (event) => event.target === stage.video && player.toggle());
  stage.element.addEventListener('dblclick', (event) => event.target === stage.video && fullscreen());
  hideWhenIdle(theatre, scope, () => player.phase === 'playing');

  const refresh = (): void => {
    const { phase, problem } = player;
    controls.update();
    jump.update();
    timeline.update(player.position, player.live);
    stage.busy(phase === 'opening' || phase === 'buffering');
    setAttribute(theatre, 'data-phase', phase);
    setAttribute(theatre, 'data-stream', player.source.stream);
    setText(note, player.source.words ?? '');
    note.hidden = player.source.words === null;
    if (problem !== null) {
      const seconds = problem.retryAt === null ? null : Math.max(0, Math.ceil((problem.retryAt - Date.now()) / 1000));
      // What the camera says counts down.
      stage.say(seconds === null ? (player.obstacle ?? problem.words) : `${problem.words} Trying again in ${seconds} s.`, seconds !== null);
    } else if (phase === 'ended') {
      stage.say(`The recording ends here. ${camera === undefined || camera.state === 'running' ? '' : whyNot(camera, app.api.clock.now())}`.trim());
    } else if (phase === 'buffering' && camera !== undefined && camera.state !== 'running' && (player.behind ?? 0) < 600_000) {
      stage.say(`No new picture. ${whyNot(camera, app.api.clock.now())}`);
    } else {
      stage.say(null);
    }
  };

  /** What counts while nothing else changes. */
  const tick = (): void => {
    if (camera === undefined) return;
    setAttribute(badge, 'title', detailNow(camera, app.api.clock.now()));
    details.update(camera);
  };

  const showCamera = (): void => {
    const next = app.store.camera(name);
    if (next === undefined) {
      if (camera !== undefined && app.store.loading === 'ready') {
        app.toast(`${name} was removed.`);
        app.router.go({ page: 'cameras' });
      }
      return;
    }
    camera = next;
    setText(badge, stateWords(camera));
    setAttribute(badge, 'class', `badge tone-${stateTone(camera)}`);
    const { tracks } = player.source.sub && camera.sub !== null ? camera.sub : camera;
    sound.available = tracks.some(isAudio) && playability(tracks).audio;
    recordings.cameraChanged(camera);
    player.cameraChanged();
    tick();
    keep.update(camera);
  };

  const begin = async (): Promise<void> => {
    try {
      // Known already when one comes from the list; else asked for, so that a codec that does not play is said at once.
      if (camera === undefined) {
        app.store.put(await known(app, name, scope.signal));
      }
    } catch (error) {
      if (isAbort(error)) return;
      const missing = error instanceof ApiError && error.status === 404;
      // Nothing to play, to keep or to change.
      if (missing) desk.hidden = below.hidden = headEnd.hidden = true;
      player.phase = 'problem';
      player.problem = { words: missing ? `There is no camera “${name}”.` : inWords(error), retryAt: null };
      return refresh();
    }
    camera = app.store.camera(name);
    if (scope.ended) return;
    showCamera();
    // Which source has the moment is part of what the timeline asks for anyway.
    if (at !== null && camera?.sub !== null) await until(() => knows(at) || scope.ended, 2000);
    if (!scope.ended) player.start(at);
  };

  // Who waits to try again need not once the server is known to be back.
  let { connected } = app.store;
  const reconnected = (): void => {
    if (app.store.connected && !connected && player.problem !== null && player.problem.retryAt !== null) player.retryNow();
    ({ connected } = app.store);
  };

  scope.add(app.store.subscribe(showCamera));
  scope.add(app.store.subscribe(reconnected));
  scope.every(250, refresh);
  eachSecond(scope, tick);
  listenForKeys(scope, {
    Space: () => player.toggle(),
    k: () => player.toggle(),
    j: () => player.step(-10_000),
    l: () => player.step(10_000),
    ArrowLeft: () => player.step(-5_000),
    ArrowRight: () => player.step(5_000),
    'Shift+ArrowLeft': () => player.step(-1_000),
    'Shift+ArrowRight': () => player.step(1_000),
    Home: () => recordings.earliest !== null && go(recordings.earliest),
    End: goLive,
    '+': () => timeline.zoomBy(-1),
    '=': () => timeline.zoomBy(-1),
    '-': () => timeline.zoomBy(1),
    '<': () => controls.changeSpeed(-1),
    '>': () => controls.changeSpeed(1),
    t: () => jump.focus(),
    f: fullscreen,
    m: () => sound.toggle(),
    s: take,
    Escape: () => document.fullscreenElement === null && app.router.go({ page: 'cameras' }),
  });
  void begin();
  return { element, title: name, dispose: () => scope.end() };
}

/** Waits for something, but not for long. */
async function until(check: () => boolean, most: Ms): Promise<void> {
  const end = performance.now() + most;
  while (!check() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 30));
}

/** The camera of this name, or the stream that one has left. */
async function known(app: App, name: string, signal: AbortSignal): Promise<Camera> {
  try {
    return await app.api.camera(name, signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    const stream = (await app.api.streams(signal)).find((candidate) => candidate.name === name);
    if (stream === undefined) throw error;
    return archived(stream);
  }
}

async function toggleFullscreen(theatre: HTMLElement, video: HTMLVideoElement): Promise<void> {
  try {
    if (document.fullscreenElement !== null) await document.exitFullscreen();
    else if (theatre.requestFullscreen !== undefined) await theatre.requestFullscreen();
    // iPhones let only the video itself fill the screen.
    else (video as HTMLVideoElement & { webkitEnterFullscreen?: () => void }).webkitEnterFullscreen?.();
  } catch {
    // The browser said no; there is nothing to add to that.
  }
}

/** In full screen the controls go away when nothing moves for a while. */
function hideWhenIdle(theatre: HTMLElement, scope: Scope, may: () => boolean): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const wake = (): void => {
    theatre.classList.remove('idle');
    clearTimeout(timer);
    timer = setTimeout(() => may() && document.fullscreenElement === theatre && theatre.classList.add('idle'), 3000);
  };
  for (const event of ['pointermove', 'pointerdown', 'keydown', 'fullscreenchange']) scope.listen(theatre, event, wake);
  scope.add(() => clearTimeout(timer));
}
