"""A camera's main and sub source: two streams, each with a state of its own."""

import json
import re

import pytest

from support.server import ApiError, run
from support.simulator import Simulator, free_port
from support.wait import wait_until


@pytest.fixture(scope="module")
def videos(clips):
    """A main and a sub: the same view in 320×180 and 160×90."""
    return clips(seconds=10, audio=True), clips(seconds=10, size="160x90")


def running(server, name):
    """The camera, once both of its sources run and are recorded."""

    def check():
        c = server.camera(name)
        return c["state"] == c["sub"]["state"] == "running" and c["recorded"] and c["sub"]["recorded"] and c

    return wait_until(f"both sources of {name} run", check)


def size(source):
    return next((t["width"], t["height"]) for t in source["tracks"] if t["kind"] == "video")


def rushes(server, *arguments):
    return run("camera", *arguments, "--data", server.data)


def said(server, *arguments):
    r = rushes(server, *arguments)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_a_camera_with_a_sub(server, videos):
    main, sub = videos
    with Simulator(main, "--sub", str(sub), "--user", "admin", "--password", "hunter2") as camera:
        found = said(server, "probe", camera.url, "--sub", camera.sub)
        assert re.search(r"^main +H.264 320×180, AAC .*\nsub +H.264 160×90 ", found), found
        r = rushes(server, "probe", camera.url, "--sub", camera.url.replace("/main", "/none"))
        assert r.returncode == 1 and "320×180" in r.stdout and "sub: " in r.stderr, r

        shown = said(server, "add", "yard", camera.url, "--sub", camera.sub)
        assert "yard.sub (sub)" in shown and "hunter2" not in shown
        c = running(server, "yard")
        assert (size(c), size(c["sub"])) == ((320, 180), (160, 90))
        assert c["sub"]["stream"] == "yard.sub" and "***@" in c["sub"]["source"]["url"]
        wait_until("its bit rate is known", lambda: server.camera("yard")["sub"]["bitrate"] > 0)
        assert server.metric("rushes_camera_up", camera="yard.sub") == 1
        streams = {s["name"]: s["subOf"] for s in server.call("GET", "/v1/streams")["streams"]}
        assert streams == {"yard": None, "yard.sub": "yard"}
        assert [c["name"] for c in server.call("GET", "/v1/cameras")["cameras"]] == ["yard"]
        assert "hunter2" not in json.dumps(server.call("GET", "/v1/cameras"))

        # Each keeps what it is told to, and both are there after a restart.
        assert run("stream", "set", "yard.sub", "--retention", "2d", "--data", server.data).returncode == 0
        server.restart()
        running(server, "yard")
        kept = {s["name"]: s["retention"] for s in server.call("GET", "/v1/streams")["streams"]}
        assert (kept["yard"]["hours"], kept["yard.sub"]["hours"], kept["yard.sub"]["set"]) == (None, 48, ["hours"])

        # The sub goes away and comes back; the main is not disturbed.
        before = server.camera("yard")
        assert "stays" in said(server, "set", "yard", "--no-sub")
        assert server.camera("yard")["sub"] is None
        assert server.fragments("yard.sub"), "what is recorded stays"
        assert "yard.sub (sub)" in said(server, "set", "yard", "--sub", camera.sub)
        after = running(server, "yard")
        assert after["since"] == before["since"] and after["lost"] == 0
        # One that cannot be reached says so itself.
        server.call("PATCH", "/v1/cameras/yard", {"sub": {"url": f"rtsp://127.0.0.1:{free_port()}/x"}})
        c = wait_until("the sub fails", lambda: (c := server.camera("yard"))["sub"]["state"] == "failed" and c)
        assert c["state"] == "running" and len(c["sub"]["detail"]) > 10
        said(server, "set", "yard", "--sub", camera.sub)
        running(server, "yard")

        assert "and its sub's are kept" in said(server, "remove", "yard")
        assert server.fragments("yard") and server.fragments("yard.sub")
        n = len(server.fragments("yard.sub"))
        said(server, "add", "yard", camera.url, "--sub", camera.sub)
        wait_until("it goes on where it was", lambda: len(server.fragments("yard.sub")) > n)
        assert "and its sub's are deleted" in said(server, "remove", "yard", "--delete-recordings")
        assert server.call("GET", "/v1/streams")["streams"] == []


def test_a_subs_stream_is_nobody_elses(server):
    nowhere = {"kind": "pull", "url": f"rtsp://127.0.0.1:{free_port()}/x"}

    def refused(status, words, method, path, body):
        with pytest.raises(ApiError) as e:
            server.call(method, path, body)
        assert e.value.status == status and words in e.value.words, e.value

    # A stream that is something else.
    server.call("POST", "/v1/streams", {"name": "door.sub"})
    refused(409, '"door.sub"', "POST", "/v1/cameras", {"name": "door", "source": nowhere, "sub": nowhere})
    server.call("POST", "/v1/cameras", {"name": "door", "source": nowhere})
    refused(409, '"door.sub"', "PATCH", "/v1/cameras/door", {"sub": nowhere})
    # A camera of that name, before and after.
    server.call("POST", "/v1/cameras", {"name": "gate.sub", "source": nowhere})
    refused(409, '"gate.sub"', "POST", "/v1/cameras", {"name": "gate", "source": nowhere, "sub": nowhere})
    server.call("POST", "/v1/cameras", {"name": "hall", "source": {"kind": "push"}, "sub": nowhere})
    refused(409, '"hall.sub"', "POST", "/v1/cameras", {"name": "hall.sub", "source": nowhere})
    server.call("DELETE", "/v1/cameras/hall")
    refused(409, '"hall.sub"', "POST", "/v1/cameras", {"name": "hall.sub", "source": nowhere})
    # What makes no sense.
    for sub in ({"kind": "push"}, {"url": "http://127.0.0.1/x"}, {"url": "rtsp://a/b", "x": 1}, "rtsp://a/b"):
        with pytest.raises(ApiError) as e:
            server.call("PATCH", "/v1/cameras/door", {"sub": sub})
        assert e.value.status == 400, sub
    refused(400, "too long", "POST", "/v1/cameras", {"name": "a" * 253, "source": nowhere, "sub": nowhere})
    assert server.camera("door")["sub"] is None
