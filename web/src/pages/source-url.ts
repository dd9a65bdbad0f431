// Addresses of cameras, as people paste them.

export type Checked = { url: string } | { problem: string };

/** The address to probe, with the name and password put in where they belong; or what is wrong with it, in words. */
export function checkUrl(text: string, user = '', password = ''): Checked {
  const trimmed = text.trim();
  if (trimmed === '') return { problem: 'Paste the camera’s address; it begins with rtsp:// or rtsps://.' };
  if (/\s/.test(trimmed)) return { problem: 'An address has no spaces in it.' };
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(trimmed)?.[1]?.toLowerCase();
  if (scheme === undefined) return { problem: `An address begins with rtsp://; perhaps rtsp://${trimmed}?` };
  if (scheme !== 'rtsp' && scheme !== 'rtsps') {
    return { problem: `Rushes fetches from rtsp:// and rtsps:// addresses, not from ${scheme}://. The camera’s manual names its RTSP address.` };
  }
  const rest = trimmed.slice(scheme.length + 3);
  // The host is after the last @ before the path: passwords are pasted with @ in them as they are.
  const authority = rest.split(/[/?#]/, 1)[0] ?? '';
  const at = authority.lastIndexOf('@');
  const host = authority.slice(at + 1);
  if (host === '' || host.startsWith(':')) return { problem: 'The address names no host.' };
  if (!/^(\[[0-9a-f:.%]+\]|[^:[\]]+)(:\d{1,5})?$/i.test(host)) return { problem: `“${host}” is not a host, with or without a port.` };
  if (user === '') return { url: `${scheme}://${rest}` };
  return { url: `${scheme}://${encode(user)}:${encode(password)}@${rest.slice(at + 1)}` };
}

/** An address without its user part, and the user's name out of it. */
export function splitUrl(url: string): { url: string; user: string } {
  const found = /^([a-z]+:\/\/)([^/?#]*)@(.*)$/i.exec(url);
  if (found === null) return { url, user: '' };
  const [, scheme = '', credentials = '', rest = ''] = found;
  const name = credentials.split(':', 1)[0] ?? '';
  try {
    return { url: scheme + rest, user: decodeURIComponent(name) };
  } catch {
    return { url: scheme + rest, user: name };
  }
}

/** A name to begin with: the host, or what the path says beyond the usual words. */
export function suggestName(url: string, taken: readonly string[]): string {
  const rest = url.replace(/^[a-z]+:\/\//i, '').replace(/^[^/?#]*@/, '');
  const host = (rest.split(/[/?#]/, 1)[0] ?? '').replace(/:\d+$/, '').replace(/[[\]]/g, '');
  const words = (rest.split(/[?#]/, 1)[0] ?? '')
    .split('/')
    .slice(1)
    .map(clean)
    .filter((word) => word.length > 1 && !/^\d+$/.test(word) && !USUAL.test(word));
  const numeric = /^[\d.]+$/.test(host) || host.includes(':');
  const base = words.at(-1) ?? (numeric ? `camera-${clean(host.replaceAll(':', '.')).split('.').at(-1) ?? ''}` : clean(host.split('.')[0] ?? ''));
  const name = base.replace(/-+$/, '').slice(0, 64) || 'camera';
  let free = name;
  for (let count = 2; taken.includes(free); count += 1) free = `${name}-${count}`;
  return free;
}

/** What is wrong with a name, in words; null when nothing is. */
export function checkName(name: string, taken: readonly string[]): string | null {
  if (name === '') return 'Give the camera a name.';
  if (name.length > 256) return 'A name has at most 256 characters.';
  const odd = /[^A-Za-z0-9_.-]/.exec(name)?.[0];
  if (odd !== undefined) return `${odd === ' ' ? 'A space' : `“${odd}”`} cannot be in a name; use letters, digits, and _ . -`;
  return taken.includes(name) ? `There is a “${name}” already.` : null;
}

const USUAL = /^(live|main|sub|stream\w*|h26[45]|mpeg4|video\w*|media|onvif\w*|cam|channels?|ch\d+|profile\w*|axis-media|media\.amp|av\w*|unicast|tracks?|user.*|cam\/realmonitor|realmonitor|defaultprimary|11|12)$/i;

function clean(text: string): string {
  let decoded = text;
  try {
    decoded = decodeURIComponent(text);
  } catch {
    // A stray per cent sign: as it is, then.
  }
  return decoded.replace(/[^A-Za-z0-9_.-]+/g, '-').replace(/^-+|-+$/g, '');
}

/** Percent-encoded for the user part of an address: more strictly than encodeURIComponent, whose ' ( ) * ! shells dislike. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}
