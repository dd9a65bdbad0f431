// Beside each text file of dist/, the same compressed: the server hands it to whoever takes it, and spends nothing on that.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const DIST = fileURLToPath(new URL('dist', import.meta.url));
const TEXT = new Set(['.html', '.js', '.css', '.svg', '.json']);
/** Less is one packet anyway. */
const WORTHWHILE = 1024;

const files = (folder) => readdirSync(folder, { withFileTypes: true }).flatMap((one) => (one.isDirectory() ? files(join(folder, one.name)) : [join(folder, one.name)]));

for (const file of files(DIST)) {
  if (!TEXT.has(extname(file))) continue;
  const text = readFileSync(file);
  if (text.length < WORTHWHILE) continue;
  const br = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: text.length } };
  for (const [ending, packed] of [['.br', brotliCompressSync(text, br)], ['.gz', gzipSync(text, { level: 9 })]]) {
    if (packed.length < text.length) writeFileSync(file + ending, packed);
  }
}
