// A stand-in for `rushes serve`, for working on the console: the /v1 API of docs/api.md over an invented timeline, and
// real HLS made from FFmpeg's test sources (or from files). Node alone, no packages.
//
//   node dev/mock.mjs [--port 4599] [--empty] [--open] [--ttl SECONDS] [--entries N] [--video FILE]...
//
// --open signs everybody in; otherwise the key is AKIAMOCK with the secret "secret". --empty starts without cameras.
// --entries is the most that a playlist holds.
// The page is served from dist/ under the same Content-Security-Policy as the real server's.
// To see bad days: POST /mock/down?seconds=5 (every call answers 503), /mock/drop (breaks the event feed),
// /mock/expire (ends every playback session), /mock/state?camera=yard&state=failed.

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';
import { prepareMedia } from './mock/media.mjs';
import { routes } from './mock/routes.mjs';
import { createState } from './mock/state.mjs';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '4599' },
    empty: { type: 'boolean', default: false },
    open: { type: 'boolean', default: false },
    ttl: { type: 'string', default: '3600' },
    entries: { type: 'string', default: '5000' },
    video: { type: 'string', multiple: true, default: [] },
  },
});

console.log('making the test pictures…');
const media = await prepareMedia(values.video);
const state = createState({ empty: values.empty, open: values.open, ttl: Number(values.ttl), entries: Number(values.entries), media });
const handle = routes(state, media);

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(request.method, request.url, error);
    if (!response.headersSent) response.writeHead(500, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ error: { code: 'Internal', message: String(error) } }));
  });
});
server.listen(Number(values.port), '127.0.0.1', () => console.log(`http://127.0.0.1:${values.port}/`));

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    media.remove();
    process.exit(0);
  });
}
