"""Files of other programs, into a stream and out again."""

import datetime
import json
import os
import subprocess

import pytest

from support import media
from support.m3u8 import when
from support.server import BIN, Server, environment, run
from support.wait import wait_until

CREATED = "2026-03-01T10:00:00Z"


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("import") / "data") as server:
        yield server


def imported(server, name, *arguments):
    r = run("import", name, *arguments, "--data", server.data, "--json")
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)["files"]


def out(server, name, file, *flags):
    r = run("export", name, file, "--from", "0", "--to", "4000000000000", "--data", server.data, *flags)
    assert r.returncode == 0, r.stderr
    media.silent(file)
    return file


def heard(file):
    return [h for h in media.sounds(file) if h.startswith("MD5:")]


def made(folder, clip, ending, *how):
    """The clip in another container, with a date."""
    path = folder / f"{clip.stem}{ending}"
    media.ffmpeg("-y", "-i", clip, "-c", "copy", "-metadata", f"creation_time={CREATED}", *how, path)
    return path


@pytest.mark.parametrize("ending, how", [
    (".mp4", ()),
    (".frag.mp4", ("-movflags", "frag_keyframe+empty_moov+default_base_moof")),
    (".mkv", ()),
])
def test_what_goes_in_comes_out(stock, clips, tmp_path, ending, how):
    clip = clips(seconds=5, gop=50, audio=True, extra=("-bf", "2"))
    name = f"in{ending}"
    (said,) = imported(stock, name, made(tmp_path, clip, ending, *how))
    assert abs(when(said["from"]) - when(CREATED)) < datetime.timedelta(milliseconds=100), said
    for kind in ("mp4", "mkv"):
        file = out(stock, name, tmp_path / f"out.{kind}")
        assert media.frames(file) == media.frames(clip)
        media.same_video(clip, file)
        assert heard(file) == heard(clip)


def test_a_file_is_not_imported_twice(stock, clips, tmp_path):
    file = made(tmp_path, clips(seconds=4), ".mp4")
    imported(stock, "once", file)
    r = run("import", "once", file, "--data", stock.data)
    assert r.returncode != 0 and "already" in r.stderr and "--resume" in r.stderr, r.stderr
    (said,) = imported(stock, "once", file, "--resume")
    assert said["units"] == 0
    # Elsewhere it may go; others follow it.
    a, b = imported(stock, "once", file, file, "--start", "2026-03-02T00:00:00Z")
    assert a["from"].startswith("2026-03-02T00:00:00") and a["to"] == b["from"]
    assert media.packets(out(stock, "once", tmp_path / "all.mkv", "--gaps", "close")) == 300


def test_an_import_that_was_cut_off_goes_on(serve, clips, tmp_path):
    server = serve()
    clip = made(tmp_path, clips(seconds=20, gop=25, audio=True), ".mp4")
    p = subprocess.Popen([BIN, "import", "cut", clip, "--data", server.data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    wait_until("something of it is there", lambda: p.poll() is not None or server.request("GET", "/v1/streams/cut").ok, 20, every=0.001)
    server.kill()
    p.wait(20)
    server.start()
    if server.request("GET", "/v1/streams/cut").ok:
        imported(server, "cut", clip, "--resume")
    else:
        imported(server, "cut", clip)
    file = out(server, "cut", tmp_path / "out.mp4")
    assert media.frames(file) == media.frames(clip)
    assert heard(file) == heard(clip)


def test_bad_files_are_said_to_be(stock, clips, tmp_path):
    whole = clips(seconds=4, audio=True).read_bytes()
    mkv = made(tmp_path, clips(seconds=4, audio=True), ".mkv").read_bytes()
    bad = {
        "empty.mp4": b"",
        "text.mp4": b"this is not a film at all, but text",
        "headless.mp4": whole[: whole.index(b"moov") - 4],
        "mad.mkv": mkv[:600] + b"\x1a\x45\xdf\xa3\xff\xff" + os.urandom(2000),
        "moov.mp4": whole[: whole.index(b"moov") + 100],
        "stbl.mp4": whole.replace(b"stsz\0\0\0\0\0\0\0\0", b"stsz\0\0\0\0\0\0\0\0\xff\xff\xff\xff", 1),
    }
    for name, data in bad.items():
        file = tmp_path / name
        file.write_bytes(data)
        r = run("import", "bad", file, "--data", stock.data)
        assert r.returncode == 1 and name in r.stderr and "panicked" not in r.stderr, (name, r.stdout, r.stderr)
    # A file that was cut off is taken as far as it goes.
    file = tmp_path / "cut.mkv"
    file.write_bytes(mkv[: len(mkv) * 2 // 3])
    imported(stock, "cut-off", file, "--start", "2026-01-01T00:00:00Z")
    assert 30 < media.packets(out(stock, "cut-off", tmp_path / "cut.mp4")) < 100


def test_nothing_is_imported_into_a_stream_that_is_published_to(stock, clips, tmp_path):
    clip = clips(seconds=4)
    file = made(tmp_path, clip, ".mp4")
    with media.running(media.ffmpeg_publisher(clip, stock.publish_url("live"), loop=True)):
        wait_until("it is published to", lambda: stock.request("GET", "/v1/streams/live").ok, 20)
        r = run("import", "live", file, "--data", stock.data)
    assert r.returncode == 1 and "publishes" in r.stderr, r.stderr
