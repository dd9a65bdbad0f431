// The /v1 calls of docs/api.md, and the page itself.

import { createReadStream, existsSync, statSync } from 'node:fs';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { answerHls } from './hls.mjs';
import { FRAGMENT } from './media.mjs';
import { iso, newTracks } from './state.mjs';

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const CSP = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; style-src 'self'";
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    Object.assign(this, { status, code });
  }
}

export function routes(state, media) {
  const stream = (name) => {
    const found = state.cameras.get(decodeURIComponent(name));
    if (!found) throw new Refusal(404, 'NotFound', `there is no video stream "${decodeURIComponent(name)}"`);
    return found;
  };
  const camera = (name) => {
    const found = state.cameras.get(decodeURIComponent(name));
    if (!found || found.state === 'gone') throw new Refusal(404, 'NotFound', `there is no camera "${decodeURIComponent(name)}"`);
    return found;
  };

  const table = [
    ['POST', /^\/v1\/session$/, async ({ body, response }) => {
      if (body.accessKeyId !== 'AKIAMOCK' || body.secretAccessKey !== 'secret') throw new Refusal(401, 'NotAuthenticated', 'the access key is not known, or the secret is another');
      const token = state.token();
      state.sessions.add(token);
      response.setHeader('Set-Cookie', `rushes_session=${token}; HttpOnly; SameSite=Strict; Path=/`);
    }],
    ['GET', /^\/v1\/session$/, async () => ({ principal: 'root', accessKeyId: 'AKIAMOCK', expires: iso(Date.now() + 86400_000), version: '0.1.0', rtspPort: 8554 })],
    ['DELETE', /^\/v1\/session$/, async ({ cookie }) => void state.sessions.delete(cookie)],
    ['GET', /^\/v1\/cameras$/, async () => ({ cameras: [...state.cameras.values()].filter((found) => found.state !== 'gone').map(state.show) })],
    ['POST', /^\/v1\/cameras\/probe$/, probe],
    ['POST', /^\/v1\/cameras$/, async ({ body }) => {
      if (!/^[\w.-]{1,256}$/.test(body.name)) throw new Refusal(400, 'BadRequest', 'a name is 1 to 256 of a-z A-Z 0-9 _ . -');
      if (state.cameras.has(body.name)) throw new Refusal(409, 'Conflict', `there is a camera "${body.name}" already`);
      const push = body.source.kind === 'push';
      const added = state.add(body.name, push ? body.source : { transport: 'auto', ...body.source, url: body.source.url.replace(/:[^:@/]*@/, ':***@') }, { state: push ? 'waiting' : 'connecting', detail: push ? 'Nobody publishes to this stream' : 'Asking the camera' });
      state.send('camera', state.show(added));
      if (!push) setTimeout(() => state.change(added, { state: 'running', tracks: newTracks }), 2500);
      return [201, { ...state.show(added), ...(push ? { publishUrl: publishUrl(body.name) } : {}) }];
    }],
    ['GET', /^\/v1\/cameras\/([^/]+)$/, async ({ match }) => state.show(camera(match[1]))],
    ['PATCH', /^\/v1\/cameras\/([^/]+)$/, async ({ match, body }) => {
      const found = camera(match[1]);
      if (body.source) found.source = { transport: 'auto', ...body.source, url: body.source.url.replace(/:[^:@/]*@/, ':***@') };
      state.change(found, body.enabled === false ? { enabled: false, state: 'stopped', detail: 'Disabled' } : { enabled: true, state: found.source.kind === 'push' ? 'waiting' : 'running', detail: '', ...(found.tracks.length ? {} : { tracks: newTracks }) });
      return state.show(found);
    }],
    ['POST', /^\/v1\/cameras\/([^/]+)\/publish-url$/, async ({ match }) => ({ publishUrl: publishUrl(camera(match[1]).name) })],
    ['DELETE', /^\/v1\/cameras\/([^/]+)$/, async ({ match, query }) => {
      const found = camera(match[1]);
      if (query.get('recordings') === 'delete' || found.spans.length === 0) state.cameras.delete(found.name);
      else state.change(found, { state: 'gone' });
      state.send('removed', { name: found.name });
    }],
    ['GET', /^\/v1\/streams$/, async () => ({ streams: [...state.cameras.values()].map(state.showStream) })],
    ['GET', /^\/v1\/streams\/([^/]+)$/, async ({ match }) => state.showStream(stream(match[1]))],
    ['PATCH', /^\/v1\/streams\/([^/]+)$/, async ({ match, body }) => {
      const found = stream(match[1]);
      const before = state.showStream(found).retention;
      const set = new Set(before.set);
      for (const [key, value] of Object.entries(body.retention)) {
        before[key] = value === 'unlimited' ? null : (value ?? (key === 'onFull' ? 'overwrite' : null));
        set[value === null ? 'delete' : 'add'](key);
      }
      state.retention.set(found.name, { ...before, set: [...set] });
      return state.showStream(found);
    }],
    ['GET', /^\/v1\/streams\/([^/]+)\/pins$/, async ({ match }) => ({ pins: state.pins.get(stream(match[1]).name) ?? [] })],
    ['POST', /^\/v1\/streams\/([^/]+)\/pins$/, async ({ match, body }) => {
      const { name } = stream(match[1]);
      const pin = { id: state.token(), from: body.from, to: body.to, note: body.note ?? '', created: iso(Date.now()) };
      state.pins.set(name, [...(state.pins.get(name) ?? []), pin]);
      return [201, pin];
    }],
    ['DELETE', /^\/v1\/streams\/([^/]+)\/pins\/(\w+)$/, async ({ match }) => {
      const { name } = stream(match[1]);
      state.pins.set(name, (state.pins.get(name) ?? []).filter(({ id }) => id !== match[2]));
    }],
    ['DELETE', /^\/v1\/streams\/([^/]+)$/, async ({ match }) => void state.cameras.delete(stream(match[1]).name)],
    ['GET', /^\/v1\/streams\/([^/]+)\/timeline$/, async ({ match, query }) => {
      const found = stream(match[1]);
      const [from, to] = [Date.parse(query.get('from')), Date.parse(query.get('to'))];
      const spans = state.spans(found).map((span) => ({ from: span.from * FRAGMENT * 1000, to: span.to * FRAGMENT * 1000 }));
      const within = spans.filter((span) => span.to > from && span.from < to).map((span) => ({ from: iso(Math.max(from, span.from)), to: iso(Math.min(to, span.to)) }));
      return { from: iso(from), to: iso(to), now: iso(Date.now()), earliest: spans[0] ? iso(spans[0].from) : null, latest: spans.at(-1) ? iso(spans.at(-1).to) : null, spans: within };
    }],
    ['POST', /^\/v1\/streams\/([^/]+)\/sessions$/, async ({ match, body }) => {
      const found = stream(match[1]);
      if (found.spans.length === 0) throw new Refusal(404, 'NotFound', 'nothing is recorded');
      const token = state.token();
      const expires = Date.now() + state.ttl * 1000;
      const frames = body.frames ?? 'all';
      state.playbacks.set(token, { camera: found.name, from: body.from ? Date.parse(body.from) : null, to: body.to ? Date.parse(body.to) : null, frames, expires });
      return { url: `/hls/${token}/main.m3u8`, expires: iso(expires) };
    }],
    ['GET', /^\/v1\/streams\/([^/]+)\/still\.jpg$/, async ({ match, query, response }) => {
      const found = stream(match[1]);
      const at = query.has('at') ? Date.parse(query.get('at')) : Date.now();
      const number = Math.floor(at / (FRAGMENT * 1000));
      const span = state.spans(found).filter(({ from }) => from <= number).at(-1);
      if (!span) throw new Refusal(404, 'NoFrame', 'there is no frame at or before that');
      const shown = Math.min(number, span.to - 1);
      await sleep(30);
      response.writeHead(200, { 'Content-Type': 'image/jpeg', 'X-Rushes-Time': iso(shown * FRAGMENT * 1000), 'Cache-Control': 'no-cache' });
      response.end(found.loop.stills[shown % found.loop.length]);
    }],
    ['GET', /^\/v1\/storage$/, async () => state.storage()],
    ['GET', /^\/v1\/events$/, async ({ response }) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
      response.write(': hello\n\n');
      state.listeners.add(response);
      response.on('close', () => state.listeners.delete(response));
      response.write(`event: storage\ndata: ${JSON.stringify(state.storage())}\n\n`);
    }],
    ['POST', /^\/mock\/down$/, async ({ query }) => {
      state.downUntil = Date.now() + Number(query.get('seconds') ?? 5) * 1000;
      for (const listener of state.listeners) listener.destroy();
    }],
    ['POST', /^\/mock\/drop$/, async () => state.listeners.forEach((listener) => listener.destroy())],
    ['POST', /^\/mock\/expire$/, async () => state.playbacks.forEach((playback) => (playback.expires = 0))],
    ['POST', /^\/mock\/state$/, async ({ query }) => state.change(camera(query.get('camera')), { state: query.get('state'), detail: query.get('detail') ?? '' })],
  ];

  async function probe({ body, response }) {
    const url = String(body.url);
    let gone = false;
    response.on('close', () => (gone = true));
    for (let waited = 0; waited < (url.includes('slow') ? 12_000 : 900) && !gone; waited += 100) await sleep(100);
    if (url.includes('locked') && !url.includes(':open@')) throw new Refusal(422, 'WrongCredentials', 'the camera asks for a user name and a password, and does not accept these');
    if (url.includes('dead')) throw new Refusal(422, 'Unreachable', 'nothing answers at that address: 10.0.0.99 port 554, connection refused');
    if (url.includes('nopath')) throw new Refusal(422, 'NoSuchPath', 'the camera answers, but has no stream at that path');
    const tracks = url.includes('265') ? [{ ...newTracks[0], codec: 'hvc1.1.6.L120.90', codecName: 'H.265', width: 2560, height: 1440, mime: 'video/mp4; codecs="hvc1.1.6.L120.90"' }] : newTracks;
    return { tracks, still: `data:image/jpeg;base64,${media.loops[0].stills[0].toString('base64')}`, server: 'Hipcam RealServer/V1.0', elapsedMs: 812 };
  }

  return async (request, response) => {
    const { pathname, searchParams: query } = new URL(request.url, 'http://mock');
    if (state.downUntil > Date.now() && /^\/(v1|hls)\//.test(pathname)) return refuse(response, new Refusal(503, 'Unavailable', 'the server is starting'));
    if (pathname.startsWith('/hls/')) return answerHls(state, pathname, response);
    const cookie = /rushes_session=(\w+)/.exec(request.headers.cookie ?? '')?.[1] ?? '';
    const entry = table.find(([method, pattern]) => method === request.method && pattern.test(pathname));
    if (!entry) {
      if (request.method === 'GET' && !pathname.startsWith('/v1')) return page(pathname, response);
      return refuse(response, new Refusal(404, 'NotFound', 'there is no such call'));
    }
    const [method, pattern, run] = entry;
    try {
      const signingIn = method === 'POST' && pathname === '/v1/session';
      if (pathname.startsWith('/v1') && !signingIn && !state.open && !state.sessions.has(cookie)) throw new Refusal(401, 'NotAuthenticated', 'sign in first');
      if (method !== 'GET' && pathname.startsWith('/v1') && request.headers['x-rushes-console'] !== '1') throw new Refusal(403, 'NotPermitted', 'the header X-Rushes-Console is missing');
      const body = method === 'GET' || method === 'DELETE' ? {} : await readJson(request);
      const result = await run({ request, response, query, body, cookie, match: pattern.exec(pathname) });
      if (response.headersSent) return;
      const [status, value] = Array.isArray(result) ? result : [result === undefined ? 204 : 200, result];
      response.writeHead(status, { 'Content-Type': 'application/json' });
      response.end(value === undefined ? undefined : JSON.stringify(value));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refuse(response, error);
    }
  };
}

function publishUrl(name) {
  return `rtsp://publish:k3-7Qm2vXr8LwzB5nTq9YhA1cJf4sGd6@127.0.0.1:8554/${name}`;
}

function refuse(response, { status, code, message }) {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ error: { code, message } }));
}

async function readJson(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  const text = Buffer.concat(parts).toString();
  return text === '' ? {} : JSON.parse(text);
}

function page(pathname, response) {
  const file = join(DIST, normalize(pathname === '/' ? '/index.html' : pathname));
  if (!file.startsWith(DIST) || !existsSync(file) || !statSync(file).isFile()) {
    response.writeHead(404).end('not found (npm run build first)');
    return;
  }
  response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream', 'Content-Security-Policy': CSP });
  createReadStream(file).pipe(response);
}
