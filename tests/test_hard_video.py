"""Video that recorders get wrong: in by import and by RTSP, out by HLS and as files, and the same frames everywhere."""

import base64
import concurrent.futures
import functools
import socket
import struct
import time
import urllib.parse

import pytest

from support import media
from support.server import Server, run

START = "2026-03-01T10:00:00Z"
SIZE = "160x96"


@pytest.fixture(scope="module")
def hard(tmp_path_factory):
    """A server, and a folder of clips."""
    folder = tmp_path_factory.mktemp("hard")
    with Server(folder / "data") as server:
        yield server, folder


def picture(seconds, fps=10, size=SIZE):
    return ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={fps}:duration={seconds}"]


def sound(seconds, rate=48000):
    return ["-f", "lavfi", "-i", f"sine=frequency=440:beep_factor=4:sample_rate={rate}:duration={seconds}"]


def x264(params, *more):
    return ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-x264-params", params, *more]


X265 = ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-x265-params"]

# How each is made, and its ending.
CLIPS = {
    "b-frames": (".mp4", picture(5), x264("keyint=20:bframes=3:b-pyramid=normal")),
    "open-gop": (".mp4", picture(5), x264("keyint=12:min-keyint=12:bframes=3:open-gop=1:scenecut=0")),
    "intra-refresh": (".mp4", picture(24), x264("keyint=20:intra-refresh=1:bframes=0")),
    "gop-10s": (".mp4", picture(21), x264("keyint=100:min-keyint=100:scenecut=0:bframes=2")),
    "gop-30s": (".mkv", picture(62, fps=5), x264("keyint=150:min-keyint=150:scenecut=0:bframes=2")),
    # One group of 30 s, and of the next a little: short enough to be sent as it is shown.
    "gop-30s-short": (".mp4", picture(33, fps=5), x264("keyint=150:min-keyint=150:scenecut=0:bframes=2")),
    "h265": (".mp4", picture(4), [*X265, "keyint=20:bframes=3:open-gop=0:log-level=none", "-tag:v", "hvc1"]),
    "h265-open-gop": (".mkv", picture(5), [*X265, "keyint=15:min-keyint=15:bframes=3:open-gop=1:log-level=none"]),
    "audio-alone": (".mp4", sound(7), ["-c:a", "aac"]),
    "g711": (".mkv", [*picture(5), *sound(5, 8000)], [*x264("keyint=20"), "-c:a", "pcm_mulaw"]),
    "g711-a": (".mov", [*picture(5), *sound(5, 8000)], [*x264("keyint=20"), "-c:a", "pcm_alaw"]),
    "opus": (".mkv", [*picture(5), *sound(5)], [*x264("keyint=20:bframes=2"), "-c:a", "libopus"]),
    "opus-mp4": (".mp4", [*picture(5), *sound(5)], [*x264("keyint=20:bframes=2"), "-c:a", "libopus"]),
    # Four seconds, a pause of twenty, four seconds more.
    "gap": (".mp4", picture(8), [*x264("keyint=20:bframes=2"), "-vf", "setpts='PTS+gte(N,40)*20/TB'", "-fps_mode", "passthrough"]),
    # Pictures that stand still for seven seconds: shorter than what is taken for a break.
    "stall": (".mp4", picture(8), [*x264("keyint=20:bframes=0"), "-vf", "setpts='PTS+gte(N,30)*7/TB'", "-fps_mode", "passthrough"]),
    "variable-rate": (".mkv", picture(5), [*x264("keyint=30:bframes=2"), "-vf", "settb=1/1000,setpts=N*N*2+N*50", "-fps_mode", "passthrough"]),
}


def made(folder, name):
    ending, source, how = CLIPS[name]
    path = folder / f"{name}{ending}"
    if not path.exists():
        media.ffmpeg("-y", *source, *how, path)
    return path


def recorded(server, name):
    return server.call("GET", f"/v1/streams/{name}")["recorded"]


def exported(server, name, file):
    r = run("export", name, file, "--from", "0", "--to", "4000000000000", "--data", server.data, "--json")
    assert r.returncode == 0, r.stderr
    return file


@functools.cache
def source(clip):
    """Of a clip as it was made: hashes of its pictures, their distances, the packets of its sound."""
    return media.frames(clip), gaps(clip), media.packets(clip, "a")


def gaps(file):
    """The distances of pictures in the order in which they are shown, in hundredths of a second."""
    at = media.times(file)
    return [round(100 * (b - a)) for a, b in zip(at, at[1:])]


def check(server, name, clip, folder, tolerance=1):
    """Every way out shows what went in."""
    pictures, distances, sounds = source(clip)
    for kind in ("mp4", "mkv"):
        file = exported(server, name, folder / f"{name}.out.{kind}")
        assert media.frames(file, silent=True, steady=name != "variable-rate") == pictures, f"{name}: {kind}"
        assert not sounds or media.packets(file, "a"), f"{name}: {kind}: no sound"
        for a, b in zip(distances, gaps(file)):
            assert abs(a - b) <= tolerance, f"{name}: {kind}: {distances} became {gaps(file)}"
    if pictures:
        assert media.frames(server.whole(name)) == pictures, f"{name}: HLS"


@pytest.mark.parametrize("name", CLIPS)
def test_by_import(hard, name):
    server, folder = hard
    clip = made(folder, name)
    r = run("import", name, clip, "--start", START, "--data", server.data)
    assert r.returncode == 0, r.stderr
    check(server, name, clip, folder)
    fragments = server.fragments(name)
    if name == "intra-refresh":
        # One IDR in 24 seconds: cut at 10 s; what follows begins without a key frame.
        assert [f["keyFrame"] for f in fragments] == [True, False, False]
    if name == "gop-30s":
        assert [f["keyFrame"] for f in fragments].count(True) == 3 and len(fragments) <= 9, fragments
    if name == "gap":
        assert [f["discontinuity"] for f in fragments].count(True) == 1
    if name == "stall":
        assert not any(f["discontinuity"] for f in fragments)


def pushed(server, name, *source):
    """By RTSP, copied as it is."""
    media.publish([*media.FFMPEG, "-re", *map(str, source), "-map", "0", "-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", server.publish_url(name)])
    server.quiet(name)


def test_by_rtsp(hard):
    server, folder = hard
    # FFmpeg sends the first picture after a pause at its beginning: pauses are below.
    names = [name for name in CLIPS if name not in ("gop-30s", "opus-mp4", "gap", "stall")]
    clips = {name: made(folder, name) for name in names}
    # All at once: each plays as long as it lasts.
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: pushed(server, f"{name}-rtsp", "-i", clips[name]), names))
    for name, clip in clips.items():
        check(server, f"{name}-rtsp", clip, folder, tolerance=2)
    fragments = {name: server.fragments(f"{name}-rtsp") for name in names}
    assert [f["keyFrame"] for f in fragments["intra-refresh"]] == [True, False, False]
    assert [f["keyFrame"] for f in fragments["gop-30s-short"]].count(True) == 2
    for name in ("b-frames", "gop-10s", "audio-alone"):
        assert not any(f["discontinuity"] for f in fragments[name]), name
    # FFmpeg reports its clock, but for the first pictures.
    assert not fragments["gop-10s"][-1]["estimated"]


# What changes in the middle, and changes back: the pictures' size, or how they are coded.
CHANGES = {
    "size": [(SIZE, "keyint=10:bframes=2"), ("240x136", "keyint=10:bframes=2"), (SIZE, "keyint=10:bframes=2")],
    "parameters": [(SIZE, "keyint=10:bframes=2"), (SIZE, "keyint=10:bframes=2:cabac=1:ref=3:8x8dct=1"), (SIZE, "keyint=10:bframes=2")],
}


def changing(folder, what):
    """H.264 that changes in the middle, in one transport stream; and what was joined."""
    parts = []
    for i, (size, params) in enumerate(CHANGES[what]):
        part = folder / f"{what}{i}.ts"
        media.ffmpeg("-y", *picture(2, size=size), *x264(params), "-output_ts_offset", 3 * i, "-muxdelay", 0, part)
        parts.append(part)
    whole = folder / f"changing-{what}.ts"
    whole.write_bytes(b"".join(p.read_bytes() for p in parts))
    return whole, parts


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("way", ["rtsp", "import"])
def test_pictures_that_change(hard, what, way):
    server, folder = hard
    whole, parts = changing(folder, what)
    name = f"changing-{what}-{way}"
    if way == "rtsp":
        pushed(server, name, "-i", whole)
    else:
        file = folder / f"{name}.mkv"
        media.ffmpeg("-y", "-i", whole, "-c", "copy", file)
        r = run("import", name, file, "--start", START, "--data", server.data)
        assert r.returncode == 0, r.stderr
    want = [h for p in parts for h in media.frames(p)]
    for kind in ("mp4", "mkv"):
        file = exported(server, name, folder / f"{name}.out.{kind}")
        assert media.frames(file, silent=True) == want, kind
    assert media.frames(server.whole(name)) == want
    tracks = server.call("GET", f"/v1/streams/{name}")["tracks"]
    assert (tracks[0]["width"], tracks[0]["height"]) == (160, 96)
    assert [f["discontinuity"] for f in server.fragments(name)].count(True) == 2


def access_units(clip):
    """The NAL units of each picture of an H.264 clip without B-frames, parameter sets with the picture they precede."""
    stream = media.ffmpeg("-i", clip, "-map", "0:v:0", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", "pipe:1")
    units, open_unit = [], []
    for nal in stream.split(b"\0\0\1")[1:]:
        nal = nal.rstrip(b"\0")
        open_unit.append(nal)
        if nal[0] & 0x1F in (1, 5):
            units.append(open_unit)
            open_unit = []
    return units


class Publisher:
    """An RTSP publisher that sends RTP with whatever times it is told to."""

    def __init__(self, url):
        self.url = urllib.parse.urlsplit(url)
        self.path = f"rtsp://{self.url.hostname}:{self.url.port}{self.url.path}"
        self.wire = socket.create_connection((self.url.hostname, self.url.port), 30)
        self.count, self.sequence, self.session = 0, 0, ""
        sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:0\r\n"
        self.ask("ANNOUNCE", self.path, "Content-Type: application/sdp", body=sdp)
        answer = self.ask("SETUP", f"{self.path}/0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record")
        self.session = answer.split("Session: ")[1].split("\r\n")[0].split(";")[0]
        self.ask("RECORD", self.path)

    def ask(self, method, uri, *headers, body=""):
        self.count += 1
        secret = f"{urllib.parse.unquote(self.url.username or '')}:{urllib.parse.unquote(self.url.password or '')}"
        lines = [f"{method} {uri} RTSP/1.0", f"CSeq: {self.count}", f"Authorization: Basic {base64.b64encode(secret.encode()).decode()}",
                 *([f"Session: {self.session}"] if self.session else []), *headers, f"Content-Length: {len(body)}", "", body]
        self.wire.sendall("\r\n".join(lines).encode())
        answer = self.wire.recv(4096).decode()
        assert answer.startswith("RTSP/1.0 200"), answer
        return answer

    def send(self, nals, time):
        for i, nal in enumerate(nals):
            mark = 0x80 if i + 1 == len(nals) else 0
            packet = struct.pack(">BBHII", 0x80, 96 | mark, self.sequence & 0xFFFF, time & 0xFFFFFFFF, 7) + nal
            self.sequence += 1
            self.wire.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)


def test_times_that_jump(hard):
    """Forward by an hour and back again, while pictures go on as before."""
    server, folder = hard
    clip = folder / "jump.mp4"
    media.ffmpeg("-y", *picture(6), *x264("keyint=10:min-keyint=10:bframes=0"), clip)
    units = access_units(clip)
    publisher = Publisher(server.publish_url("jump"))
    for i, nals in enumerate(units):
        jump = 3600 * 90_000 if len(units) // 3 <= i < 2 * len(units) // 3 else 0
        publisher.send(nals, i * 9000 + jump)
        # As fast as they are shown: what lies ahead of the clock is not yet to be played.
        time.sleep(0.1)
    publisher.ask("TEARDOWN", publisher.path)
    server.quiet("jump")
    fragments = server.fragments("jump")
    assert [f["discontinuity"] for f in fragments].count(True) == 2
    starts = [f["producerStart"] for f in fragments]
    assert starts == sorted(starts) and all(f["estimated"] for f in fragments), fragments
    want = media.frames(clip)
    for kind in ("mp4", "mkv"):
        assert media.frames(exported(server, "jump", folder / f"jump.out.{kind}"), silent=True) == want, kind
    assert media.frames(server.whole("jump")) == want


def test_pauses(hard):
    """A camera that says nothing for three seconds, and for eleven: by its clock as well as by ours."""
    server, folder = hard
    clip = folder / "pauses.mp4"
    media.ffmpeg("-y", *picture(6), *x264("keyint=10:min-keyint=10:bframes=0"), clip)
    publisher = Publisher(server.publish_url("pauses"))
    late = 0
    for i, nals in enumerate(access_units(clip)):
        pause = {20: 3, 40: 11}.get(i, 0)
        late += pause
        time.sleep(0.1 + pause)
        publisher.send(nals, i * 9000 + late * 90_000)
    publisher.ask("TEARDOWN", publisher.path)
    server.quiet("pauses")
    # The first is a picture that stood still, the second is longer than one may.
    assert [f["discontinuity"] for f in server.fragments("pauses")].count(True) == 1
    want = [10] * 19 + [310] + [10] * 19 + [1110] + [10] * 19
    for kind in ("mp4", "mkv"):
        file = exported(server, "pauses", folder / f"pauses.out.{kind}")
        assert media.frames(file, silent=True) == media.frames(clip), kind
        assert all(abs(a - b) <= 2 for a, b in zip(want, gaps(file), strict=True)), (kind, gaps(file))
    assert media.frames(server.whole("pauses")) == media.frames(clip)
