// The invented house: its cameras, what each has recorded, who is signed in, which playback sessions there are.

import { randomBytes } from 'node:crypto';
import { FRAGMENT } from './media.mjs';

const HOUR = 3600_000;
const DAY = 24 * HOUR;

export const iso = (at) => new Date(at).toISOString().replace('Z', '000Z');

const H264 = { id: 1, kind: 'video', codec: 'avc1.640020', codecName: 'H.264', width: 960, height: 540, fps: 15, mime: 'video/mp4; codecs="avc1.640020"' };
const H265 = { id: 1, kind: 'video', codec: 'hvc1.1.6.L120.90', codecName: 'H.265', width: 2560, height: 1440, fps: 20, mime: 'video/mp4; codecs="hvc1.1.6.L120.90"' };
const AAC = { id: 2, kind: 'audio', codec: 'mp4a.40.2', codecName: 'AAC', rate: 48000, channels: 1, mime: 'audio/mp4; codecs="mp4a.40.2"' };
const G711 = { id: 2, kind: 'audio', codec: 'pcmu', codecName: 'G.711 µ-law', rate: 8000, channels: 1, mime: null };

export function createState({ empty, open, ttl, entries, media }) {
  const started = Date.now();
  const state = {
    open,
    ttl,
    entries,
    started,
    downUntil: 0,
    sessions: new Set(),
    playbacks: new Map(),
    listeners: new Set(),
    cameras: new Map(),
    // By stream: what was set, and what is pinned.
    retention: new Map(),
    pins: new Map(),
    token: () => randomBytes(12).toString('hex'),
  };

  state.add = (name, source, options = {}) => {
    const camera = {
      name,
      source,
      enabled: options.state !== 'stopped',
      created: iso(options.created ?? started),
      state: options.state ?? 'connecting',
      detail: options.detail ?? 'connecting',
      since: iso(options.since ?? Date.now()),
      tracks: options.tracks ?? [],
      loop: media.loops[options.loop ?? 0],
      bitrate: options.bitrate ?? 2_400_000,
      // Spans of fragment numbers (fragment n begins at n × 2 s since the epoch); the last is open while running.
      spans: options.spans ?? [],
      lost: options.lost ?? 0,
      clockWarning: options.clockWarning ?? null,
      timesEstimated: options.timesEstimated ?? false,
    };
    state.cameras.set(name, camera);
    return camera;
  };

  if (!empty) {
    const since = started - 20 * DAY;
    state.add('yard', pull('rtsp://admin:***@10.0.0.9/main'), { state: 'running', tracks: [H264, AAC], spans: history(since, started, 11), since: started - 9 * HOUR, created: since, bitrate: 2_412_000 });
    state.add('front-door', pull('rtsp://viewer:***@10.0.0.12:554/Streaming/Channels/101'), { state: 'running', loop: 1, tracks: [H264, G711], spans: history(since, started, 5), since: started - 3 * DAY, created: since, bitrate: 1_180_000, clockWarning: 'Its clock says 1970; the server’s time is used.' });
    state.add('loading-dock', pull('rtsp://10.0.0.31/live'), { state: 'failed', detail: '10.0.0.31 does not answer on port 554; trying again in 12 s', tracks: [H264], spans: history(since, started - 5 * HOUR, 3), since: started - 5 * HOUR, created: since });
    state.add('garage', pull('rtsp://admin:***@10.0.0.14/h264'), { state: 'rejected', detail: 'The camera does not accept the user name and password', since: started - 2 * DAY });
    state.add('north-gate', pull('rtsps://10.0.0.20/main'), { state: 'running', loop: 1, tracks: [H265], spans: history(started - DAY, started, 2), since: started - DAY, created: started - DAY, bitrate: 5_900_000 });
    state.add('stage', { kind: 'push' }, { state: 'waiting', detail: 'Nobody publishes to this stream', tracks: [H264, AAC], spans: history(started - 6 * DAY, started - 5.8 * DAY, 1), created: started - 6 * DAY });
    state.add('old-barn', pull('rtsp://10.0.0.77/main'), { state: 'stopped', detail: 'Disabled', since: started - 4 * DAY, tracks: [H264], spans: history(started - 12 * DAY, started - 4 * DAY, 4), created: since });
  }

  state.spans = (camera) => {
    const now = Math.floor(Date.now() / (FRAGMENT * 1000));
    return camera.spans.map((span) => ({ from: span.from, to: span.to ?? now }));
  };

  state.show = (camera) => {
    const spans = state.spans(camera);
    const last = spans.at(-1);
    const running = camera.state === 'running';
    const fragments = spans.reduce((sum, { from, to }) => sum + to - from, 0);
    const shown = { ...camera };
    delete shown.loop;
    delete shown.spans;
    return {
      sub: null,
      ...shown,
      detail: running ? `H.264 960×540, ${(camera.bitrate / 1e6).toFixed(1)} Mb/s` : camera.detail,
      lastFrame: running ? iso(Date.now() - 40 - Math.random() * 30) : last ? iso(last.to * FRAGMENT * 1000) : null,
      bitrate: running ? Math.round(camera.bitrate * (0.95 + Math.random() * 0.1)) : 0,
      unitsIn: fragments * 30,
      unitsOut: fragments * 30 - camera.lost,
      recorded: last ? { from: iso(spans[0].from * FRAGMENT * 1000), to: iso(last.to * FRAGMENT * 1000), bytes: Math.round(fragments * FRAGMENT * camera.bitrate / 8) } : null,
    };
  };

  state.showStream = (camera) => {
    const { name, created, recorded, tracks } = state.show(camera);
    return { name, arn: `arn:aws:kinesisvideo:eu-central-1:000000000000:stream/${name}/1`, created, recorded, tracks, subOf: null, retention: { hours: null, bytes: null, onFull: 'overwrite', set: [], ...state.retention.get(name) } };
  };

  state.change = (camera, change) => {
    const running = camera.state === 'running';
    const now = Math.floor(Date.now() / (FRAGMENT * 1000));
    Object.assign(camera, change, { since: iso(Date.now()) });
    if (running && camera.state !== 'running') {
      const last = camera.spans.at(-1);
      if (last) last.to ??= now;
    }
    if (!running && camera.state === 'running') camera.spans.push({ from: now, to: null });
    if (camera.state !== 'gone') state.send('camera', state.show(camera));
  };

  state.storage = () => {
    const used = [...state.cameras.values()].reduce((sum, camera) => sum + (state.show(camera).recorded?.bytes ?? 0), 0);
    const total = 2_000_000_000_000;
    const free = total - used - 180_000_000_000;
    const perDay = [...state.cameras.values()].reduce((sum, camera) => sum + (camera.state === 'running' ? (camera.bitrate / 8) * 86400 : 0), 0);
    return { used, free, total, bytesPerDay: Math.round(perDay), daysLeft: perDay > 0 ? free / perDay : null, limits: { total: null, freeFloor: 2 ** 31, remote: false } };
  };

  state.send = (event, data) => {
    for (const response of state.listeners) response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  };

  setInterval(() => {
    for (const camera of state.cameras.values()) if (camera.state === 'running') state.send('camera', state.show(camera));
  }, 2000).unref();
  setInterval(() => state.send('storage', state.storage()), 10_000).unref();

  return state;
}

export const newTracks = [H264, AAC];

function pull(url) {
  return { kind: 'pull', url, transport: 'auto' };
}

/** Spans from `from` to `to` with outages here and there; open at the end when that is now. */
function history(from, to, seed) {
  let random = seed * 7919;
  const next = () => (random = (random * 1103515245 + 12345) % 2147483648) / 2147483648;
  const spans = [];
  const fragment = (at) => Math.floor(at / (FRAGMENT * 1000));
  let at = from;
  while (at < to) {
    const end = Math.min(to, at + (2 + next() * 22) * HOUR);
    spans.push({ from: fragment(at), to: fragment(end) });
    at = end + (next() < 0.5 ? (1 + next() * 9) * 60_000 : (0.4 + next() * 4) * HOUR);
  }
  const last = spans.at(-1);
  if (last && Math.abs(to - Date.now()) < 1000) {
    // Two short outages in the last half hour, to have something to look at.
    spans.pop();
    spans.push({ from: Math.min(last.from, fragment(to - 3 * HOUR)), to: fragment(to - 21 * 60_000) }, { from: fragment(to - 18 * 60_000), to: fragment(to - 5 * 60_000) }, { from: fragment(to - 4 * 60_000), to: null });
  }
  return spans;
}
