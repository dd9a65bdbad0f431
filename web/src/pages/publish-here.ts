// This browser's own camera, published by WHIP (docs/webrtc.md).

import { inWords } from '../api/errors';
import type { App } from '../app/context';
import { openDialog } from '../ui/dialog';
import { h, setText } from '../ui/dom';

/** Why there is no camera to be had, in words. */
function refused(error: unknown): string {
  if (error instanceof DOMException) {
    if (error.name === 'NotAllowedError') return 'The browser was not allowed to use the camera.';
    if (error.name === 'NotFoundError') return 'There is no camera here.';
    if (error.name === 'NotReadableError') return 'Another program uses the camera.';
  }
  return inWords(error);
}

/** H.264 first: what every player takes. */
function preferH264(transceiver: RTCRtpTransceiver): void {
  const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
  const h264 = codecs.filter(({ mimeType }) => mimeType === 'video/H264');
  if (h264.length > 0) transceiver.setCodecPreferences([...h264, ...codecs.filter(({ mimeType }) => mimeType !== 'video/H264')]);
}

export function openPublishHere(app: App, name: string): void {
  const dialog = openDialog(`Publish to ${name} from here`, { class: 'keep-open add-dialog' });
  const video = h('video', { class: 'publish-picture', playsinline: true, muted: true, autoplay: true, 'data-testid': 'publish-picture' });
  video.muted = true;
  const words = h('p', { role: 'status', 'data-testid': 'publish-state' }, 'The picture of this device’s camera, with sound, goes to this stream while this window is open.');
  const start = h('button', { type: 'button', class: 'button primary', 'data-testid': 'publish-start' }, 'Start');
  const stop = h('button', { type: 'button', class: 'button', on: { click: () => dialog.close() } }, 'Close');
  let media: MediaStream | null = null;
  let connection: RTCPeerConnection | null = null;
  let resource: string | null = null;

  const end = (): void => {
    media?.getTracks().forEach((track) => track.stop());
    connection?.close();
    if (resource !== null) void app.api.unwatch(resource).catch(() => undefined);
    [media, connection, resource] = [null, null, null];
  };
  const publish = async (): Promise<void> => {
    start.disabled = true;
    try {
      setText(words, 'Asking for the camera …');
      const constraints = { video: { width: { ideal: 1280 }, height: { ideal: 720 } }, audio: true };
      // Who has a camera and no microphone still has a picture.
      const got = await navigator.mediaDevices.getUserMedia(constraints).catch((error: unknown) => {
        if (error instanceof DOMException && error.name === 'NotFoundError') return navigator.mediaDevices.getUserMedia({ ...constraints, audio: false });
        throw error;
      });
      media = got;
      if (dialog.scope.ended) return end();
      video.srcObject = got;
      const made = new RTCPeerConnection();
      connection = made;
      for (const track of got.getTracks()) {
        const transceiver = made.addTransceiver(track, { direction: 'sendonly', streams: [got] });
        if (track.kind === 'video') preferH264(transceiver);
      }
      await made.setLocalDescription();
      const { answer, resource: where } = await app.api.publish(name, made.localDescription?.sdp ?? '');
      resource = where;
      if (dialog.scope.ended) return end();
      made.addEventListener('connectionstatechange', () => {
        if (made !== connection) return;
        if (made.connectionState === 'connected') setText(words, 'Publishing. Close this window to end it.');
        if (made.connectionState === 'failed' || made.connectionState === 'disconnected') fail('The connection was lost.');
      });
      await made.setRemoteDescription({ type: 'answer', sdp: answer });
      setText(words, 'Connecting …');
      start.hidden = true;
      setText(stop, 'Stop');
    } catch (error) {
      fail(refused(error));
    }
  };
  const fail = (why: string): void => {
    end();
    setText(words, why);
    start.hidden = start.disabled = false;
    setText(start, 'Try again');
    setText(stop, 'Close');
  };

  dialog.scope.add(end);
  start.addEventListener('click', () => void publish());
  if (navigator.mediaDevices === undefined) {
    start.disabled = true;
    setText(words, 'Browsers give their camera to pages at https:// addresses or at localhost alone. Open the console at one of these: `rushes serve --tls-self-signed` makes a certificate.');
  }
  dialog.body.append(video, words, h('div', { class: 'form-actions' }, start, stop));
  start.focus();
}
