import { describe, expect, test } from 'vitest';
import type { SessionInfo } from '../src/api/types';
import { ownKeyCommand, publishCommands, shellQuote } from '../src/pages/commands';
import { checkName, checkUrl, splitUrl, suggestName } from '../src/pages/source-url';

describe('addresses', () => {
  test.each([
    ['rtsp://10.0.0.9/main', 'rtsp://10.0.0.9/main'],
    ['  RTSPS://cam.local:322/live?x=1 ', 'rtsps://cam.local:322/live?x=1'],
    ['rtsp://admin:p@ss@10.0.0.9:554/a@b', 'rtsp://admin:p@ss@10.0.0.9:554/a@b'],
    ['rtsp://[fe80::1]:554/x', 'rtsp://[fe80::1]:554/x'],
  ])('%s is one', (text, url) => {
    expect(checkUrl(text)).toEqual({ url });
  });

  test.each([
    ['', 'Paste'],
    ['10.0.0.9/main', 'rtsp://10.0.0.9/main'],
    ['http://10.0.0.9/', 'http://'],
    ['rtsp://', 'no host'],
    ['rtsp://:554/x', 'no host'],
    ['rtsp://10.0.0.9:port/x', 'not a host'],
    ['rtsp://10.0.0.9/a b', 'spaces'],
  ])('%s is none, and says why', (text, words) => {
    const checked = checkUrl(text);
    expect('problem' in checked && checked.problem).toContain(words);
  });

  test('a name and password typed beside it take the place of those within', () => {
    expect(checkUrl('rtsp://old:pw@10.0.0.9/x', 'ad min', "p@s:s/w'")).toEqual({ url: 'rtsp://ad%20min:p%40s%3As%2Fw%27@10.0.0.9/x' });
  });
});

test('an address without its user part', () => {
  expect(splitUrl('rtsp://ad%20min:***@10.0.0.9/main')).toEqual({ url: 'rtsp://10.0.0.9/main', user: 'ad min' });
  expect(splitUrl('rtsp://10.0.0.9/a@b')).toEqual({ url: 'rtsp://10.0.0.9/a@b', user: '' });
});

describe('names', () => {
  test.each([
    ['rtsp://admin:x@10.0.0.44/driveway', 'driveway'],
    ['rtsp://10.0.0.44/Streaming/Channels/101', 'camera-44'],
    ['rtsp://front-door.local:554/live/main', 'front-door'],
    ['rtsp://[fe80::12]/h264', 'camera-12'],
    ['rtsp://host/caf%C3%A9%20bar', 'caf-bar'],
    ['rtsp://host/%zz', 'zz'],
  ])('%s suggests %s', (url, name) => {
    expect(suggestName(url, [])).toBe(name);
    expect(checkName(suggestName(url, []), [])).toBeNull();
  });

  test('a name that is taken gets a number', () => {
    expect(suggestName('rtsp://h/yard', ['yard', 'yard-2'])).toBe('yard-3');
  });

  test('what is wrong with one', () => {
    expect(checkName('yard', ['yard'])).toContain('already');
    expect(checkName('', [])).not.toBeNull();
    expect(checkName('a b', [])).toContain('A space');
    expect(checkName('a/b', [])).toContain('“/”');
    expect(checkName('x'.repeat(257), [])).toContain('256');
  });
});

test('one’s own key publishes to where the server listens', () => {
  const session = (rtspPort: number | null): SessionInfo => ({ principal: 'root', accessKeyId: 'AKIA7', expires: null, version: '0.1.0', rtspPort });
  expect(ownKeyCommand(session(18554), 'nvr.local')).toMatch(/ rtsp:\/\/AKIA7:SECRET@nvr\.local:18554\/yard$/);
  expect(ownKeyCommand(session(554), '[fe80::1]')).toMatch(/ 'rtsp:\/\/AKIA7:SECRET@\[fe80::1\]:554\/yard'$/);
  expect(ownKeyCommand(session(null), 'nvr.local')).toBeNull();
});

test('commands survive a shell', () => {
  expect(shellQuote('rtsp://k:s@h:8554/n')).toBe('rtsp://k:s@h:8554/n');
  expect(shellQuote("a'b$c")).toBe(`'a'\\''b$c'`);
  for (const { command } of publishCommands('rtsp://h/n?token=a&b')) expect(command).toMatch(/'rtsp:\/\/h\/n\?token=a&b'|^rtsp:/);
});
