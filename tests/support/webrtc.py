"""WHIP and WHEP by a page in Chromium: no script of ours but what any page would do."""

from .wait import wait_until

WATCH = """async ([url, token, sound, wanted, tcp]) => {
  const pc = new RTCPeerConnection(window.rtcConfig);
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

PUBLISH = """async ([url, token, wanted, sound, tcp, heard]) => {
  const pc = new RTCPeerConnection();
  window.pc = pc;
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 180, frameRate: 25 }, audio: sound });
  for (const track of media.getTracks()) {
    const t = pc.addTransceiver(track, { direction: 'sendonly', streams: [media] });
    const only = track.kind === 'video' ? wanted : heard;
    if (only) t.setCodecPreferences(RTCRtpSender.getCapabilities(track.kind).codecs.filter((c) => c.mimeType === only));
  }
  await pc.setLocalDescription();
  return await window.agree(pc, url, token, tcp);
}"""

AGREE = """() => { window.agree = async (pc, url, token, tcp) => {
  const r = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${token}` }, body: pc.localDescription.sdp });
  const text = await r.text();
  window.resource = r.headers.get('Location'); window.answer = text; window.etag = r.headers.get('ETag');
  if (r.status === 201) {
    const keep = (line) => !line.startsWith('a=candidate:') || !tcp || / tcp /i.test(line);
    await pc.setRemoteDescription({ type: 'answer', sdp: text.split('\\r\\n').filter(keep).join('\\r\\n') });
  }
  return { status: r.status, text, etag: r.headers.get('ETag'), location: window.resource, link: r.headers.get('Link') };
}; }"""

# As RFC 9725 §4.3.3 has it: new credentials of ours in a fragment, the server's in the answer.
RESTART = """async () => {
  const pc = window.pc;
  pc.restartIce();
  await pc.setLocalDescription();
  const of = (sdp, name) => sdp.match(new RegExp(`a=${name}:(.*?)\\r?\\n`))[1];
  const mine = pc.localDescription.sdp;
  const body = `a=ice-ufrag:${of(mine, 'ice-ufrag')}\\r\\na=ice-pwd:${of(mine, 'ice-pwd')}\\r\\n`;
  const r = await fetch(window.resource, { method: 'PATCH', headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' }, body });
  const text = await r.text();
  if (r.status !== 200) return { status: r.status, text };
  const next = window.answer.replace(/a=ice-ufrag:.*/g, `a=ice-ufrag:${of(text, 'ice-ufrag')}`.trim()).replace(/a=ice-pwd:.*/g, `a=ice-pwd:${of(text, 'ice-pwd')}`.trim());
  await pc.setRemoteDescription({ type: 'answer', sdp: next.split(/\\r?\\n/).join('\\r\\n') });
  window.answer = next;
  const before = window.etag; window.etag = r.headers.get('ETag');
  return { status: r.status, text, type: r.headers.get('Content-Type'), before, etag: window.etag };
}"""

STATS = """async () => {
  const out = { connection: window.pc.connectionState, frames: 0, sound: 0, bytes: 0, sent: 0, protocol: null, codec: null, plis: 0 };
  const report = await window.pc.getStats();
  for (const s of report.values()) {
    if (s.type === 'inbound-rtp') out.bytes += s.bytesReceived;
    if (s.type === 'inbound-rtp' && s.kind === 'video') { out.frames = s.framesDecoded; out.codec = report.get(s.codecId)?.mimeType ?? null; out.width = s.frameWidth; }
    if (s.type === 'inbound-rtp' && s.kind === 'audio') { out.sound = s.packetsReceived; out.heard = report.get(s.codecId)?.mimeType ?? null; }
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


def publish(page, server, name, token, codec=None, sound=True, tcp=False, heard=None):
    return page.evaluate(PUBLISH, [f"{server.url}/whip/{name}", token, codec, sound, tcp, heard])


def restart(page):
    """ICE is restarted; what the server answered."""
    return page.evaluate(RESTART)


def stats(page):
    return page.evaluate(STATS)


def decodes(page, frames=40):
    """Pictures are decoded, so many more than now."""
    before = stats(page)["frames"] or 0
    return wait_until("pictures are decoded", lambda: (s := stats(page))["frames"] >= before + frames and s)
