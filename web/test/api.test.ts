import { describe, expect, test, vi } from 'vitest';
import { backoff } from '../src/api/backoff';
import { Api } from '../src/api/client';
import { ServerClock } from '../src/api/clock';
import { ApiError, errorFromAnswer, inWords, isAbort } from '../src/api/errors';

describe('errors', () => {
  test('the server’s own words, as a sentence', () => {
    const error = errorFromAnswer(404, '{"error":{"code":"NotFound","message":"there is no camera \\"door\\""}}');
    expect(error).toMatchObject({ status: 404, code: 'NotFound', message: 'There is no camera "door".', transient: false });
  });

  test.each([
    [502, '<html>Bad Gateway</html>', 'Internal', true],
    [503, '', 'Unavailable', true],
    [429, '{"error":{}}', 'SlowDown', true],
    [403, '{"error":"no"}', 'NotPermitted', false],
    [418, 'null', 'Unexpected', false],
    [500, '{"error":{"code":"","message":7}}', 'Internal', true],
  ])('%d with a strange body', (status, body, code, transient) => {
    const error = errorFromAnswer(status, body);
    expect(error).toMatchObject({ status, code, transient });
    expect(error.message).toMatch(/\.$/);
  });

  test('how long to wait', () => {
    expect(errorFromAnswer(429, '', '7').retryAfter).toBe(7);
    expect(errorFromAnswer(429, '', 'Tue, 24 Nov 2026 06:00:00 GMT').retryAfter).toBeNull();
  });

  test('anything thrown has words', () => {
    expect(inWords(new ApiError(0, 'Network', 'The server cannot be reached.'))).toBe('The server cannot be reached.');
    expect(inWords(new Error('disk is on fire'))).toBe('Disk is on fire.');
    expect(inWords(undefined)).toBe('Something went wrong.');
  });
});

describe('calls', () => {
  const answering = (status: number, body: unknown, headers: Record<string, string> = {}) =>
    vi.fn(async (_: RequestInfo | URL, init?: RequestInit) => {
      void init;
      return new Response(status === 204 ? null : JSON.stringify(body), { status, headers });
    });

  test('a change carries the console’s header, a question does not', async () => {
    const fetcher = answering(200, { cameras: [] });
    const api = new Api(fetcher);
    await api.cameras();
    await api.changeCamera('a b', { enabled: false });
    const [question, change] = fetcher.mock.calls;
    expect(question?.[1]?.headers).not.toHaveProperty('X-Rushes-Console');
    expect(change?.[0]).toBe('/v1/cameras/a%20b');
    expect(change?.[1]?.headers).toMatchObject({ 'X-Rushes-Console': '1', 'Content-Type': 'application/json' });
    expect(change?.[1]?.body).toBe('{"enabled":false}');
  });

  test('an expired session is reported once for each refused call, but not for signing in', async () => {
    const api = new Api(answering(401, { error: { code: 'NotAuthenticated', message: 'sign in' } }));
    const signedOut = vi.fn();
    api.onSignedOut = signedOut;
    await expect(api.signIn('AKIA', 'wrong')).rejects.toMatchObject({ status: 401 });
    await expect(api.session()).rejects.toMatchObject({ status: 401 });
    expect(signedOut).not.toHaveBeenCalled();
    await expect(api.cameras()).rejects.toMatchObject({ status: 401 });
    expect(signedOut).toHaveBeenCalledTimes(1);
  });

  test('no answer is an error in words', async () => {
    const api = new Api(async () => {
      throw new TypeError('fetch failed');
    });
    await expect(api.storage()).rejects.toMatchObject({ status: 0, code: 'Network', transient: true });
  });

  test('an answer that never comes ends by itself', async () => {
    vi.useFakeTimers();
    const api = new Api((_, init) => new Promise((__, reject) => init?.signal?.addEventListener('abort', () => reject(new DOMException('', 'AbortError')))));
    const call = expect(api.storage()).rejects.toMatchObject({ status: 0, code: 'TimedOut' });
    await vi.advanceTimersByTimeAsync(20_000);
    await call;
    vi.useRealTimers();
  });

  test('our own cancelling stays an abort', async () => {
    const api = new Api((_, init) => new Promise((__, reject) => init?.signal?.addEventListener('abort', () => reject(new DOMException('', 'AbortError')))));
    const cancel = new AbortController();
    const call = api.probe({ url: 'rtsp://x' }, cancel.signal);
    cancel.abort();
    expect(isAbort(await call.catch((error: unknown) => error))).toBe(true);
  });

  test('an answer that is not JSON is an error in words', async () => {
    const api = new Api(async () => new Response('<html>', { status: 200 }));
    await expect(api.storage()).rejects.toBeInstanceOf(ApiError);
  });

  test('the addresses of stills', () => {
    const api = new Api(answering(200, {}));
    expect(api.stillUrl('yard')).toBe('/v1/streams/yard/still.jpg');
    expect(api.stillUrl('yard', { at: Date.parse('2026-11-24T06:00:00Z'), width: 320 })).toBe('/v1/streams/yard/still.jpg?at=2026-11-24T06%3A00%3A00.000Z&width=320');
  });
});

describe('the server’s clock', () => {
  test('answers narrow it down', () => {
    // The server is 5,250 ms ahead; each round trip takes 40 ms.
    let local = 1_000_000;
    const clock = new ServerClock(() => local);
    expect(clock.now()).toBe(local);
    for (let index = 0; index < 40; index += 1) {
      local += 777;
      const sent = local;
      local += 40;
      const shown = Math.floor((sent + 20 + 5250) / 1000) * 1000;
      clock.observe(shown, sent, local, 1000);
      expect(Math.abs(clock.offset - 5250)).toBeLessThanOrEqual(clock.uncertainty + 1);
    }
    expect(Math.abs(clock.offset - 5250)).toBeLessThan(60);
  });

  test('one precise answer is enough', () => {
    const clock = new ServerClock(() => 0);
    clock.observe(70_000, 1000, 1010, 1);
    expect(clock.offset).toBeCloseTo(68_995, -1);
  });

  test('a clock that was set starts anew', () => {
    const clock = new ServerClock(() => 0);
    clock.observe(70_000, 1000, 1010, 1);
    clock.observe(5000, 2000, 2010, 1);
    expect(clock.offset).toBeCloseTo(2995, -1);
  });

  test('nonsense is not taken', () => {
    const clock = new ServerClock(() => 0);
    clock.observe(Number.NaN, 0, 10, 1000);
    expect(clock.offset).toBe(0);
  });
});

test('backing off doubles, up to half a minute, with chance in it', () => {
  expect([0, 1, 2, 3].map((attempt) => backoff(attempt, () => 1))).toEqual([1000, 2000, 4000, 8000]);
  expect(backoff(3, () => 0)).toBe(4000);
  expect(backoff(1000, () => 1)).toBe(30_000);
});
