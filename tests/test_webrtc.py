"""WHIP in and WHEP out, by Chromium."""

import hashlib
import random
import re
import socket

import pytest
import requests

from support import media, webrtc
from support.browser import FLAGS, page_of, plays
from support.media import ffmpeg_publisher, running
from support.server import ApiError
from support.wait import wait_until

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--allow-loopback-in-peer-connection"]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS, *CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def context(browser):
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def token(server):
    """Of a viewer; for a stream that there is."""
    return lambda name: server.call("POST", f"/v1/streams/{name}/whep", {})["token"]


def live(server, name):
    wait_until("it is recorded", lambda: any(s["name"] == name for s in server.call("GET", "/v1/streams")["streams"]) and server.fragments(name))


def test_a_camera_is_watched_by_udp_and_by_tcp(server, clips, context, token):
    clip = clips(seconds=30)
    with running(ffmpeg_publisher(clip, server.publish_url("yard"), loop=True)):
        live(server, "yard")
        for tcp in (False, True):
            page = webrtc.page(context, server)
            answer = webrtc.watch(page, server, "yard", token("yard"), sound=True, tcp=tcp)
            assert answer["status"] == 201, answer
            seen = webrtc.decodes(page)
            assert (seen["codec"], seen["width"], seen["protocol"]) == ("video/H264", 320, "tcp" if tcp else "udp")
            assert server.metric("rushes_webrtc_sessions", way="out") == 1
            # It ends at once when it is deleted, and is no more then.
            resource = server.url + answer["location"]
            assert requests.delete(resource, timeout=20).status_code == 200
            assert requests.delete(resource, timeout=20).status_code == 404
            wait_until("the page is told", lambda: webrtc.stats(page)["connection"] in ("disconnected", "failed", "closed"))
            page.close()


def test_a_page_publishes_its_camera_and_is_watched(server, context, token):
    server.add_push("door")
    whip = server.call("POST", "/v1/cameras/door/publish-url")["publishUrl"].split("//")[1].split("@")[0].rstrip(":")
    page = webrtc.page(context, server)
    answer = webrtc.publish(page, server, "door", whip, "video/H264")
    assert answer["status"] == 201, answer
    live(server, "door")
    tracks = server.camera("door")["tracks"]
    assert [t["codecName"] for t in tracks] == ["H.264", "Opus"] or [t["codecName"] for t in tracks] == ["Opus", "H.264"]
    viewer = webrtc.page(context, server)
    assert webrtc.watch(viewer, server, "door", token("door"), sound=True)["status"] == 201
    webrtc.decodes(viewer)
    wait_until("there is sound", lambda: webrtc.stats(viewer)["sound"] > 50)
    # A key frame every two seconds, since it is asked for.
    wait_until("there are fragments", lambda: len(server.fragments("door")) >= 3)
    assert webrtc.stats(page)["plis"] >= 2
    # It is over when the page goes; what was sent is all there, and FFmpeg can read it.
    requests.delete(server.url + answer["location"], timeout=20).raise_for_status()
    server.quiet("door")
    url = server.whole("door")
    sent = webrtc.stats(page)["sent"]
    assert media.packets(url) >= sent * 0.8 and media.packets(url, "a") > 50, (media.packets(url), sent)
    fragments = server.fragments("door")
    assert all(f["keyFrame"] for f in fragments)


def test_what_is_refused_says_why(server, clips, context, token):
    clip = clips(seconds=4, extra=("-bf", "3"))
    with running(ffmpeg_publisher(clip, server.publish_url("b"), loop=True)):
        live(server, "b")
        page = webrtc.page(context, server)
        vp8 = webrtc.watch(page, server, "b", token("b"), codec="video/VP8")
        assert vp8["status"] == 406 and "H.264" in vp8["text"] and "HLS" in vp8["text"], vp8
        for who in ("wrong", token("b") + "x", ""):
            assert webrtc.watch(page, server, "b", who)["status"] == 401
        assert webrtc.watch(page, server, "other", token("b"))["status"] == 403
        sent = webrtc.publish(page, server, "b", token("b"), "video/H264")
        assert sent["status"] == 401, sent
        key = f"{server.key}:{server.secret}"
        whep = f"{server.url}/whep/b"
        auth = {"Authorization": f"Bearer {key}"}
        offer = {"Content-Type": "application/sdp", **auth}
        assert requests.post(whep, b"v=0", headers=offer, timeout=10).status_code == 400
        assert requests.post(whep, b"\xff", headers=offer, timeout=10).status_code == 400
        assert requests.post(whep, b"x" * 100_000, headers=offer, timeout=10).status_code == 413
        assert requests.post(whep, b"v=0", headers=auth, timeout=10).status_code == 415
        # A certificate that would be known by SHA-1 would never be.
        sha1 = "a=fingerprint:sha-1 " + hashlib.sha1(b"").digest().hex(":").upper()
        weak = re.sub("a=fingerprint:sha-256 [^\r\n]*", sha1, page.evaluate("pc.localDescription.sdp"))
        for url in (whep, f"{server.url}/whip/b"):
            r = requests.post(url, weak.encode(), headers=offer, timeout=10)
            assert r.status_code == 406 and "sha-1" in r.text and "sha-256" in r.text, r.text
        assert requests.get(whep, timeout=10).status_code == 405
        assert requests.options(whep, timeout=10).headers["Access-Control-Allow-Origin"] == "*"
        # B-frames are found out by watching, and known from then on.
        assert webrtc.watch(page, server, "b", key)["status"] == 201
        again = wait_until("it is found out", lambda: (r := webrtc.watch(page, server, "b", key))["status"] != 201 and r)
        assert again["status"] == 406 and "B-frames" in again["text"], again
        with pytest.raises(ApiError) as e:
            server.call("POST", "/v1/streams/nothing/whep", {})
        assert e.value.status == 404


def test_noise_on_the_ports_and_trickling(server, clips, context, token):
    """Random bytes on both ports beside a viewer; what a client may say later on."""
    clip = clips(seconds=30)
    host, port = server.ready["webrtc"].rsplit(":", 1)
    dice = random.Random(5)
    with running(ffmpeg_publisher(clip, server.publish_url("yard"), loop=True)):
        live(server, "yard")
        page = webrtc.page(context, server)
        answer = webrtc.watch(page, server, "yard", token("yard"))
        webrtc.decodes(page, 10)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for n in range(3000):
            first = [b"\x00\x01", b"\x16\xfe", b"\x80\x60", b""][n % 4]
            udp.sendto(first + dice.randbytes(dice.randrange(1400)), (host, int(port)))
        for _ in range(20):
            with socket.create_connection((host, int(port)), timeout=10) as tcp:
                tcp.sendall(dice.randbytes(500))
        webrtc.decodes(page, 25)
        resource = server.url + answer["location"]
        trickle = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": answer["etag"]}
        candidate = "a=mid:0\r\na=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host\r\n"
        ask = lambda body, **more: requests.patch(resource, body, headers={**trickle, **more}, timeout=10).status_code
        assert ask(candidate) == 204
        assert ask("a=ice-ufrag:other\r\n") == 400
        assert requests.patch(resource, candidate, headers={"Content-Type": trickle["Content-Type"]}, timeout=10).status_code == 428
        assert ask("nonsense") == 400
        assert ask(candidate, **{"If-Match": '"x"'}) == 412
        assert ask(candidate, **{"Content-Type": "text/plain"}) == 415
        webrtc.decodes(page, 10)


def test_ice_is_restarted(server, clips, context, token):
    """By a viewer and by a publisher, each with new credentials on both sides; media go on, in the same session."""
    with running(ffmpeg_publisher(clips(seconds=30), server.publish_url("yard"), loop=True)):
        live(server, "yard")
        viewer, camera = webrtc.page(context, server), webrtc.page(context, server)
        assert webrtc.watch(viewer, server, "yard", token("yard"))["status"] == 201
        webrtc.decodes(viewer, 10)
        server.add_push("door")
        assert webrtc.publish(camera, server, "door", f"{server.key}:{server.secret}", "video/H264")["status"] == 201
        live(server, "door")
        for page in (viewer, camera):
            for _ in range(2):
                answer = webrtc.restart(page)
                assert answer["status"] == 200 and answer["type"] == "application/trickle-ice-sdpfrag", answer
                assert answer["etag"] and answer["etag"] != answer["before"] and "a=candidate:" in answer["text"]
                wait_until("it is connected", lambda: page.evaluate("['connected', 'completed'].includes(pc.iceConnectionState)"))
        webrtc.decodes(viewer)
        before = len(server.fragments("door"))
        wait_until("it is recorded on", lambda: len(server.fragments("door")) >= before + 2)
        # An ETag of before is none any more.
        stale = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": answer["before"]}
        resource = server.url + camera.evaluate("window.resource")
        assert requests.patch(resource, "a=mid:0\r\n", headers=stale, timeout=10).status_code == 412
        assert server.metric("rushes_webrtc_sessions", way="out") == 1 and server.metric("rushes_webrtc_sessions", way="in") == 1


def test_so_many_sessions_and_no_more(serve, clips, context):
    server = serve("few", "--set", "webrtc.sessions=1")
    with running(ffmpeg_publisher(clips(seconds=30), server.publish_url("yard"), loop=True)):
        live(server, "yard")
        key = f"{server.key}:{server.secret}"
        one, two = webrtc.page(context, server), webrtc.page(context, server)
        first = webrtc.watch(one, server, "yard", key)
        assert first["status"] == 201
        assert webrtc.watch(two, server, "yard", key)["status"] == 503
        webrtc.decodes(one, 10)
        requests.delete(server.url + first["location"], timeout=20).raise_for_status()
        assert webrtc.watch(two, server, "yard", key)["status"] == 201
        webrtc.decodes(two, 10)


def test_the_console_plays_live_what_no_playlist_carries(server, clips, browser):
    live_vp8 = ffmpeg_publisher(clips(seconds=30), server.publish_url("yard"), loop=True, codec="libvpx", extra=("-deadline", "realtime", "-cpu-used", "8", "-g", "25"))
    with running(live_vp8):
        live(server, "yard")
        with page_of(browser, server) as page:
            page.get_by_test_id("camera-card-yard").click()
            wait_until("it comes by WebRTC", lambda: page.evaluate("!!document.querySelector('[data-testid=player-video]').srcObject"))
            plays(page, width=320)
            assert server.camera("yard")["tracks"][0]["codecName"] == "VP8"


def test_the_console_plays_live_without_delay(server, clips, browser):
    clip = clips(seconds=30)
    with running(ffmpeg_publisher(clip, server.publish_url("yard"), loop=True)):
        live(server, "yard")
        with page_of(browser, server) as page:
            page.get_by_test_id("camera-card-yard").click()
            wait_until("it comes by WebRTC", lambda: page.evaluate("!!document.querySelector('[data-testid=player-video]').srcObject"))
            plays(page, width=320)
            assert server.metric("rushes_webrtc_sessions", way="out") == 1
            # Back to what was: a moment ago is played from the recording.
            wait_until("there is a moment ago", lambda: len(server.fragments("yard")) >= 7)
            page.keyboard.press("j")
            wait_until("the session has ended", lambda: server.metric("rushes_webrtc_sessions", way="out") == 0)
            plays(page)
            assert not page.evaluate("document.querySelector('[data-testid=player-video]').srcObject")
