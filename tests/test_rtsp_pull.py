"""Rushes pulls from cameras: good ones, ones that go away, sick ones."""

import json
import re

import pytest

from support import media
from support.server import ApiError
from support.simulator import Peer, Simulator, free_port, garbage, silence
from support.wait import stays, wait_until


def state(server, name, want, seconds=30):
    """Waits for a state; the camera then."""

    def check():
        c = server.camera(name)
        return c["state"] in want and c

    try:
        return wait_until(f"{name} is {' or '.join(want)}", check, seconds)
    except AssertionError as e:
        raise AssertionError(f"{e}: {server.camera(name)}") from None


@pytest.fixture(scope="module")
def video(clips):
    return clips(seconds=10, audio=True)


@pytest.mark.parametrize("transport", ["tcp", "udp", "auto"])
def test_a_camera_is_recorded(server, video, transport):
    with Simulator(video) as camera:
        server.add_pull("yard", camera.url, transport=transport)
        c = state(server, "yard", {"running"})
        wait_until("a few fragments", lambda: len(server.fragments("yard")) >= 3)
        c = wait_until("its bit rate is known", lambda: (c := server.camera("yard"))["bitrate"] > 0 and c, 20)
        kinds = {t["kind"]: t for t in c["tracks"]}
        assert kinds["video"]["codecName"] == "H.264" and (kinds["video"]["width"], kinds["video"]["height"]) == (320, 180)
        assert kinds["audio"]["codecName"] == "AAC"
        assert "H.264" in c["detail"] and c["lost"] == 0
        wait_until("all that came in went out", lambda: (c := server.camera("yard"))["unitsIn"] == c["unitsOut"] > 50)
        server.call("PATCH", "/v1/cameras/yard", {"enabled": False})
        state(server, "yard", {"stopped"})
    # It began in the middle and went round the file's end: what is there is a run of the file's units, played over and over.
    sent, have = media.nal_units(video), media.nal_units(server.whole("yard"))
    joined = 3 * sent
    first = next(i for i in range(len(sent)) if joined[i : i + len(have)] == have)
    assert joined[first : first + len(have)] == have and len(have) > 25


def test_a_camera_that_goes_away_is_taken_up_again(server, video):
    with Simulator(video) as camera:
        address = camera.address
        server.add_pull("yard", camera.url)
        state(server, "yard", {"running"})
        wait_until("something is recorded", lambda: server.fragments("yard"))
        camera.kill()
        c = state(server, "yard", {"failed", "connecting"})
        before = len(server.fragments("yard"))
        assert c["detail"]
    with Simulator(video, listen=address):
        state(server, "yard", {"running"}, 90)
        wait_until("it goes on", lambda: len(server.fragments("yard")) > before)
    fragments = server.fragments("yard")
    assert any(f["discontinuity"] for f in fragments[1:])


def test_wrong_credentials_are_said(server, video):
    with Simulator(video, "--user", "admin", "--password", "s3cret/+ä") as camera:
        bare = re.sub(r"//.*@", "//", camera.url)
        server.add_pull("none", bare)
        server.add_pull("wrong", bare.replace("//", "//admin:guess@"))
        server.add_pull("right", bare.replace("//", "//admin:s3cret%2F%2B%C3%A4@"))
        for name in ("none", "wrong"):
            c = state(server, name, {"rejected"})
            assert re.search("credential|password|user name", c["detail"], re.I), c["detail"]
        c = state(server, "right", {"running"})
        shown = json.dumps(server.call("GET", "/v1/cameras"))
        assert "***" in c["source"]["url"] and "s3cret" not in shown and "guess" not in shown
        # Somebody changes something: at once it works.
        server.call("PATCH", "/v1/cameras/wrong", {"source": {"kind": "pull", "url": bare.replace("//", "//admin:s3cret%2F%2B%C3%A4@")}})
        state(server, "wrong", {"running"})


def test_one_sick_camera_does_not_touch_another(server, video):
    with Simulator(video) as camera, Peer(garbage) as noise, Peer(silence) as mute:
        server.add_pull("well", camera.url, transport="tcp")
        server.add_pull("noise", noise.url)
        server.add_pull("mute", mute.url)
        server.add_pull("absent", f"rtsp://127.0.0.1:{free_port()}/x")
        server.add_pull("nameless", "rtsp://no-such-host.invalid/x")
        state(server, "well", {"running"})
        for name in ("noise", "absent", "nameless"):
            c = state(server, name, {"failed", "rejected"})
            assert len(c["detail"]) > 10, c
        wait_until("the silent one is tried", lambda: mute.connections)
        before = server.camera("well")["unitsIn"]
        stays("the well one runs", lambda: server.camera("well")["state"] == "running", 3)
        c = server.camera("well")
        assert c["unitsIn"] >= before + 50 and c["lost"] == 0
        c = state(server, "mute", {"failed"}, 60)
        assert re.search("answer|time|respond", c["detail"]), c["detail"]
        assert all(not f["discontinuity"] for f in server.fragments("well")[1:])


def test_no_such_path_and_no_such_scheme(server, video):
    with Simulator(video) as camera:
        server.add_pull("lost", f"rtsp://{camera.address}/no/such/path")
        c = state(server, "lost", {"rejected", "failed"})
        assert re.search("path|not found|404", c["detail"], re.I), c["detail"]
    for url in ("http://127.0.0.1/x", "file:///etc/passwd", "rtsp://", "not a url"):
        with pytest.raises(ApiError) as e:
            server.add_pull("x", url)
        assert e.value.status == 400, e.value


def test_probing_says_what_a_camera_sends(server, video):
    def probe(url):
        return server.call("POST", "/v1/cameras/probe", {"url": url})

    with Simulator(video, "--user", "u", "--password", "p") as camera, Peer(garbage) as noise:
        bare = re.sub(r"//.*@", "//", camera.url)
        found = probe(bare.replace("//", "//u:p@"))
        assert [t["codecName"] for t in found["tracks"]] == ["H.264", "AAC"]
        assert found["tracks"][0]["mime"].startswith('video/mp4; codecs="avc1.')
        assert found["still"].startswith("data:image/jpeg;base64,/9j/")
        for url, codes in [
            (bare, {"WrongCredentials"}),
            (bare.replace("//", "//u:no@"), {"WrongCredentials"}),
            (f"rtsp://127.0.0.1:{free_port()}/x", {"Unreachable"}),
            (f"rtsp://u:p@{camera.address}/nowhere", {"NoSuchPath"}),
            (noise.url, {"NotRtsp", "TimedOut"}),
        ]:
            with pytest.raises(ApiError) as e:
                probe(url)
            assert e.value.status == 422 and e.value.code in codes, e.value
            assert len(e.value.words) > 15, e.value
    # Nothing was added.
    assert server.call("GET", "/v1/cameras")["cameras"] == []


def test_disable_enable_remove(server, video):
    with Simulator(video) as camera:
        server.add_pull("yard", camera.url)
        state(server, "yard", {"running"})
        wait_until("something is recorded", lambda: server.fragments("yard"))
        server.call("PATCH", "/v1/cameras/yard", {"enabled": False})
        state(server, "yard", {"stopped"})
        n = len(server.fragments("yard"))
        server.call("PATCH", "/v1/cameras/yard", {"enabled": True})
        state(server, "yard", {"running"})
        wait_until("more is recorded", lambda: len(server.fragments("yard")) > n)
        server.call("DELETE", "/v1/cameras/yard")
        assert server.fragments("yard"), "recordings are kept"
        server.add_pull("yard", camera.url)
        state(server, "yard", {"running"})
        server.call("DELETE", "/v1/cameras/yard?recordings=delete")
    with pytest.raises(ApiError) as e:
        server.call("GET", "/v1/streams/yard")
    assert e.value.status == 404


def test_cameras_survive_a_restart(server, video):
    with Simulator(video, "--user", "admin", "--password", "hunter2") as camera:
        server.add_pull("yard", re.sub(r"//.*@|//", "//admin:hunter2@", camera.url, count=1))
        state(server, "yard", {"running"})
        server.restart()
        state(server, "yard", {"running"})
