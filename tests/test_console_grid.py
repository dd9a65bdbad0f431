"""The console's grid: every tile plays live, by WebRTC of the sub source where that can be. In a real Chromium."""

import contextlib

import pytest
from playwright.sync_api import expect

from support.browser import FLAGS, fits, page_of, plays, quality
from support.media import ffmpeg_publisher, running
from support.server import Server
from support.simulator import Simulator
from support.wait import stays, wait_until

MAIN, SUB = 320, 160

#: The connections that a page makes, for whoever wants to see what they carry.
WATCHED = "window.peers = []; window.RTCPeerConnection = class extends RTCPeerConnection { constructor(...how) { super(...how); window.peers.push(this); } };"

#: A tile gives up on WebRTC, for the page's life, where there is no picture after eight seconds: a busy machine needs longer. A
#: minute is never over, since all of the tile is tried anew before. What was stretched is counted.
PATIENT = """window.stretched = 0; const timeout = window.setTimeout;
window.setTimeout = (run, ms, ...more) => timeout(run, ms === 8000 ? (window.stretched++, 60000) : ms, ...more);"""

#: Of the connections that are there: how wide pictures are that were decoded, how long they waited for that (s), tracks of sound.
CARRIED = """async () => {
  const all = await Promise.all(window.peers.filter((pc) => pc.connectionState === 'connected').map((pc) => pc.getStats()));
  const kinds = (kind) => all.flatMap((report) => [...report.values()].filter((s) => s.type === 'inbound-rtp' && s.kind === kind));
  const seen = kinds('video').filter((s) => s.framesDecoded > 5);
  return { widths: seen.map((s) => s.frameWidth).sort((a, b) => a - b), waited: seen.map((s) => s.jitterBufferDelay / s.jitterBufferEmittedCount), sound: kinds('audio').length };
}"""

#: What is on the screen, in few pixels.
PICTURE = """(which) => {
  const canvas = document.createElement('canvas'); canvas.width = 32; canvas.height = 18;
  const paper = canvas.getContext('2d'); paper.drawImage(document.querySelector(which), 0, 0, 32, 18);
  return paper.getImageData(0, 0, 32, 18).data.join();
}"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS, "--allow-loopback-in-peer-connection"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory, clips):
    """`yard` and `gate` have a sub, `gate`'s main is one that Chromium does not play; `lone` has none. `tram` sends B-frames,
    which browsers do not take by WebRTC."""
    main, sub = clips(seconds=10), clips(seconds=10, size="160x90")
    hevc = clips(seconds=10, codec="libx265", extra=("-x265-params", "log-level=error", "-tag:v", "hvc1"))
    reordered = clips(seconds=20, extra=("-bf", "2", "-x264-params", "b-adapt=0"))
    with Server(tmp_path_factory.mktemp("grid") / "data", "--set", "video.target_seconds=1") as server, \
            Simulator(main, "--sub", str(sub)) as good, Simulator(hevc, "--sub", str(sub)) as new, \
            running(ffmpeg_publisher(reordered, server.publish_url("tram"), loop=True)):
        for name, camera in (("yard", good), ("gate", new)):
            server.call("POST", "/v1/cameras", {"name": name, "source": {"kind": "pull", "url": camera.url}, "sub": {"url": camera.sub}})
        server.add_pull("lone", good.url)
        recorded(server, "yard", "yard.sub", "gate", "gate.sub", "lone", "tram")
        yield server


def recorded(server, *names):
    def are():
        streams = {s["name"] for s in server.call("GET", "/v1/streams")["streams"]}
        return streams >= set(names) and all(len(server.fragments(n)) >= 4 for n in names)

    wait_until("some is recorded", are)


@contextlib.contextmanager
def grid(browser, server, script="", **how):
    """The list of cameras, in a page in which a script of ours ran first; and what it asked for."""
    with page_of(browser, server, **how) as page:
        asked = []
        page.goto("about:blank")
        page.on("request", lambda r: asked.append(f"{r.method} {r.url.removeprefix(server.url)}"))
        page.add_init_script(WATCHED + PATIENT + script)
        page.goto(server.url)
        yield page, asked


def card(page, name):
    return page.get_by_test_id(f"camera-card-{name}")


def tile(name):
    return f'[data-testid="camera-card-{name}"] video'


def comes(page, name, how):
    expect(card(page, name)).to_have_attribute("data-how", how, timeout=60_000)


def moves(page, name):
    """What is on the screen becomes something else."""
    first = page.evaluate(PICTURE, tile(name))
    wait_until(f"the picture of {name} moves", lambda: page.evaluate(PICTURE, tile(name)) != first)


def watched(server):
    return server.metric("rushes_webrtc_sessions", way="out")


@pytest.mark.parametrize("theme, width", [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_tiles_play_by_webrtc_from_the_sub(browser, world, artifacts, theme, width):
    with grid(browser, world, color_scheme=theme, viewport={"width": width, "height": 1500}) as (page, asked):
        for name, pixels in (("yard", SUB), ("gate", SUB), ("lone", MAIN)):
            comes(page, name, "webrtc")
            plays(page, tile(name), pixels)
            moves(page, name)
            expect(card(page, name).locator(".card-live")).to_be_visible()
        # What WebRTC does not carry.
        comes(page, "tram", "low")
        plays(page, tile("tram"), MAIN)
        # The pictures are those of the connections: two of a sub, one of a main; and nobody asked for sound.
        carried = wait_until("they are decoded", lambda: len((c := page.evaluate(CARRIED))["widths"]) == 3 and c)
        assert (carried["widths"], carried["sound"]) == ([SUB, SUB, MAIN], 0) and max(carried["waited"]) < 5, carried
        assert page.evaluate("window.stretched") >= 3, "tiles are patient for another time than PATIENT stretches"
        assert {a for a in asked if a.startswith("POST /whep/")} == {f"POST /whep/{n}" for n in ("gate.sub", "lone", "tram", "yard.sub")}
        assert {a for a in asked if a.endswith("/sessions")} == {"POST /v1/streams/tram/sessions"}
        assert page.evaluate("[...document.querySelectorAll('.tile-video')].every(v => v.muted)")
        fits(page)
        page.screenshot(path=artifacts / f"grid-{theme}-{width}.png")
    wait_until("nobody watches any more", lambda: watched(world) == 0)


def test_where_webrtc_does_not_connect_low_latency_hls_stands_in(browser, world):
    with grid(browser, world, "RTCPeerConnection.prototype.setRemoteDescription = () => Promise.reject(new Error('no'));") as (page, _):
        # Over HTTP/1.1 not more than two hold a connection; the others play ordinary HLS.
        for name, pixels in (("yard", SUB), ("gate", SUB), ("lone", MAIN), ("tram", MAIN)):
            plays(page, tile(name), pixels)
            moves(page, name)
        hows = [card(page, n).get_attribute("data-how") for n in ("gate", "lone", "tram", "yard")]
        assert sorted(hows) == ["hls", "hls", "low", "low"], hows
        # Their sessions are given up.
        wait_until("nobody watches any more", lambda: watched(world) == 0)


def test_tiles_that_nobody_sees_stop(browser, world):
    with grid(browser, world, viewport={"width": 390, "height": 420}) as (page, _):
        comes(page, "gate", "webrtc")
        expect(card(page, "yard")).to_have_attribute("data-playing", "false")
        stays("only what is seen plays", lambda: card(page, "yard").get_attribute("data-how") is None, 1)
        page.locator(tile("yard")).scroll_into_view_if_needed()
        comes(page, "yard", "webrtc")
        expect(card(page, "gate")).to_have_attribute("data-playing", "false")
        wait_until("one is watched", lambda: watched(world) == 1)
        # A page that is left watches nothing.
        page.goto(f"{world.url}/#/storage")
        wait_until("nobody watches any more", lambda: watched(world) == 0)


@pytest.mark.parametrize("theme, width", [("light", 1280), ("dark", 390)])
def test_a_tile_that_fails_says_why_and_tries_again(browser, world, artifacts, theme, width):
    with grid(browser, world, color_scheme=theme, viewport={"width": width, "height": 1500}) as (page, asked):
        comes(page, "yard", "webrtc")
        for path in ("**/whep/yard.sub", "**/v1/streams/yard.sub/sessions"):
            page.route(path, lambda route: route.abort())
        page.evaluate("window.peers.forEach((pc) => { pc.close(); pc.dispatchEvent(new Event('connectionstatechange')); })")
        notice = card(page, "yard").locator(".card-notice")
        expect(notice).to_contain_text("The server cannot be reached. Trying again", timeout=30_000)
        expect(card(page, "yard").locator("img")).to_be_visible()
        # What was asked is told while something else is.
        tries = lambda: page.evaluate("1") and sum(a == "POST /whep/yard.sub" for a in asked)
        before = tries()
        wait_until("it tries again", lambda: tries() > before + 1)
        # The others are none the worse.
        comes(page, "gate", "webrtc")
        page.screenshot(path=artifacts / f"grid-failed-{theme}-{width}.png")
        page.unroute_all()
        # By the keyboard.
        card(page, "yard").get_by_role("button", name="Try now").focus()
        page.keyboard.press("Enter")
        plays(page, tile("yard"), SUB)
        expect(notice).to_be_hidden()


def test_what_the_browser_cannot_play_is_said(browser, serve, clips):
    hevc = clips(seconds=10, codec="libx265", extra=("-x265-params", "log-level=error", "-tag:v", "hvc1"))
    server = serve()
    with Simulator(hevc) as camera:
        server.add_pull("new", camera.url)
        with grid(browser, server) as (page, _):
            expect(card(page, "new").locator(".card-notice")).to_contain_text("H.265 is not supported by this browser.")
            expect(card(page, "new").get_by_role("button", name="Try now")).to_be_hidden()
            wait_until("there is a still", lambda: page.evaluate("document.querySelector('.still-image').naturalWidth"))
            assert quality(page, tile("new"))["width"] == 0


def test_the_grid_by_keyboard(browser, world):
    with grid(browser, world) as (page, _):
        expect(card(page, "yard")).to_be_visible()
        focused = lambda: page.evaluate("document.activeElement.closest('[data-camera]')?.dataset.camera")
        page.get_by_role("link", name="gate", exact=True).focus()
        seen = []
        # Three beside each other.
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowLeft"):
            page.keyboard.press(key)
            seen.append(focused())
        assert seen == ["lone", "tram", "yard", "gate", "gate", "gate"]
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        plays(page, width=MAIN)
        expect(page.get_by_role("heading", name="lone")).to_be_visible()


def test_over_http2_every_tile_may_hold_a_request(browser, serve, clips):
    """Low-latency HLS of more tiles than HTTP/1.1 has connections, all of it over HTTP/2."""
    server = serve("tls", "--tls-self-signed", "--set", "video.target_seconds=1")
    clip, names = clips(seconds=60, size="160x90"), [f"c{i}" for i in range(7)]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(running(ffmpeg_publisher(clip, server.publish_url(name), loop=True)))
        recorded(server, *names)
        page, _ = stack.enter_context(grid(browser, server, "localStorage.setItem('rushes.near', '0');", ignore_https_errors=True, viewport={"width": 1280, "height": 1200}))
        for name in names:
            comes(page, name, "low")
            plays(page, tile(name), SUB)
        of = """(part) => performance.getEntriesByType('resource').filter((e) => e.name.includes(part)).map((e) => e.nextHopProtocol)"""
        waited = wait_until("playlists were waited for", lambda: len(p := page.evaluate(of, "_HLS_msn=")) > 20 and p)
        parts = wait_until("parts were fetched", lambda: len(p := page.evaluate(of, "/part-")) > 20 and p)
        assert {*waited, *parts} == {"h2"}
