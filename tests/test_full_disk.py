"""A file system that really gets full: a tmpfs in a mount namespace of the test's own, in which it runs itself again."""

import errno
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from support.media import ffmpeg
from support.putmedia import END_OF_FRAGMENT, PutMedia, fragment, header
from support.server import run
from support.wait import wait_until
from test_kvs import client

T0 = 1_700_000_000_000

#: The clip to import, when this is the inner run.
CLIP = os.environ.get("RUSHES_TEST_SMALL_DISK")
SIZE = 120 << 20
NAMESPACE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


def may_mount():
    return subprocess.run([*NAMESPACE, "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode == 0


@pytest.mark.skipif(CLIP is not None, reason="the inner run")
@pytest.mark.parametrize("inner", ["test_cameras_overwrite_their_oldest_and_a_full_disk_heals", "test_a_producer_is_told"])
def test_a_small_disk(tmp_path, inner):
    if not may_mount():
        pytest.skip("this machine lets nobody mount a file system of his own")
    clip = tmp_path / "noise.mp4"
    # What does not compress: some 5 MB.
    ffmpeg("-f", "lavfi", "-i", "nullsrc=s=320x180:r=25,geq=random(1)*255:128:128", "-t", 6, "-c:v", "libx264",
           "-preset", "ultrafast", "-g", 25, "-bf", 0, "-b:v", "7M", "-pix_fmt", "yuv420p", clip)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size={SIZE} tmpfs "$1" && exec "$2" -m pytest -o addopts= -p no:cacheprovider --basetemp "$1/t" "$3"'
    r = subprocess.run([*NAMESPACE, script, "sh", disk, sys.executable, f"{__file__}::{inner}"], timeout=170, capture_output=True, text=True,
                       env={**os.environ, "RUSHES_TEST_SMALL_DISK": str(clip)})
    assert r.returncode == 0 and "1 passed" in r.stdout, r.stdout[-6000:] + r.stderr[-2000:]


def bring(server, n, name="door"):
    start = f"2026-03-{1 + n // 24:02}T{n % 24:02}:00:00Z"
    r = run("import", name, CLIP, "--start", start, "--resume", "--data", server.data)
    assert r.returncode == 0 or "room" in r.stderr or "free" in r.stderr or "space" in r.stderr, r
    return r.returncode == 0


def fill(path):
    """Takes what is left, to the last page, and at once: what retention frees meanwhile is not taken too."""
    with path.open("wb") as f:
        end = 0
        while free := shutil.disk_usage(path.parent).free:
            try:
                os.posix_fallocate(f.fileno(), end, free)
                end += free
            except OSError as e:
                # Somebody else was quicker; the file system has less now.
                assert e.errno == errno.ENOSPC, e


@pytest.mark.skipif(CLIP is None, reason="only as the inner run of the other test")
def test_cameras_overwrite_their_oldest_and_a_full_disk_heals(serve):
    server = serve("data", *(x for s in (
        "shard_log.journal_file_mib=2", "shard_log.segment_mib=4", "shard_log.segment_seconds=0.5", "video.target_seconds=1",
        'retention.free_floor="30MB"', 'retention.reserve="6MB"') for x in ("--set", s)))
    assert (server.data / "reserve").stat().st_size == 6_000_000, "it is there before anything is taken"
    times = 2 * SIZE // pathlib.Path(CLIP).stat().st_size
    for n in range(times):
        wait_until(f"import {n} of {times}", lambda: bring(server, n), 20, every=0.3)
    first, last = (server.fragments("door")[i] for i in (0, -1))
    assert first["producerStart"] > "2026-03-01T06" and last["producerStart"] > f"2026-03-{1 + (times - 1) // 24:02}", (first, last)
    wait_until("the floor is kept", lambda: shutil.disk_usage(server.data).free > 25e6)
    # Moving recordings into segments may have needed it.
    reserve = server.data / "reserve"
    wait_until("the reserve is whole", lambda: reserve.exists() and reserve.stat().st_size == 6_000_000, 30)

    # Somebody else takes all that is left, to the last byte, and the reserve helps.
    filler = server.data.parent / "filler"
    fill(filler)
    wait_until("writing resumes by itself", lambda: bring(server, times), 30, every=0.3)
    assert server.fragments("door")[-1]["producerStart"] >= last["producerStart"], "reading goes on"
    filler.unlink()
    wait_until("the reserve is made again", lambda: (server.data / "reserve").exists(), 30)

    # Recordings take the disk again, up to the floor, ...
    n = times
    while shutil.disk_usage(server.data).free > 45e6:
        n += 1
        wait_until(f"import {n}", lambda: bring(server, n), 20, every=0.3)

    # ... and it is filled while the server is away: it starts all the same, and makes room of what it has.
    server.stop()
    fill(filler)
    server.start()
    # It answers; there may be nothing left, if one segment held all of it.
    server.fragments("door")
    wait_until("room is made", lambda: bring(server, n + 1), 30, every=0.3)
    filler.unlink()
    server.restart()
    assert server.fragments("door")
    wait_until("it goes on", lambda: bring(server, n + 2), 20, every=0.3)


@pytest.mark.skipif(CLIP is None, reason="only as the inner run of the other test")
def test_a_producer_is_told(serve):
    """PutMedia into a stream that was made by CreateStream, which does not overwrite: what was acknowledged is kept, what is not is
    named, and the next one is taken as soon as there is room."""
    server = serve("data", "--set", "shard_log.journal_file_mib=2", "--set", "shard_log.segment_mib=4")
    client(server).create_stream(StreamName="s", DataRetentionInHours=24)
    p = PutMedia(server, "s").send(header()).send(fragment(T0)).send(END_OF_FRAGMENT)
    p.wait("PERSISTED")
    filler = server.data.parent / "filler"
    fill(filler)
    n = 1
    while not p.of("ERROR") and n < 40:
        # What is set aside already takes some.
        p.send(fragment(T0 + n * 1000, length=100_000)).send(END_OF_FRAGMENT)
        p.until(lambda: len(p.of("PERSISTED")) > n or p.of("ERROR"))
        n += 1
    error, = p.of("ERROR")
    assert (error["ErrorId"], error["ErrorCode"]) == (5001, "ARCHIVAL_ERROR")
    p.rest()
    said = [a["FragmentNumber"] for a in p.of("PERSISTED")]
    listed = lambda: [f["FragmentNumber"] for f in client(server, "kinesis-video-archived-media").list_fragments(StreamName="s")["Fragments"]]
    assert set(said) <= set(listed())
    filler.unlink()

    def goes_on():
        q = PutMedia(server, "s").send(header()).send(fragment(T0 + 100_000))
        q.finish()
        return q.of("PERSISTED")

    wait_until("a producer is taken again", goes_on, 30, every=0.3)
    assert set(said) < set(listed())
