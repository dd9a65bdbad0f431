import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

declare const process: { env: Record<string, string | undefined> };

// In development the page comes from Vite and everything else from a server: `npm run mock`, or a real `rushes serve`
// named by RUSHES_URL.
const server = process.env.RUSHES_URL ?? 'http://127.0.0.1:4599';

/** Lets the browser fetch hls.js beside the page's own code: whoever opens the console will play something. */
const preloadPlayer: Plugin = {
  name: 'preload-player',
  transformIndexHtml: {
    order: 'post',
    handler(_, { bundle }) {
      return Object.keys(bundle ?? {})
        .filter((name) => /hls-[^/]*\.js$/.test(name))
        .map((name) => ({ tag: 'link', attrs: { rel: 'modulepreload', crossorigin: true, href: `/${name}` }, injectTo: 'head' }));
    },
  },
};

export default defineConfig({
  plugins: [preloadPlayer],
  build: {
    target: 'es2022',
    sourcemap: false,
    // The server's Content-Security-Policy admits no data: URLs but for images, so every asset is a file of its own.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    // Nothing that runs ES2022 lacks it, and it would be an inline fetch helper in every chunk.
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: Object.fromEntries(
      ['/v1', '/hls', '/whep', '/whip', '/login', '/healthz', '/readyz'].map((path) => [path, { target: server, changeOrigin: false }]),
    ),
  },
  test: { include: ['test/**/*.test.ts'], environment: 'node' },
});
