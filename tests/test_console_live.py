"""Live in the console: by WebRTC or by low-latency HLS, and what can be taken along or sent from here. In a real Chromium."""

import json
import subprocess

import pytest
import requests
from playwright.sync_api import expect

from support.browser import FLAGS, fits, page_of, plays, quality
from support.media import ffmpeg_publisher, running
from support.server import Server
from support.wait import wait_until

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--allow-loopback-in-peer-connection"]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS, *CAMERA])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory, clips):
    """`yard` sends what WebRTC carries, `hall` sound in AAC, which it does not."""
    with Server(tmp_path_factory.mktemp("live") / "data", "--set", "video.target_seconds=1") as server:
        mute, loud = clips(seconds=60, gop=25), clips(seconds=60, gop=25, audio=True)
        with running(ffmpeg_publisher(mute, server.publish_url("yard"), loop=True)), running(ffmpeg_publisher(loud, server.publish_url("hall"), loop=True)):
            names = lambda: {s["name"] for s in server.call("GET", "/v1/streams")["streams"]}
            wait_until("some is recorded", lambda: names() >= {"yard", "hall"} and all(len(server.fragments(n)) > 4 for n in ("yard", "hall")))
            yield server


def near(page):
    return page.evaluate("!!document.querySelector('[data-testid=player-video]')?.srcObject")


def late(page):
    text = page.get_by_test_id("behind-live").inner_text()
    return float(text.split(" s")[0]) if " s" in text else None


@pytest.mark.parametrize("theme, width", [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_live_comes_by_webrtc_and_says_so(browser, world, artifacts, theme, width):
    with page_of(browser, world, color_scheme=theme, viewport={"width": width, "height": 844}) as page:
        page.get_by_test_id("camera-card-yard").click()
        wait_until("it comes by WebRTC", lambda: near(page))
        plays(page, width=320)
        expect(page.get_by_test_id("how")).to_have_text("by WebRTC")
        wait_until("it says how late", lambda: (s := late(page)) is not None and s < 1)
        fits(page)
        page.screenshot(path=artifacts / f"live-webrtc-{theme}-{width}.png")
        # As the viewer likes; it is remembered.
        page.get_by_test_id("near-live").click()
        wait_until("it comes by HLS", lambda: not near(page))
        plays(page, width=320)
        expect(page.get_by_test_id("how")).to_have_text("by low-latency HLS")


def test_what_webrtc_does_not_carry_comes_by_low_latency_hls(browser, world, artifacts):
    with page_of(browser, world) as page:
        page.get_by_test_id("camera-card-hall").click()
        plays(page, width=320)
        assert not near(page)
        expect(page.get_by_test_id("near-live")).to_be_hidden()
        expect(page.get_by_test_id("how")).to_have_text("by low-latency HLS")
        said = wait_until("it is near live", lambda: (s := late(page)) is not None and s < 2.5 and s)
        print(f"{said} s behind live")
        page.screenshot(path=artifacts / "live-low-latency.png")


def test_a_camera_that_stops_is_said_where_webrtc_shows_it(browser, world, clips):
    """The picture stands, and time with it; it goes on by itself."""
    publisher = lambda: running(ffmpeg_publisher(clips(seconds=60, gop=25), world.publish_url("gate"), loop=True))
    gate = lambda: [s for s in world.call("GET", "/v1/streams")["streams"] if s["name"] == "gate"] and len(world.fragments("gate"))
    world.add_push("gate")
    with page_of(browser, world) as page:
        with publisher():
            wait_until("it is recorded", lambda: gate() > 1)
            page.get_by_test_id("camera-card-gate").click()
            wait_until("it comes by WebRTC", lambda: near(page))
            plays(page, width=320)
            expect(page.get_by_test_id("how")).to_have_text("by WebRTC")
        said = page.locator(".stage-message")
        expect(said).to_be_visible(timeout=15_000)
        expect(said).to_contain_text("No new picture. Nobody publishes to it.")
        wait_until("it says how late the picture is", lambda: (s := late(page)) is not None and s > 3)
        moment = page.locator("time.moment")
        before = moment.inner_text()
        page.wait_for_timeout(1500)
        assert moment.inner_text() == before
        with publisher():
            plays(page, width=320)
            wait_until("it says that it is live", lambda: (s := late(page)) is not None and s < 1)
            expect(said).to_be_hidden()
            expect(page.get_by_test_id("how")).to_have_text("by WebRTC")


#: Makes the page believe that its connection was lost.
LOSE = """() => { for (const pc of window.connections) {
  Object.defineProperty(pc, 'connectionState', { value: 'failed' });
  pc.dispatchEvent(new Event('connectionstatechange')); } window.connections = []; }"""


def test_a_connection_that_is_lost_comes_back(browser, world):
    with page_of(browser, world) as page:
        page.add_init_script("""window.connections = []; const Real = RTCPeerConnection;
            window.RTCPeerConnection = class extends Real { constructor(...a) { super(...a); window.connections.push(this); } };""")
        page.reload()
        page.get_by_test_id("camera-card-yard").click()
        plays(page, width=320)
        expect(page.get_by_test_id("how")).to_have_text("by WebRTC")
        page.evaluate(LOSE)
        expect(page.get_by_test_id("how")).to_have_text("by low-latency HLS")
        expect(page.get_by_test_id("near-live")).to_be_visible()
        expect(page.get_by_test_id("how")).to_have_text("by WebRTC", timeout=30_000)
        plays(page, width=320)


def test_where_webrtc_does_not_connect_hls_stands_in(browser, world):
    with page_of(browser, world) as page:
        page.add_init_script("RTCPeerConnection.prototype.setRemoteDescription = () => Promise.reject(new Error('no'))")
        page.reload()
        page.get_by_test_id("camera-card-yard").click()
        plays(page, width=320)
        assert not near(page)
        expect(page.get_by_test_id("how")).to_have_text("by low-latency HLS")


def test_a_still_and_a_clip(browser, world, tmp_path, artifacts):
    with page_of(browser, world, accept_downloads=True) as page:
        page.get_by_test_id("camera-card-hall").click()
        plays(page, width=320)
        with page.expect_download() as d:
            page.get_by_test_id("take-still").click()
        assert d.value.suggested_filename.startswith("hall ") and d.value.suggested_filename.endswith(".jpg")
        d.value.save_as(tmp_path / "still.jpg")
        assert probe(tmp_path / "still.jpg")["streams"][0]["width"] == 320
        page.get_by_test_id("export-clip").click()
        for field in ("export-from", "export-to"):
            assert page.get_by_test_id(field).evaluate("e => e.offsetWidth") >= 250, "room for seconds and AM or PM"
        page.screenshot(path=artifacts / "export.png")
        with page.expect_download() as d:
            page.get_by_test_id("export-save").click()
        d.value.save_as(tmp_path / "clip.mp4")
        kinds = [s["codec_type"] for s in probe(tmp_path / "clip.mp4")["streams"]]
        assert sorted(kinds) == ["audio", "video"] and float(probe(tmp_path / "clip.mp4")["format"]["duration"]) > 2
        # A range of nothing is said, and saved by nobody.
        page.get_by_test_id("export-clip").click()
        page.get_by_test_id("export-from").fill("2020-01-01T00:00:00")
        page.get_by_test_id("export-to").fill("2020-01-01T00:01:00")
        page.get_by_test_id("export-save").click()
        expect(page.get_by_role("dialog")).to_contain_text("othing is recorded in this range")


@pytest.mark.parametrize("theme, width", [("light", 1280), ("dark", 390)])
def test_addresses_for_other_programs(browser, world, artifacts, theme, width):
    with page_of(browser, world, color_scheme=theme, viewport={"width": width, "height": 844}) as page:
        page.get_by_role("button", name="More about hall").click()
        page.get_by_role("menuitem", name="Watch elsewhere…").click()
        of = lambda label: page.get_by_label(label, exact=True).inner_text()
        playlist = of("HLS address")
        assert sorted(s["codec_name"] for s in probe(playlist)["streams"]) == ["aac", "h264"]
        assert of("lasting HLS address") == f"{world.url}/v1/streams/hall/live.m3u8".replace("://", "://ACCESS_KEY_ID:SECRET@")
        assert of("WHEP address") == world.url + "/whep/hall"
        offered = requests.post(of("WHEP address"), "nothing", headers={"Authorization": f"Bearer {of('token')}", "Content-Type": "application/sdp"}, timeout=20)
        assert offered.status_code == 400, "it is let in, and is no offer"
        assert requests.get(playlist.replace("main.m3u8", "1.m3u8").replace("/hls/", "/hls/x"), timeout=20).status_code == 403
        still = of("command for a still").split()[-1].strip("'")
        assert world.http.get(still, timeout=20).headers["Content-Type"] == "image/jpeg"
        fits(page)
        page.screenshot(path=artifacts / f"elsewhere-{theme}-{width}.png")


def probe(file):
    out = subprocess.run(["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", file], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(out.stdout)


@pytest.mark.parametrize("theme, width", [("light", 1280), ("dark", 390)])
def test_this_browsers_camera_is_published_with_one_click(browser, world, artifacts, theme, width):
    name = f"stage{width}"
    world.add_push(name)
    with page_of(browser, world, color_scheme=theme, viewport={"width": width, "height": 844}) as page:
        page.get_by_role("button", name=f"More about {name}").click()
        page.get_by_role("menuitem", name="Publish from this browser…").click()
        page.get_by_test_id("publish-start").click()
        expect(page.get_by_test_id("publish-state")).to_contain_text("Publishing.")
        wait_until("it is recorded", lambda: any(s["name"] == name for s in world.call("GET", "/v1/streams")["streams"]) and len(world.fragments(name)) >= 2)
        tracks = {t["codecName"] for t in world.camera(name)["tracks"]}
        assert tracks == {"H.264", "Opus"}
        wait_until("one sees oneself", lambda: quality(page, "[data-testid=publish-picture]")["width"])
        fits(page)
        page.screenshot(path=artifacts / f"publish-{theme}-{width}.png")
        page.get_by_role("button", name="Stop").click()
        world.quiet(name)


def test_a_page_without_https_says_that_there_is_no_camera(browser, world):
    world.add_push("far")
    with page_of(browser, world) as page:
        page.add_init_script("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
        page.reload()
        page.get_by_role("button", name="More about far").click()
        page.get_by_role("menuitem", name="Publish from this browser…").click()
        expect(page.get_by_test_id("publish-state")).to_contain_text("https://")
        expect(page.get_by_test_id("publish-start")).to_be_disabled()
