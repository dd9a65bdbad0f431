"""What was recorded, as files for other programs."""

import datetime
import json
import subprocess

import pytest

from support import media
from support.m3u8 import when
from support.server import Server, run


def export(server, name, file, *flags):
    """By the command line; what it says, as JSON."""
    r = run("export", name, file, "--data", server.data, "--json", *flags)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


def later(time, seconds):
    return (when(time) + datetime.timedelta(seconds=seconds)).isoformat()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, clips):
    """A stream of pictures with B-frames and sound, a key frame a second."""
    with Server(tmp_path_factory.mktemp("export") / "data") as server:
        clip = clips(seconds=6, audio=True, extra=("-bf", "2"))
        media.publish(media.ffmpeg_publisher(clip, server.publish_url("yard")))
        server.quiet("yard")
        yield server, clip


def test_the_same_frames_in_both_kinds_of_file(recorded, tmp_path):
    server, clip = recorded
    for ending in ("mp4", "mkv"):
        file = tmp_path / f"all.{ending}"
        said = export(server, "yard", file, "--from", "0")
        assert said["bytes"] == file.stat().st_size and said["leftOut"] == []
        media.silent(file)
        assert media.frames(file) == media.frames(clip)
        media.same_video(clip, file)
        media.same_audio(clip, file)
        duration = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", file],
                                  capture_output=True, text=True).stdout
        assert float(duration) == pytest.approx(6, abs=0.2)
    assert not list(tmp_path.glob(".*partial"))


def test_a_range_begins_with_the_key_frame_before_it(recorded, tmp_path):
    server, clip = recorded
    first = server.fragments("yard")[0]["producerStart"]
    at = later(first, 2.5)
    for ending in ("mp4", "mkv"):
        file = tmp_path / f"part.{ending}"
        said = export(server, "yard", file, "--from", at, "--to", later(first, 4.0))
        media.silent(file)
        have, want = media.frames(file), media.frames(clip)
        # From the key frame at 2 s; up to 4 s, and perhaps the pictures that those need.
        assert have[:50] == want[50:100] and 50 <= len(have) <= 53, len(have)
        assert when(said["from"]) <= when(at)


def test_what_cannot_be_exported_is_said_and_leaves_no_file(recorded, tmp_path):
    server, _ = recorded
    file = tmp_path / "x.mp4"
    for flags, words in [
        (("yard", file, "--from", "2001-01-01T00:00:00Z", "--to", "2001-01-02T00:00:00Z"), "nothing in this range"),
        (("nobody", file, "--from", "0"), "no video stream"),
        (("yard", file, "--from", "yesterday"), "from"),
        (("yard", tmp_path / "x.avi", "--from", "0"), ".mp4 or .mkv"),
    ]:
        r = run("export", *flags, "--data", server.data)
        assert r.returncode != 0 and words in r.stderr, r.stderr
    file.write_text("mine")
    r = run("export", "yard", file, "--from", "0", "--data", server.data)
    assert r.returncode != 0 and "--force" in r.stderr and file.read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir() if "x." in p.name] == ["x.mp4"]
