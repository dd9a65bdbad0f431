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
  /** Where the server takes RTSP, if it does. */
  rtspPort: number | null;
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

/** One of a camera's sources: what it is doing, and what its stream has. */
export interface SourceStatus {
  source: Source;
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
  /** Whether times are the server's estimate: the camera tells none of its own that could be used. */
  timesEstimated: boolean;
  tracks: Track[];
  recorded: Recorded | null;
}

/** The same view in fewer pixels. */
export interface SubSource extends SourceStatus {
  /** `NAME.sub` */
  stream: string;
}

/** A camera, with the state of its main source. */
export interface Camera extends SourceStatus {
  name: string;
  enabled: boolean;
  created: Timestamp;
  sub: SubSource | null;
}

/** How long a stream's recordings stay: what is in force, null for no bound. */
export interface Retention {
  hours: number | null;
  bytes: number | null;
  onFull: 'overwrite' | 'refuse';
  /** What the stream itself is set to; all else is as the server's configuration says. */
  set: ('hours' | 'bytes' | 'onFull')[];
}

/** What is absent stays; null is what the configuration says. */
export interface RetentionChange {
  hours?: number | 'unlimited' | null;
  bytes?: number | 'unlimited' | null;
  onFull?: 'overwrite' | 'refuse' | null;
}

/** A range that outlives retention. */
export interface Pin {
  id: string;
  from: Timestamp;
  to: Timestamp;
  note: string;
  created: Timestamp;
}

export interface Stream {
  name: string;
  arn: string;
  created: Timestamp;
  recorded: Recorded | null;
  tracks: Track[];
  /** The camera whose sub source is recorded here. */
  subOf: string | null;
  retention: Retention;
}

/** A stream that no camera sends to (any more), as a camera: its recordings can be watched like any others. */
export function archived(stream: Stream): Camera {
  return { name: stream.name, created: stream.created, enabled: true, sub: null, ...left(stream) };
}

/** What is left of a sub source. */
export function archivedSub(stream: Stream): SubSource {
  return { stream: stream.name, ...left(stream) };
}

function left({ created, recorded, tracks }: Stream): SourceStatus {
  return {
    recorded,
    tracks,
    source: { kind: 'push' },
    state: 'archived',
    detail: 'No camera sends to this stream',
    since: recorded?.to ?? created,
    lastFrame: recorded?.to ?? null,
    bitrate: 0,
    unitsIn: 0,
    unitsOut: 0,
    lost: 0,
    clockWarning: null,
    timesEstimated: false,
  };
}

export interface CreatedCamera extends Camera {
  /** For push: shown this once. */
  publishUrl?: string;
}

/** Where to fetch from: what is probed, and a sub source. */
export interface ProbeRequest {
  url: string;
  transport?: Transport;
  tlsInsecure?: boolean;
}

export interface ProbeResult {
  tracks: Track[];
  still: string | null;
  server: string | null;
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
  audio?: 'asIs' | 'aac' | 'aacOrOpus' | 'opus';
  expiresInSeconds?: number;
}

export interface PlaybackSession {
  url: string;
  expires: Timestamp;
}

export interface WatchToken {
  url: string;
  token: string;
  expires: Timestamp;
}

export interface Storage {
  used: number;
  free: number;
  total: number;
  bytesPerDay: number;
  daysLeft: number | null;
  limits: StorageLimits;
}

/** What holds for everything together. */
export interface StorageLimits {
  /** Bytes that all recordings may take; null for no bound. */
  total: number | null;
  /** Bytes that are left free on the disk. */
  freeFloor: number;
  /** Whether recordings go to an object store, so that the disk does not end them. */
  remote: boolean;
}

/** A timestamp as milliseconds since the epoch; NaN when it is none. */
export function ms(timestamp: Timestamp): Ms {
  return Date.parse(timestamp);
}
