"""What goes wrong at the start is said in one line that tells what to do, with an exit code that is not 0."""

import base64
import os
import shutil
import socket

import pytest

from support.m3u8 import fetch
from support.media import ffmpeg_publisher, publish
from support.server import Server, run
from support.wait import wait_until


def refuses(*arguments, **env):
    """The one line that a start ends with."""
    free = [x for flag in ("--listen", "--rtsp") if flag not in arguments for x in (flag, "127.0.0.1:0")]
    r = run("serve", *free, *arguments, timeout=30, RUSHES_LOG="error", **env)
    assert r.returncode not in (0, 101) and r.returncode > 0, r
    assert r.stdout == "", r.stdout
    lines = r.stderr.strip().splitlines()
    assert len(lines) == 1, r.stderr
    assert "panicked" not in r.stderr
    return lines[0]


@pytest.fixture
def filled(serve, clips):
    """A stopped server's data folder with something in it."""
    server = serve("filled", "--set", "video.target_seconds=1")
    publish(ffmpeg_publisher(clips(seconds=4), server.publish_url("door")))
    server.quiet("door")
    server.fragment_list = [f["position"] for f in server.fragments("door")]
    assert len(server.fragment_list) >= 3
    server.stop()
    return server


def test_a_taken_port(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
        line = refuses("--data", tmp_path / "d", "--listen", f"127.0.0.1:{port}")
        assert str(port) in line and "--listen" in line, line
        line = refuses("--data", tmp_path / "d", "--rtsp", f"127.0.0.1:{port}")
        assert str(port) in line and "--rtsp" in line, line


def test_a_folder_that_is_in_use(server):
    line = refuses("--data", server.data)
    assert str(server.data) in line and "another" in line, line
    assert server.request("GET", "/readyz").ok


def test_a_folder_of_a_newer_version(filled):
    (filled.data / "format").write_text("rushes 999\n")
    line = refuses("--data", filled.data)
    assert "999" in line and "newer" in line, line


def test_a_folder_that_is_not_ours(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    line = refuses("--data", tmp_path / "photos")
    assert "photos" in line and "--data" in line, line
    assert [p.name for p in (tmp_path / "photos").iterdir() if p.name != "lock"] == ["cat.jpg"]
    (tmp_path / "file").write_text("x")
    assert "file" in refuses("--data", tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "locked" in refuses("--data", tmp_path / "locked")


def test_a_wrong_or_missing_master_key(filled):
    key = filled.data / "master.key"
    right = key.read_bytes()
    key.write_bytes(base64.b64encode(b"0" * 32) + b"\n")
    line = refuses("--data", filled.data)
    assert "master key" in line, line
    key.write_bytes(b"rubbish\n")
    assert "master key" in refuses("--data", filled.data)
    key.unlink()
    assert "master key" in refuses("--data", filled.data)
    key.write_bytes(right)
    key.chmod(0o644)
    assert "chmod 600" in refuses("--data", filled.data)
    key.chmod(0o600)
    filled.start()
    assert [f["position"] for f in filled.fragments("door")] == filled.fragment_list


def newest(folder):
    files = [p for p in folder.iterdir() if p.is_file() and p.stat().st_size]
    return max(files, key=lambda p: (p.stat().st_mtime_ns, p.name))


def test_a_journal_that_tore(filled, clips):
    """Garbage after the last write, as a power cut leaves: cut off, all else is there, and it goes on."""
    journal = newest(filled.data / "journal")
    whole = journal.read_bytes()
    for torn in (whole + os.urandom(3000), whole + b"\0" * 5000):
        journal.write_bytes(torn)
        filled.start()
        assert [f["position"] for f in filled.fragments("door")] == filled.fragment_list
        filled.kill()
        if not journal.exists():
            journal = newest(filled.data / "journal")
        whole = journal.read_bytes()
    filled.start()
    publish(ffmpeg_publisher(clips(seconds=4), filled.publish_url("door")))
    wait_until("more is recorded", lambda: len(filled.fragments("door")) > len(filled.fragment_list))
    assert [f["position"] for f in filled.fragments("door")][: len(filled.fragment_list)] == filled.fragment_list
    filled.stop()


def test_a_journal_cut_short_after_a_crash(serve, clips, tmp_path):
    """As a power cut may leave what was never acknowledged: the last bytes missing."""
    server = serve("cut", "--set", "video.target_seconds=1")
    publish(ffmpeg_publisher(clips(seconds=4), server.publish_url("door")))
    server.quiet("door")
    known = [f["position"] for f in server.fragments("door")]
    server.kill()
    journal = newest(server.data / "journal")
    whole = journal.read_bytes().rstrip(b"\0")
    for n, cut in enumerate((1, 7, 100)):
        copy = tmp_path / f"copy-{n}"
        shutil.copytree(server.data, copy)
        (copy / "journal" / journal.name).write_bytes(whole[:-cut])
        # What was cut off here *was* acknowledged: it is gone, but what is left is a beginning of what there was,
        # and never half a fragment; or the damage is named.
        again = Server(copy)
        try:
            again.start()
        except AssertionError:
            assert "journal" in again.tail(5), again.tail(5)
            continue
        left = [f["position"] for f in again.fragments("door")]
        assert left == known[: len(left)]
        if left:
            assert all(again.http.get(s.uri).ok for s in fetch(again.http, again.whole("door")).segments)
        again.stop()


def test_unknown_configuration(tmp_path):
    file = tmp_path / "rushes.toml"
    for text, near in [('lisen = "127.0.0.1:1"', "listen"), ("[video]\ntarget_second = 3", "target_seconds"), ("[log]\nfiltre = 'x'", "log.filter")]:
        file.write_text(text)
        line = refuses("--config", file, "--data", tmp_path / "d")
        assert f'"{near}"' in line or near in line, line
        assert "rushes.toml" in line, line
    assert "target_seconds" in refuses("--data", tmp_path / "d", "--set", "video.targetseconds=1")
    assert "nowhere.toml" in refuses("--config", tmp_path / "nowhere.toml")
    file.write_text("listen = ")
    assert "rushes.toml" in refuses("--config", file)
    assert not (tmp_path / "d").exists()
