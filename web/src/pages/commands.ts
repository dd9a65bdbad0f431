// The commands that publish to Rushes, ready to be copied.

import type { SessionInfo } from '../api/types';

export interface PublishCommand {
  title: string;
  note?: string;
  command: string;
}

/** An argument for a POSIX shell. */
export function shellQuote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

const sendFile = (url: string): string => `ffmpeg -re -stream_loop -1 -i FILE.mp4 -c copy -f rtsp -rtsp_transport tcp ${shellQuote(url)}`;

/** Sends a file to `yard` with the key that signed in; null where the server takes no RTSP. `hostname`: as in the page's address. */
export function ownKeyCommand(session: SessionInfo | null, hostname: string): string | null {
  if (session === null || session.rtspPort === null) return null;
  const host = hostname.includes(':') ? `[${hostname.replace(/[[\]]/g, '')}]` : hostname;
  return sendFile(`rtsp://${session.accessKeyId}:SECRET@${host}:${session.rtspPort}/yard`);
}

export function publishCommands(url: string): PublishCommand[] {
  const quoted = shellQuote(url);
  return [
    {
      title: 'FFmpeg, a file',
      note: 'Sends the file as it is, at the speed it plays.',
      command: sendFile(url),
    },
    {
      title: 'FFmpeg, a webcam',
      note: 'Linux; a key frame every two seconds, no added delay.',
      command: `ffmpeg -f v4l2 -framerate 30 -i /dev/video0 -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 60 -f rtsp -rtsp_transport tcp ${quoted}`,
    },
    {
      title: 'GStreamer',
      note: 'Needs rtspclientsink (the package gstreamer1.0-rtsp on Debian).',
      command: `gst-launch-1.0 v4l2src ! videoconvert ! x264enc tune=zerolatency key-int-max=60 ! h264parse ! rtspclientsink protocols=tcp location=${quoted}`,
    },
    {
      title: 'OBS',
      note: 'Settings, Output, Advanced, Recording. Type: Custom Output (FFmpeg). Output to URL, container format rtsp, video encoder libx264, audio encoder aac. Then “Start Recording”. The address:',
      command: url,
    },
  ];
}
