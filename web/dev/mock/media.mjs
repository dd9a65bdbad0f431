// The pictures: loops of two-second fMP4 fragments, one still each, and the same with key frames alone.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Seconds of a fragment. */
export const FRAGMENT = 2;

const SOURCES = [
  ['-f', 'lavfi', '-i', 'testsrc2=size=960x540:rate=15:duration=40'],
  ['-f', 'lavfi', '-i', 'smptehdbars=size=960x540:rate=15:duration=40,hue=H=2*PI*t/40'],
];

/** Makes the loops, from these files first and from test sources for the rest. */
export async function prepareMedia(files) {
  const folder = mkdtempSync(join(tmpdir(), 'rushes-mock-'));
  const sources = SOURCES.map((source, index) => (files[index] ? ['-t', '60', '-i', files[index]] : source));
  const loops = await Promise.all(sources.map((source, index) => makeLoop(folder, index, source, Boolean(files[index]))));
  return { loops, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

async function makeLoop(folder, index, source, real) {
  const stamp = real ? '' : ",drawtext=text='%{pts\\:hms}':fontsize=48:fontcolor=white:box=1:boxcolor=black@0.5:x=40:y=h-90";
  const video = ['-c:v', 'libx264', '-preset', 'veryfast', '-crf', '26', '-pix_fmt', 'yuv420p'];
  const hls = (name) => [
    '-f', 'hls', '-hls_time', String(FRAGMENT), '-hls_list_size', '0', '-hls_segment_type', 'fmp4',
    '-hls_fmp4_init_filename', `${name}-init.mp4`, '-hls_segment_filename', join(folder, `${name}-%03d.m4s`), join(folder, `${name}.m3u8`),
  ];
  const quiet = ['-hide_banner', '-loglevel', 'error', '-y'];
  const all = `all${index}`;
  const key = `key${index}`;
  const sound = `sound${index}`;
  await run('ffmpeg', [...quiet, ...source, '-map', '0:v', '-vf', `fps=15${stamp}`, ...video, '-g', '30', '-keyint_min', '30', '-sc_threshold', '0', ...hls(all)]);
  await run('ffmpeg', [...quiet, ...source, '-map', '0:v', '-vf', `fps=15${stamp},fps=1/${FRAGMENT}:round=down`, ...video, '-g', '1', ...hls(key)]);
  await run('ffmpeg', [...quiet, ...source, '-map', '0:v', '-vf', `fps=15${stamp},fps=1/${FRAGMENT}:round=down,scale=960:-2`, '-q:v', '5', join(folder, `still${index}-%03d.jpg`)]);
  await run('ffmpeg', [...quiet, '-f', 'lavfi', '-i', 'sine=frequency=330:duration=40', '-c:a', 'aac', '-ar', '48000', '-b:a', '64k', ...hls(sound)]);

  const read = (prefix, suffix) =>
    readdirSync(folder).filter((name) => name.startsWith(prefix) && name.endsWith(suffix) && !name.includes('init')).sort().map((name) => readFileSync(join(folder, name)));
  const track = (name) => {
    const init = readFileSync(join(folder, `${name}-init.mp4`));
    return { init, timescale: timescale(init), fragments: read(`${name}-`, '.m4s') };
  };
  const loop = { all: track(all), key: track(key), sound: track(sound), stills: read(`still${index}-`, '.jpg') };
  // The last fragment may be short: every loop uses full ones only.
  loop.length = Math.min(loop.all.fragments.length, loop.key.fragments.length, loop.stills.length) - 1;
  return loop;
}

function timescale(init) {
  const at = init.indexOf('mdhd') + 4;
  return init.readUInt32BE(at + (init[at] === 1 ? 20 : 12));
}

/** A copy of a fragment that begins at this time: its `tfdt` is written anew. */
export function retime(fragment, decodeTime) {
  const copy = Buffer.from(fragment);
  let at = copy.indexOf('tfdt');
  while (at >= 0 && at < copy.indexOf('mdat')) {
    if (copy[at + 4] === 1) copy.writeBigUInt64BE(BigInt(Math.round(decodeTime)), at + 8);
    else copy.writeUInt32BE(Math.round(decodeTime) >>> 0, at + 8);
    at = copy.indexOf('tfdt', at + 4);
  }
  return copy;
}
