// The shapes of the `/v1` API, as docs/api.md gives them. Times are RFC 3339 strings here; `ms()` makes them numbers.

/** RFC 3339 in UTC, microseconds. */
export type Timestamp = string;

/** Milliseconds since the Unix epoch (fractions allowed). */
export type Ms = number;

export interface SessionInfo {
  principal: string;
  accessKeyId: string;
  expires: Timestamp | null;
  version: string;
}

export interface VideoTrack {
  id: number;
  kind: 'video';
  codec: string;
  codecName: string;
  width: number;
  height: number;
  fps?: number | null;
  mime: string | null;
}

export interface AudioTrack {
  id: number;
  kind: 'audio';
  codec: string;
  codecName: string;
  rate: number;
  channels: number;
  mime: string | null;
}

export type Track = VideoTrack | AudioTrack;

export type Transport = 'auto' | 'tcp' | 'udp';

export interface PullSource {
  kind: 'pull';
  url: string;
  transport?: Transport;
  tlsInsecure?: boolean;
}

export interface PushSource {
  kind: 'push';
}

export type Source = PullSource | PushSource;

export type CameraState =
  | 'connecting'
  | 'running'
  | 'stalled'
  | 'failed'
  | 'rejected'
  | 'stopped'
  | 'waiting'
  /** Ours alone: a stream with recordings and without a camera, shown among the cameras. */
  | 'archived';

export interface Recorded {
  from: Timestamp;
  to: Timestamp;
  bytes: number;
}

export interface Camera {
  name: string;
  source: Source;
  enabled: boolean;
  created: Timestamp;
  state: CameraState;
  detail: string;
  since: Timestamp;
  lastFrame: Timestamp | null;
  /** Bits a second. */
  bitrate: number;
  unitsIn: number;
  unitsOut: number;
  lost: number;
  clockWarning: string | null;
  tracks: Track[];
  recorded: Recorded | null;
}

export interface Stream {
  name: string;
  arn: string;
  created: Timestamp;
  recorded: Recorded | null;
  tracks: Track[];
}

/** A stream that no camera sends to (any more), as a camera: its recordings can be watched like any others. */
export function archived({ name, created, recorded, tracks }: Stream): Camera {
  return {
    name,
    created,
    recorded,
    tracks,
    source: { kind: 'push' },
    enabled: true,
    state: 'archived',
    detail: 'No camera sends to this stream',
    since: recorded?.to ?? created,
    lastFrame: recorded?.to ?? null,
    bitrate: 0,
    unitsIn: 0,
    unitsOut: 0,
    lost: 0,
    clockWarning: null,
  };
}

export interface CreatedCamera extends Camera {
  /** For push: shown this once. */
  publishUrl?: string;
}

export interface ProbeRequest {
  url: string;
  transport?: Transport;
  tlsInsecure?: boolean;
}

export interface ProbeResult {
  tracks: Track[];
  still: string | null;
  server: string;
  elapsedMs: number;
}

export interface Span {
  from: Timestamp;
  to: Timestamp;
}

export interface Timeline {
  from: Timestamp;
  to: Timestamp;
  now: Timestamp;
  earliest: Timestamp | null;
  latest: Timestamp | null;
  spans: Span[];
}

export interface SessionRequest {
  protocol: 'hls';
  mode?: 'live' | 'event' | 'onDemand';
  from?: Timestamp;
  to?: Timestamp;
  by?: 'server' | 'producer';
  frames?: 'all' | 'key';
  /** Sound that MP4 has no form for (G.711) as AAC; left out otherwise. */
  audio?: 'asIs' | 'aac';
  expiresInSeconds?: number;
}

export interface PlaybackSession {
  url: string;
  expires: Timestamp;
}

export interface Storage {
  used: number;
  free: number;
  total: number;
  bytesPerDay: number;
  daysLeft: number | null;
}

/** A timestamp as milliseconds since the epoch; NaN when it is none. */
export function ms(timestamp: Timestamp): Ms {
  return Date.parse(timestamp);
}
