// What can go wrong with a call, as one class whose `message` is fit to be shown.

/** A call that did not succeed. `status` is 0 when no answer came at all. */
export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** Seconds the server asked us to wait, when it did. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
  }

  /** Whether the same call may well succeed later without anybody changing anything. */
  get transient(): boolean {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

const WORDS: Record<number, [string, string]> = {
  400: ['BadRequest', 'The server did not understand the request.'],
  401: ['NotAuthenticated', 'You are signed out.'],
  403: ['NotPermitted', 'You are not permitted to do that.'],
  404: ['NotFound', 'There is no such thing any more.'],
  409: ['Conflict', 'That is already taken.'],
  422: ['Unprocessable', 'The server could not use that.'],
  429: ['SlowDown', 'The server asks for fewer requests; try again in a moment.'],
  500: ['Internal', 'The server met an error of its own; its log says which.'],
  503: ['Unavailable', 'The server cannot do that at the moment.'],
};

/** The error that an answer of this status and body stands for; the body may be anything, HTML of a proxy included. */
export function errorFromAnswer(status: number, body: string, retryAfter: string | null = null): ApiError {
  const [code, message] = WORDS[status] ?? [
    status >= 500 ? 'Internal' : 'Unexpected',
    `The server answered ${status}, which this page does not understand.`,
  ];
  const wait = retryAfter !== null && /^\d+$/.test(retryAfter.trim()) ? Number(retryAfter) : null;
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === 'object' && parsed !== null && 'error' in parsed) {
      const error = (parsed as { error: unknown }).error;
      if (typeof error === 'object' && error !== null) {
        const given = error as { code?: unknown; message?: unknown };
        return new ApiError(
          status,
          typeof given.code === 'string' && given.code !== '' ? given.code : code,
          typeof given.message === 'string' && given.message !== '' ? sentence(given.message) : message,
          wait,
        );
      }
    }
  } catch {
    // Not JSON: the status says what there is to say.
  }
  return new ApiError(status, code, message, wait);
}

/** The error for a call that got no answer: the network, a refusal to connect, or our own time limit. */
export function errorFromFailure(cause: unknown, timedOut: boolean): ApiError {
  if (cause instanceof ApiError) return cause;
  if (timedOut) return new ApiError(0, 'TimedOut', 'The server did not answer in time.');
  return new ApiError(0, 'Network', 'The server cannot be reached.');
}

/** Any thrown value in words. */
export function inWords(error: unknown): string {
  if (error instanceof ApiError) return error.message;
  if (error instanceof Error && error.message !== '') return sentence(error.message);
  return 'Something went wrong.';
}

/** Whether this is our own cancelling of a call, which nobody needs to hear about. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

/** Server messages start in lower case and have no full stop; on the page they are sentences. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '') return '';
  const first = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…:]$/.test(first) ? first : `${first}.`;
}
