// HLS of the invented recordings: fragment n of a camera is fragment n modulo the length of its loop, moved to its time.

import { FRAGMENT, retime } from './media.mjs';
import { iso } from './state.mjs';

const WINDOW = 300;

/** Answers a request below /hls/TOKEN/, or returns false. */
export function answerHls(state, path, response) {
  const [, , token, ...rest] = path.split('/');
  const playback = state.playbacks.get(token);
  if (!playback || playback.expires < Date.now()) return refuse(response, 403);
  const camera = state.cameras.get(playback.camera);
  if (!camera) return refuse(response, 404);
  const name = rest.join('/');
  const sound = playback.frames === 'all' && camera.tracks.some(({ codec }) => codec === 'mp4a.40.2');
  if (name === 'main.m3u8') return send(response, 'application/vnd.apple.mpegurl', main(sound), 'no-store');
  const list = /^(\d+)\.m3u8$/.exec(name);
  if (list) return send(response, 'application/vnd.apple.mpegurl', playlist(state, camera, playback, list[1]), 'no-store');
  const track = name.startsWith('2/') ? camera.loop.sound : camera.loop[playback.frames];
  if (/^\d+\/init-/.test(name)) return send(response, 'video/mp4', track.init);
  const fragment = /^\d+\/(\d+)\.m4s$/.exec(name);
  if (!fragment) return refuse(response, 404);
  const number = Number(fragment[1]);
  const base = Math.floor(state.started / 1000 / FRAGMENT) - 30 * 43200;
  const time = (number - base) * FRAGMENT * track.timescale;
  return send(response, 'video/mp4', retime(track.fragments[number % camera.loop.length], time));
}

function main(sound) {
  const audio = sound ? '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="AAC",DEFAULT=YES,AUTOSELECT=YES,URI="2.m3u8"\n' : '';
  const codecs = sound ? 'avc1.640020,mp4a.40.2' : 'avc1.640020';
  return `#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n${audio}#EXT-X-STREAM-INF:BANDWIDTH=2500000,CODECS="${codecs}",RESOLUTION=960x540${sound ? ',AUDIO="audio"' : ''}\n1.m3u8\n`;
}

function playlist(state, camera, playback, track) {
  const now = Math.floor(Date.now() / (FRAGMENT * 1000));
  const first = playback.from === null ? now - WINDOW : Math.floor(playback.from / (FRAGMENT * 1000));
  const numbers = [];
  const spans = state.spans(camera);
  let before = 0;
  for (const [index, span] of spans.entries()) {
    if (span.to <= first) before = index + 1;
    for (let number = Math.max(span.from, first); number < span.to && numbers.length < state.entries; number += 1) numbers.push([number, index]);
  }
  const lines = [
    '#EXTM3U', '#EXT-X-VERSION:7', `#EXT-X-TARGETDURATION:${FRAGMENT}`, `#EXT-X-MEDIA-SEQUENCE:${numbers[0]?.[0] ?? now}`,
    `#EXT-X-DISCONTINUITY-SEQUENCE:${before}`, `#EXT-X-MAP:URI="${track}/init-0.mp4"`,
  ];
  let last = before;
  for (const [number, index] of numbers) {
    if (index !== last) lines.push('#EXT-X-DISCONTINUITY');
    last = index;
    lines.push(`#EXT-X-PROGRAM-DATE-TIME:${iso(number * FRAGMENT * 1000)}`, `#EXTINF:${FRAGMENT.toFixed(5)},`, `${track}/${number}.m4s`);
  }
  if (playback.to !== null || (camera.state !== 'running' && playback.from !== null)) lines.push('#EXT-X-ENDLIST');
  return `${lines.join('\n')}\n`;
}

function send(response, type, body, cache = 'public, max-age=31536000, immutable') {
  response.writeHead(200, { 'Content-Type': type, 'Cache-Control': cache, 'Access-Control-Allow-Origin': '*' });
  response.end(body);
  return true;
}

function refuse(response, status) {
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ error: { code: status === 403 ? 'NotPermitted' : 'NotFound', message: 'this playback address has expired' } }));
  return true;
}
