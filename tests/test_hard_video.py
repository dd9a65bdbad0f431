"""Video that recorders get wrong: in by import and by RTSP, out by HLS and as files, and the same frames everywhere."""

import array
import concurrent.futures
import functools
import math
import subprocess

import pytest

from support import m3u8, media
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
    names = ["open-gop", "h265", "h265-open-gop", "g711", "g711-a", "opus"]
    clips = {name: made(folder, name) for name in names}
    # All at once: each plays as long as it lasts.
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: pushed(server, f"{name}-rtsp", "-i", clips[name]), names))
    for name, clip in clips.items():
        check(server, f"{name}-rtsp", clip, folder, tolerance=2)


@pytest.fixture(scope="module")
def changing(hard):
    """H.264 whose pictures change their size in the middle, in one transport stream; and what was joined."""
    _, folder = hard
    parts = []
    for i, size in enumerate([SIZE, "240x136", SIZE]):
        part = folder / f"part{i}.ts"
        media.ffmpeg("-y", *picture(2, size=size), *x264("keyint=10:bframes=2"), "-output_ts_offset", 3 * i, "-muxdelay", 0, part)
        parts.append(part)
    whole = folder / "changing.ts"
    whole.write_bytes(b"".join(p.read_bytes() for p in parts))
    return whole, parts


@pytest.mark.parametrize("way", ["rtsp", "import"])
def test_pictures_that_change_their_size(hard, changing, way):
    server, folder = hard
    whole, parts = changing
    name = f"changing-{way}"
    if way == "rtsp":
        pushed(server, name, "-i", whole)
    else:
        file = folder / "changing.mkv"
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


def heard(source):
    """Decoded sound: 16-bit samples at 8 kHz."""
    raw = media.ffmpeg("-i", source, "-map", "0:a:0", "-ac", 1, "-ar", 8000, "-f", "s16le", "-")
    return array.array("h", raw)


def alike(want, have):
    """How much louder than the difference what was sent is, in dB, and how late it is played, in samples."""
    part = want[8000:12000]

    def difference(lag, step):
        return sum((part[i] - have[8000 + lag + i]) ** 2 for i in range(0, len(part), step))

    lag = min(range(-1024, 3072), key=lambda lag: difference(lag, 32))
    lag = min(range(lag - 2, lag + 3), key=lambda lag: difference(lag, 1))
    span = range(6000, len(want) - 8000)
    noise = sum((want[i] - have[i + lag]) ** 2 for i in span)
    return 10 * math.log10(sum(want[i] ** 2 for i in span) / max(noise, 1)), lag


@pytest.mark.parametrize("name", ["g711", "g711-a"])
def test_g711_for_browsers(hard, name):
    server, folder = hard
    stream = f"{name}-browser"
    r = run("import", stream, made(folder, name), "--start", START, "--data", server.data)
    assert r.returncode == 0, r.stderr
    playlist = server.http.get(server.whole(stream)).text
    assert "mp4a" not in playlist and "EXT-X-MEDIA" not in playlist, "left out unless asked for"
    url = server.whole(stream, audio="aac")
    playlist = server.http.get(url).text
    assert "mp4a.40.2" in playlist and "TYPE=AUDIO" in playlist
    assert media.frames(url) == media.frames(made(folder, name))
    sound = m3u8.renditions(server.http, url)[0]
    out = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "packet=pts", "-of", "csv=p=0", sound],
                         capture_output=True, text=True, check=True, timeout=60).stdout
    at = [int(p.strip(",")) for p in out.split()]
    assert len(at) > 30 and {b - a for a, b in zip(at, at[1:])} == {1024}, "without seams"
    # Through all fragments; telephone sound is itself 38 dB above its noise at best.
    db, lag = alike(heard(made(folder, name)), heard(sound))
    assert db > 20, (db, lag)
    # The same again, from memory or anew.
    segment = m3u8.fetch(server.http, sound).segments[1].uri
    assert server.http.get(segment).content == server.http.get(segment).content
