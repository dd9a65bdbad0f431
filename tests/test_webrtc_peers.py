"""WebRTC peers that are no browsers: aiortc, which has ICE, DTLS, SRTP and RTP of its own, and GStreamer's webrtcbin (libnice,
OpenSSL, libsrtp, GStreamer's RTP), as publishers and as viewers; and FFmpeg 8 (GnuTLS, the rest its own), which publishes."""

import asyncio
import contextlib
import datetime
import json
import pathlib
import signal
import subprocess
import threading

import pytest
import requests
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import MediaStreamError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from support import media
from support.media import ffmpeg_publisher, publish, pyav_publisher, running
from support.server import run
from support.wait import wait_until
from test_webrtc import live

WEBRTCBIN = pathlib.Path(__file__).parent / "support" / "webrtcbin.py"


async def agree(pc, url, token):
    """One request, as WHIP and WHEP have it; where the session is."""
    await pc.setLocalDescription(await pc.createOffer())
    head = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
    answer = await asyncio.to_thread(requests.post, url, pc.localDescription.sdp, headers=head, timeout=20)
    assert answer.status_code == 201, answer.text
    await pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    return answer.headers["Location"]


async def until(what, check, seconds=30):
    await asyncio.to_thread(wait_until, what, check, seconds)


def test_aiortc_publishes(server):
    server.add_push("door")

    async def run():
        pc = RTCPeerConnection()
        video = pc.addTransceiver(VideoStreamTrack(), direction="sendonly")
        video.setCodecPreferences([c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType == "video/H264"])
        pc.addTransceiver(AudioStreamTrack(), direction="sendonly")
        where = await agree(pc, f"{server.url}/whip/door", f"{server.key}:{server.secret}")
        await until("it is recorded", lambda: any(s["name"] == "door" for s in server.call("GET", "/v1/streams")["streams"]) and len(server.fragments("door")) >= 3)
        # It sends a key frame when it is asked for one.
        assert all(f["keyFrame"] for f in server.fragments("door"))
        gone = await asyncio.to_thread(requests.delete, server.url + where, timeout=20)
        assert gone.status_code == 200
        await pc.close()

    asyncio.run(run())
    server.quiet("door")
    assert {t["codecName"] for t in server.call("GET", "/v1/streams/door")["tracks"]} == {"H.264", "Opus"}
    url = server.whole("door")
    assert media.packets(url) > 60 and media.packets(url, "a") > 60


@pytest.mark.parametrize("sound", [False, True])
def test_aiortc_watches(server, clips, sound):
    with running(ffmpeg_publisher(clips(seconds=30), server.publish_url("yard"), loop=True)):
        live(server, "yard")
        token = server.call("POST", "/v1/streams/yard/whep", {})["token"]

        async def run():
            pc = RTCPeerConnection()
            t = pc.addTransceiver("video", direction="recvonly")
            t.setCodecPreferences([c for c in RTCRtpReceiver.getCapabilities("video").codecs if c.mimeType == "video/H264"])
            if sound:
                # The stream has none: it is declined, and the picture comes.
                pc.addTransceiver("audio", direction="recvonly")
            await agree(pc, f"{server.url}/whep/yard", token)
            track = t.receiver.track
            sizes = []
            while len(sizes) < 30:
                frame = await asyncio.wait_for(track.recv(), 30)
                sizes.append((frame.width, frame.height))
            assert set(sizes) == {(320, 180)}, sizes
            assert server.metric("rushes_webrtc_sessions", way="out") == 1
            await pc.close()
            with pytest.raises(MediaStreamError):
                while True:
                    await asyncio.wait_for(track.recv(), 30)

        asyncio.run(run())
        wait_until("its session has ended", lambda: server.metric("rushes_webrtc_sessions", way="out") == 0, 60)


# ---- GStreamer


@pytest.fixture(scope="session")
def pem(tmp_path_factory):
    """Makes a certificate with its key, for DTLS: a file."""
    folder = tmp_path_factory.mktemp("pem")

    def make(kind):
        curves = {"ECDSA": ec.SECP256R1, "P-224": ec.SECP224R1}
        key = ec.generate_private_key(curves[kind]()) if kind in curves else rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "webrtcbin")])
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=2))
        pkcs8 = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file = folder / f"{kind}.pem"
        file.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + pkcs8)
        return file

    return make


class WebRtcBin:
    """The peer in its process. `said` is what it said so far."""

    def __init__(self, *arguments):
        # Debian's Python, which has the bindings; the tests' own has none.
        self.process = subprocess.Popen(["/usr/bin/python3", WEBRTCBIN, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True)
        self.said = []
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.said.append(json.loads(line) if line.startswith("{") else {"stderr": line})

    def last(self, what):
        return next((s for s in reversed(self.said) if what in s), {what: None})

    def until(self, what, value):
        """Waits until it says that, or so much."""
        enough = lambda had: had is not None and (had >= value if isinstance(value, int) else had == value)
        wait_until(f"webrtcbin says {what} {value}", lambda: enough(self.last(what)[what]) or self.process.poll(), 60)
        assert enough(self.last(what)[what]), self.said
        return self.last(what)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        finally:
            self.process.kill()
            self.reader.join()
            self.process.stdout.close()
        return code


@contextlib.contextmanager
def webrtcbin(*arguments):
    peer = WebRtcBin(*arguments)
    try:
        yield peer
    except AssertionError as e:
        raise AssertionError(f"{e}\nwebrtcbin said: {peer.said[-20:]}") from e
    finally:
        if peer.process.returncode is None:
            peer.end()


def test_webrtcbin_publishes(server, pem):
    server.add_push("door")
    key = f"{server.key}:{server.secret}"
    with webrtcbin("publish", f"{server.url}/whip/door", key, pem("ECDSA")) as peer:
        peer.until("state", "connected")
        live(server, "door")
        # By itself it sends a key frame every ten seconds: these are those that it is asked for.
        wait_until("there are fragments", lambda: len(server.fragments("door")) >= 4)
        assert peer.end() == 0, peer.said
    server.quiet("door")
    assert all(f["keyFrame"] for f in server.fragments("door"))
    assert {t["codecName"] for t in server.call("GET", "/v1/streams/door")["tracks"]} == {"H.264", "Opus"}
    url = server.whole("door")
    pictures = media.frames(url)
    assert len(pictures) > 100 and len(set(pictures)) > len(pictures) * 0.9 and media.packets(url, "a") > 100


#: Pictures in an order of decoding that is not that of showing, and without that.
REORDERED = {"H.264": ("H264", "libx264", ("-bf", "2", "-x264-params", "b-adapt=0")),
             "H.265": ("H265", "libx265", ("-tag:v", "hvc1", "-x265-params", "log-level=error:bframes=2:b-adapt=0:open-gop=0")),
             "H.265, open": ("H265", "libx265", ("-tag:v", "hvc1", "-x265-params", "log-level=error:bframes=2:b-adapt=0:open-gop=1")),
             "H.265 without": ("H265", "libx265", ("-bf", "0", "-tag:v", "hvc1", "-x265-params", "log-level=error"))}


@pytest.mark.parametrize("what", REORDERED)
def test_webrtcbin_publishes_pictures_that_are_reordered(server, clips, pem, tmp_path, what):
    """What it sends is stored as it is: each picture at its time, and decoded in the order in which it came."""
    codec, encoder, extra = REORDERED[what]
    clip = clips(seconds=12, codec=encoder, extra=extra)
    server.add_push("door")
    key = f"{server.key}:{server.secret}"
    with webrtcbin("publish", f"{server.url}/whip/door", key, pem("ECDSA"), codec, clip) as peer:
        peer.until("state", "connected")
        live(server, "door")
        wait_until("there are fragments", lambda: len(server.fragments("door")) >= 3)
        assert peer.end() == 0, peer.said
    server.quiet("door")
    assert {t["codecName"] for t in server.call("GET", "/v1/streams/door")["tracks"]} == {what[:5]}
    whole = server.whole("door")
    files = [tmp_path / f"out.{form}" for form in ("mp4", "mkv")]
    for file in files:
        r = run("export", "door", file, "--from", "0", "--data", server.data, "--json")
        assert r.returncode == 0, r.stderr
    want = media.frames(clip)
    for source in (whole, *files):
        # Of the last few, those may be missing that would have come next and been shown before them.
        have = media.frames(source)[:-2]
        first = want.index(have[0])
        assert len(have) > 75 and have == want[first : first + len(have)], source
    rows = media.stamps(whole)
    shown, decoded = [pts for pts, _ in rows], [dts for _, dts in rows]
    assert decoded == sorted(set(decoded)) and all(d <= p for p, d in rows)
    assert (shown == sorted(shown)) == ("without" in what)
    # As the clip has them, but for what they are moved by to the sender's clock, as fast as `SLEW_MS_PER_S` in src/capture/times.rs
    # says: 18 ticks of a picture's 3600. Whoever is busy tells that clock some milliseconds wrong in its reports, and so they are moved.
    # Of pictures that are reordered the three of a group are moved together, by the first that comes: the last that is shown.
    shown = sorted(shown)[:-2]
    steps = [b - a for a, b in zip(shown, shown[1:])]
    assert all(abs(s - 3600) <= (18 if "without" in what else 3 * 18) for s in steps), steps


@pytest.mark.parametrize("codec", ["H264", "H265"])
def test_webrtcbin_watches(server, clips, pem, codec):
    encoder, extra = ("libx264", ()) if codec == "H264" else ("libx265", ("-tag:v", "hvc1", "-x265-params", "log-level=error"))
    with running(ffmpeg_publisher(clips(seconds=20, audio=True, codec=encoder, extra=("-c:a", "libopus", *extra)), server.publish_url("yard"), loop=True)):
        live(server, "yard")
        token = server.call("POST", "/v1/streams/yard/whep", {})["token"]
        with webrtcbin("watch", f"{server.url}/whep/yard", token, pem("ECDSA"), codec) as peer:
            picture = peer.until("video", 75)
            assert (picture["width"], picture["height"]) == (320, 180)
            # Louder than nothing: what it is sent is a tone.
            assert peer.until("audio", 100)["loudest"] > -40
            assert server.metric("rushes_webrtc_sessions", way="out") == 1
            assert peer.end() == 0, peer.said
        wait_until("its session has ended", lambda: server.metric("rushes_webrtc_sessions", way="out") == 0, 5)


@pytest.mark.parametrize("way", ["publish", "watch"])
def test_a_certificate_with_rsa_is_told_at_once(server, clips, pem, way):
    """It is what webrtcbin makes by itself before GStreamer 1.28."""
    with contextlib.ExitStack() as stack:
        if way == "watch":
            stack.enter_context(running(ffmpeg_publisher(clips(seconds=30), server.publish_url("yard"), loop=True)))
            live(server, "yard")
        url, out = (f"{server.url}/whep/yard", "out") if way == "watch" else (f"{server.url}/whip/yard", "in")
        peer = stack.enter_context(webrtcbin(way, url, f"{server.key}:{server.secret}", pem("RSA")))
        wait_until("it is agreed", lambda: peer.last("session")["session"])
        # Sooner than a session ends that does not connect.
        wait_until("the server says why", lambda: "has no certificate with ECDSA" in server.log.read_text(), 20)
        wait_until("the session is ended", lambda: server.metric("rushes_webrtc_sessions", way=out) == 0, 5)
        wait_until("webrtcbin knows", lambda: any("error" in s or s.get("state") == "failed" for s in peer.said))


# ---- FFmpeg

#: Which of the two begins DTLS: the server, or FFmpeg.
BEGINS = {"the server begins": {}, "FFmpeg begins": {"whip_flags": "dtls_active"}}


def whip_publisher(server, clip, certificate, **options):
    return pyav_publisher(clip, f"{server.url}/whip/door", "whip", authorization=f"{server.key}:{server.secret}", cert_file=certificate, key_file=certificate, **options)


@pytest.mark.parametrize("how", BEGINS)
def test_ffmpeg_publishes(server, clips, pem, how):
    clip = clips(seconds=6, audio=True, extra=("-profile:v", "baseline", "-c:a", "libopus", "-ac", "2"))
    server.add_push("door")
    publish(whip_publisher(server, clip, pem("ECDSA"), **BEGINS[how]))
    server.quiet("door")
    url = server.whole("door")
    assert media.frames(url) == media.frames(clip)
    media.same_audio(clip, url)


@pytest.mark.parametrize("how", BEGINS)
def test_a_certificate_on_another_curve_is_told_at_once(server, clips, pem, how):
    """It is what FFmpeg makes by itself where it is built with GnuTLS."""
    clip = clips(seconds=6, extra=("-profile:v", "baseline"))
    with running(whip_publisher(server, clip, pem("P-224"), **BEGINS[how])):
        # Sooner than a session ends that does not connect.
        wait_until("the server says why", lambda: "neither on P-256 nor on P-384" in server.log.read_text(), 20)
        wait_until("the session is ended", lambda: server.metric("rushes_webrtc_sessions", way="in") == 0, 5)
