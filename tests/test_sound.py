"""Sound that players do not play, as sound that they do: by HLS and in files, without seams and in step."""

import array
import math
import subprocess

import pytest

from support import m3u8, media
from support.server import Server, run

START = "2026-03-01T10:00:00Z"
# A tone that goes up and down, never the same in two places of ten seconds; and a step in loudness each second.
SWEEP = "0.4*(0.6+0.4*gt(mod(t,1),0.5))*sin(2*PI*(300*t+40*sin(2*PI*t/10)+7*sin(2*PI*t*0.37)))"
PICTURES = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-pix_fmt", "yuv420p"]

# What is recorded, and its ending.
SOUNDS = {
    "g711": (".mkv", 8000, 1, ["-c:a", "pcm_mulaw"]),
    "g711-a": (".mov", 8000, 1, ["-c:a", "pcm_alaw"]),
    "opus": (".mkv", 48000, 2, ["-c:a", "libopus", "-b:a", "128k"]),
    "pcm": (".mov", 16000, 1, ["-c:a", "pcm_s16le"]),
    "mp3": (".mkv", 48000, 2, ["-c:a", "libmp3lame", "-b:a", "192k"]),
}
# What is asked for, what it becomes, and how long a packet is.
ASKED = [
    ("g711", "aac", "mp4a.40.2", 1024),
    ("g711-a", "aacOrOpus", "mp4a.40.2", 1024),
    ("g711", "opus", "opus", 960),
    ("opus", "aac", "mp4a.40.2", 1024),
    ("pcm", "opus", "opus", 960),
    ("mp3", "aac", "mp4a.40.2", 1024),
]


@pytest.fixture(scope="module")
def sounding(tmp_path_factory):
    """A server with a stream of each kind of sound, and the clips."""
    folder = tmp_path_factory.mktemp("sound")
    with Server(folder / "data") as server:
        clips = {}
        for name, (ending, rate, channels, how) in SOUNDS.items():
            clips[name] = made(folder / f"{name}{ending}", 8, rate, channels, how)
            imported(server, name, clips[name])
        yield server, clips, folder


def made(path, seconds, rate, channels, how, pictures=True):
    layout = "mono" if channels == 1 else "stereo"
    sound = ["-f", "lavfi", "-i", f"aevalsrc='{'|'.join([SWEEP] * channels)}':s={rate}:c={layout}:d={seconds}"]
    seen = ["-f", "lavfi", "-i", f"testsrc2=size=96x64:rate=25:duration={seconds}"] if pictures else []
    media.ffmpeg("-y", *seen, *sound, *(PICTURES if pictures else []), *how, path)
    return path


def imported(server, name, clip):
    r = run("import", name, clip, "--start", START, "--data", server.data)
    assert r.returncode == 0, r.stderr


def heard(source, *how):
    """Decoded sound: 16-bit samples at 8 kHz."""
    raw = media.ffmpeg("-i", source, "-map", "0:a:0", *how, "-ac", 1, "-ar", 8000, "-f", "s16le", "-")
    return array.array("h", raw)


def alike(want, have, at=8000, span=None):
    """How much louder than the difference what was sent is, in dB, and how late it is played, in samples."""
    part = want[at : at + 4000]

    def difference(lag, step):
        return sum((part[i] - have[at + lag + i]) ** 2 for i in range(0, len(part), step))

    lag = min(range(-1024, 3072), key=lambda lag: difference(lag, 16))
    lag = min(range(lag - 2, lag + 3), key=lambda lag: difference(lag, 1))
    span = span or range(6000, len(want) - 8000)
    noise = sum((want[i] - have[i + lag]) ** 2 for i in span)
    return 10 * math.log10(sum(want[i] ** 2 for i in span) / max(noise, 1)), lag


def times(source):
    out = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "packet=pts", "-of", "csv=p=0", source],
                         capture_output=True, text=True, check=True, timeout=60).stdout
    return [int(p.strip(",")) for p in out.split()]


@pytest.mark.parametrize("name,asked,codec,packet", ASKED)
def test_by_hls(sounding, name, asked, codec, packet):
    server, clips, _ = sounding
    if name != "opus":
        playlist = server.http.get(server.whole(name)).text
        assert "EXT-X-MEDIA" not in playlist and '"audio": "aac"' in playlist, "left out unless asked for, and said"
    url = server.whole(name, audio=asked)
    playlist = server.http.get(url).text
    assert codec in playlist and "TYPE=AUDIO" in playlist and "left out" not in playlist, playlist
    assert media.frames(url) == media.frames(clips[name])
    sound = m3u8.renditions(server.http, url)[0]
    at = times(sound)
    assert len(at) > 30 and {b - a for a, b in zip(at, at[1:])} == {packet}, "without seams"
    # Through all fragments; telephone sound is itself 38 dB above its noise at best.
    db, lag = alike(heard(clips[name]), heard(sound))
    assert db > 20, (db, lag)
    # The same again, from memory or anew.
    segment = m3u8.fetch(server.http, sound).segments[1].uri
    assert server.http.get(segment).content == server.http.get(segment).content


def test_what_plays_stays_as_it_is(sounding):
    server, clips, _ = sounding
    for asked in ("aacOrOpus", "opus"):
        sound = m3u8.renditions(server.http, server.whole("opus", audio=asked))[0]
        have = media.sounds(sound)
        assert have and have == media.sounds(clips["opus"])[: len(have)]


@pytest.mark.parametrize("name,asked,ending", [("g711", "aac", "mp4"), ("g711", "opus", "mkv"), ("opus", "aac", "mp4"), ("pcm", "aacOrOpus", "mkv")])
def test_in_files(sounding, name, asked, ending):
    server, clips, folder = sounding
    file = folder / f"{name}-{asked}.{ending}"
    r = run("export", name, file, "--from", "0", "--audio", asked, "--data", server.data, "--json")
    assert r.returncode == 0, r.stderr
    assert '"leftOut": []' in r.stdout, r.stdout
    assert media.frames(file, silent=True) == media.frames(clips[name])
    codec = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "stream=codec_name", "-of", "csv=p=0", file],
                           capture_output=True, text=True, check=True).stdout.strip()
    assert codec == ("opus" if asked == "opus" else "aac")
    db, lag = alike(heard(clips[name]), heard(file))
    assert db > 20, (db, lag)


@pytest.mark.parametrize("asked,ending", [("aac", "mp4"), ("opus", "mkv")])
def test_minutes_later_sound_is_still_in_step(sounding, asked, ending):
    server, _, folder = sounding
    seconds = 240
    clip = folder / "long.mkv"
    if not clip.exists():
        made(clip, seconds, 8000, 1, ["-c:a", "pcm_mulaw"])
        imported(server, "long", clip)
    file = folder / f"long-{asked}.{ending}"
    r = run("export", "long", file, "--from", "0", "--audio", asked, "--data", server.data)
    assert r.returncode == 0, r.stderr
    # By the file's own clock: what is missing is silence, what overlaps is cut.
    want, have = heard(clip), heard(file, "-af", "aresample=async=1:first_pts=0")
    assert abs(len(have) - seconds * 8000) < 4000
    first = media.times(file)[0]
    for at in (2, seconds // 2, seconds - 4):
        db, lag = alike(want, have, at * 8000, range(at * 8000, at * 8000 + 8000))
        # Within a picture.
        assert abs(lag / 8000 - first) < 0.04 and db > 15, (at, lag, first, db)


def test_sound_alone(sounding):
    server, _, folder = sounding
    clip = made(folder / "alone.mkv", 9, 8000, 1, ["-c:a", "pcm_alaw"], pictures=False)
    imported(server, "alone", clip)
    url = server.whole("alone", audio="aac")
    db, lag = alike(heard(clip), heard(url))
    assert db > 20, (db, lag)
    answer = server.http.get(server.whole("alone"))
    assert answer.status_code == 404 and "G.711" in answer.text and "aac" in answer.text


def test_what_nothing_can_be_made_of_is_said(sounding):
    server, _, folder = sounding
    clip = made(folder / "flac.mkv", 5, 48000, 2, ["-c:a", "flac"])
    imported(server, "flac", clip)
    url = server.whole("flac", audio="aac")
    playlist = server.http.get(url).text
    assert "EXT-X-MEDIA" not in playlist and "track 2" in playlist and "left out" in playlist
    assert media.frames(url) == media.frames(clip)
