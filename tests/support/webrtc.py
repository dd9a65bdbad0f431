"""WHIP and WHEP by a page in Chromium: no script of ours but what any page would do."""

from .wait import wait_until

WATCH = """async ([url, token, sound, wanted, tcp]) => {
  const pc = new RTCPeerConnection();
  window.pc = pc;
  const video = document.createElement('video');
  video.muted = true; video.autoplay = true; video.playsInline = true;
  document.body.append(video);
  const stream = new MediaStream();
  video.srcObject = stream;
  pc.ontrack = (e) => stream.addTrack(e.track);
  const t = pc.addTransceiver('video', { direction: 'recvonly' });
  if (wanted) t.setCodecPreferences(RTCRtpReceiver.getCapabilities('video').codecs.filter((c) => c.mimeType === wanted));
  if (sound) pc.addTransceiver('audio', { direction: 'recvonly' });
  await pc.setLocalDescription();
  return await window.agree(pc, url, token, tcp);
}"""

PUBLISH = """async ([url, token, wanted, sound, tcp]) => {
  const pc = new RTCPeerConnection();
  window.pc = pc;
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 180, frameRate: 25 }, audio: sound });
  for (const track of media.getTracks()) {
    const t = pc.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    if (track.kind === 'video' && wanted) t.setCodecPreferences(RTCRtpSender.getCapabilities('video').codecs.filter((c) => c.mimeType === wanted));
  }
  await pc.setLocalDescription();
  return await window.agree(pc, url, token, tcp);
}"""

AGREE = """() => { window.agree = async (pc, url, token, tcp) => {
  const r = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${token}` }, body: pc.localDescription.sdp });
  const text = await r.text();
  window.resource = r.headers.get('Location');
  if (r.status === 201) {
    const keep = (line) => !line.startsWith('a=candidate:') || !tcp || / tcp /i.test(line);
    await pc.setRemoteDescription({ type: 'answer', sdp: text.split('\\r\\n').filter(keep).join('\\r\\n') });
  }
  return { status: r.status, text, etag: r.headers.get('ETag'), location: window.resource };
}; }"""

STATS = """async () => {
  const out = { connection: window.pc.connectionState, frames: 0, sound: 0, sent: 0, protocol: null, codec: null, plis: 0 };
  const report = await window.pc.getStats();
  for (const s of report.values()) {
    if (s.type === 'inbound-rtp' && s.kind === 'video') { out.frames = s.framesDecoded; out.codec = report.get(s.codecId)?.mimeType ?? null; out.width = s.frameWidth; }
    if (s.type === 'inbound-rtp' && s.kind === 'audio') out.sound = s.packetsReceived;
    if (s.type === 'outbound-rtp' && s.kind === 'video') { out.sent = s.framesEncoded; out.plis = s.pliCount; }
    if (s.type === 'candidate-pair' && s.nominated) out.protocol = report.get(s.remoteCandidateId)?.protocol ?? out.protocol;
  }
  return out;
}"""


def page(context, server):
    """A page of the server's own origin, on which the scripts are."""
    page = context.new_page()
    page.goto(server.url + "/healthz")
    page.evaluate(AGREE)
    return page


def watch(page, server, name, token, sound=False, codec=None, tcp=False):
    return page.evaluate(WATCH, [f"{server.url}/whep/{name}", token, sound, codec, tcp])


def publish(page, server, name, token, codec=None, sound=True, tcp=False):
    return page.evaluate(PUBLISH, [f"{server.url}/whip/{name}", token, codec, sound, tcp])


def stats(page):
    return page.evaluate(STATS)


def decodes(page, frames=40):
    """Pictures are decoded, so many more than now."""
    before = stats(page)["frames"] or 0
    return wait_until("pictures are decoded", lambda: (s := stats(page))["frames"] >= before + frames and s)
