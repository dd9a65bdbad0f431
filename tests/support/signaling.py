"""Signaling channels by clients that we did not write: the `websockets` package with botocore's signatures, and the npm package
`amazon-kinesis-video-streams-webrtc` in Chromium."""

import base64
import json
import pathlib
import ssl
import subprocess

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from websockets.sync.client import connect as websocket

from .wait import wait_until

CLIENT = pathlib.Path(__file__).parents[1] / "clients" / "webrtc"


def package():
    """The package's file for browsers."""
    file = CLIENT / "node_modules" / "amazon-kinesis-video-streams-webrtc" / "dist" / "kvs-webrtc.min.js"
    if not file.exists():
        subprocess.run(["npm", "ci", "--silent"], cwd=CLIENT, check=True, timeout=300)
    return file


def signed(server, arn, client_id=None, secret=None, expires=299):
    """The URL that connects."""
    params = {"X-Amz-ChannelARN": arn, **({"X-Amz-ClientId": client_id} if client_id else {})}
    request = AWSRequest("GET", server.url + "/", params=params)
    SigV4QueryAuth(Credentials(server.key, secret or server.secret), "kinesisvideo", "us-east-1", expires).add_auth(request)
    return request.prepare().url.replace("http", "ws", 1)


def connect(server, arn, client_id=None, **how):
    tls = ssl.create_default_context(cafile=server.data / "self-signed.pem") if server.url.startswith("https") else None
    return websocket(signed(server, arn, client_id, **how), ssl=tls, open_timeout=20, proxy=None, ping_interval=None)


def encoded(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def message(action, value, to=None, correlation=None):
    out = {"action": action, "messagePayload": encoded(value), "recipientClientId": to, "correlationId": correlation}
    return json.dumps({k: v for k, v in out.items() if v is not None})


def told(socket, seconds=20):
    """The next message, its payload decoded."""
    m = json.loads(socket.recv(timeout=seconds))
    if "messagePayload" in m:
        m["messagePayload"] = json.loads(base64.b64decode(m["messagePayload"]))
    return m


# As the package's README has it: the endpoint, the ICE servers, and then peers that talk through the signaling client.

# What a page says: its microphone's beeps, or a tone of so many hertz.
SOUND = """() => { window.sound = async (hz) => {
  if (hz === true) return (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0];
  const context = new AudioContext({ sampleRate: 48000 });
  const tone = new OscillatorNode(context, { frequency: hz });
  const to = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
  tone.connect(new GainNode(context, { gain: 0.2 })).connect(to);
  tone.start();
  return to.stream.getAudioTracks()[0];
};
// How loud tones are in what the page hears now, in decibels below the loudest.
window.tones = async (all) => {
  if (!window.ear || window.ear.pc !== window.pc) {
    const track = window.pc.getReceivers().map((r) => r.track).find((t) => t.kind === 'audio');
    if (!track) return all.map(() => null);
    const context = new AudioContext({ sampleRate: 48000 });
    const analyser = new AnalyserNode(context, { fftSize: 8192, smoothingTimeConstant: 0 });
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    window.ear = { pc: window.pc, analyser };
  }
  const bins = new Float32Array(4096);
  window.ear.analyser.getFloatFrequencyData(bins);
  return all.map((hz) => { const n = Math.round(hz * 8192 / 48000); return Math.max(...bins.slice(n - 2, n + 3)); });
}; }"""

MASTER = """async ([arn, endpoint, iceServers, credentials, sends, says]) => {
  const client = new KVSWebRTC.SignalingClient({ channelARN: arn, channelEndpoint: endpoint, region: 'us-east-1', role: KVSWebRTC.Role.MASTER, credentials });
  window.client = client; window.peers = []; window.log = [];
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 180, frameRate: 25 } });
  if (says) media.addTrack(await window.sound(says));
  const audio = document.createElement('audio');
  audio.autoplay = true;
  document.body.append(audio);
  client.on('sdpOffer', async (offer, who) => {
    const pc = new RTCPeerConnection({ iceServers, ...(window.rtcConfig ?? {}) });
    window.peers.push(pc); window.pc = pc;
    pc.ontrack = (e) => { if (e.track.kind === 'audio') audio.srcObject = new MediaStream([e.track]); };
    log.push('offer');
    client.on('iceCandidate', (c, from) => { if (from === who) pc.addIceCandidate(c); });
    pc.addEventListener('icecandidate', ({ candidate }) => { if (candidate) client.sendIceCandidate(candidate, who); });
    if (sends) media.getTracks().forEach((t) => pc.addTrack(t, media));
    await pc.setRemoteDescription(offer);
    await pc.setLocalDescription(await pc.createAnswer());
    client.sendSdpAnswer(pc.localDescription, who);
  });
  client.on('statusResponse', (s) => log.push(s));
  client.on('close', () => log.push('closed'));
  await new Promise((done, failed) => { client.on('open', done); client.on('error', failed); client.open(); });
}"""

VIEWER = """async ([arn, endpoint, iceServers, credentials, clientId, offers, speaks]) => {
  const client = new KVSWebRTC.SignalingClient({ channelARN: arn, channelEndpoint: endpoint, region: 'us-east-1', role: KVSWebRTC.Role.VIEWER, clientId, credentials });
  window.client = client; window.log = [];
  const pc = new RTCPeerConnection({ iceServers, ...(window.rtcConfig ?? {}) });
  window.pc = pc;
  const video = document.createElement('video');
  video.muted = true; video.autoplay = true; video.playsInline = true;
  document.body.append(video);
  const stream = new MediaStream();
  video.srcObject = stream;
  pc.ontrack = (e) => stream.addTrack(e.track);
  pc.addEventListener('icecandidate', ({ candidate }) => { if (candidate) client.sendIceCandidate(candidate); });
  client.on('sdpAnswer', (answer) => pc.setRemoteDescription(answer));
  const said = speaks ? new MediaStream([await window.sound(speaks)]) : new MediaStream();
  window.said = said;
  client.on('sdpOffer', async (offer) => {
    log.push('offer');
    said.getTracks().forEach((t) => pc.addTrack(t, said));
    await pc.setRemoteDescription(offer);
    await pc.setLocalDescription(await pc.createAnswer());
    client.sendSdpAnswer(pc.localDescription);
  });
  client.on('iceCandidate', (c) => pc.addIceCandidate(c));
  client.on('statusResponse', (s) => log.push(s));
  await new Promise((done, failed) => { client.on('open', done); client.on('error', failed); client.open(); });
  if (offers) {
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addTransceiver('audio', { direction: 'recvonly' });
    await pc.setLocalDescription(await pc.createOffer());
    client.sendSdpOffer(pc.localDescription, undefined, 'the-offer');
  }
}"""


def page(context, server):
    """A page of the server's own origin with the package in it."""
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(server.url + "/healthz")
    page.add_script_tag(path=package())
    page.evaluate(SOUND)
    return page


def _begin(page, server, where, script, *more):
    endpoint, ice = where
    keys = {"accessKeyId": server.key, "secretAccessKey": server.secret}
    page.evaluate(script, [endpoint["ARN"], endpoint["WSS"], ice, keys, *more])


def master(page, server, where, sends=True, says=True):
    """`says`: its microphone, a tone of so many hertz, or nothing."""
    _begin(page, server, where, MASTER, sends, says)


def viewer(page, server, where, client_id, offers=True, speaks=False):
    """`speaks`: nothing, its microphone, or a tone of so many hertz."""
    _begin(page, server, where, VIEWER, client_id, offers, speaks)


def where(server, arn, client, role):
    """What a peer asks boto3 for first: the endpoints by protocol (and the ARN), and the ICE servers as browsers want them."""
    video = client(server, verify=server.data / "self-signed.pem")
    stores = video.describe_media_storage_configuration(ChannelARN=arn)["MediaStorageConfiguration"]["Status"] == "ENABLED"
    asked = {"Protocols": ["WSS", "HTTPS", *(["WEBRTC"] if stores else [])], "Role": role}
    listed = video.get_signaling_channel_endpoint(ChannelARN=arn, SingleMasterChannelEndpointConfiguration=asked)
    found = {e["Protocol"]: e["ResourceEndpoint"] for e in listed["ResourceEndpointList"]}
    signaling = client(server, "kinesis-video-signaling", endpoint=found["HTTPS"], verify=server.data / "self-signed.pem")
    servers = signaling.get_ice_server_config(ChannelARN=arn)["IceServerList"]
    return {**found, "ARN": arn}, [{"urls": s["Uris"], "username": s["Username"], "credential": s["Password"]} for s in servers]


def log(page):
    return page.evaluate("window.log")


def has(page, what, words):
    return wait_until(words, lambda: what in log(page))
