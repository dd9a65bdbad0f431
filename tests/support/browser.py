"""The console's pages in a real Chromium."""

import contextlib
import pathlib

from .wait import wait_until

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"]


def launch(playwright):
    return playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)


@contextlib.contextmanager
def page_of(chromium, server, signed_in=True, **how):
    """A page in a context of its own; what it logs as an error fails the test."""
    context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, "timezone_id": "Europe/Berlin", "locale": "en-GB", **how})
    page = context.new_page()
    page.set_default_timeout(20_000)
    wrong = []
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" and "Content Security Policy" in m.text else None)
    if signed_in:
        page.goto(server.url + server.call("POST", "/v1/session/link", {})["path"])
    yield page
    context.close()
    assert not wrong, wrong


def quality(page, video="[data-testid=player-video]"):
    return page.evaluate("""(which) => { const v = document.querySelector(which);
        if (!v) return {at: 0, frames: 0, dropped: 0, width: 0};
        const q = v.getVideoPlaybackQuality(); return {at: v.currentTime, frames: q.totalVideoFrames, dropped: q.droppedVideoFrames, width: v.videoWidth}; }""", video)


# Polled from here: the pages' policy forbids what Playwright's own waiting does inside them, and is not to be lifted.


def first_picture(page):
    return wait_until("there is a picture", lambda: page.evaluate("window.__rushes.firstPictureMs"))


def plays(page, video="[data-testid=player-video]", width=None):
    """Time advances and pictures are decoded, of a width if that is said."""
    wait_until("it has a picture of that width", lambda: (q := quality(page, video))["width"] and width in (None, q["width"]))
    a = quality(page, video)
    wait_until("it plays", lambda: (b := quality(page, video))["at"] > a["at"] + 1 and b["frames"] > a["frames"] + 15)


def fits(page):
    """Nothing sticks out to the side."""
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window, f"the page is {wide} px wide in a window of {window}"


PLAY_HLS = """async ([module, url]) => {
  const Hls = Object.values(await import(module)).find((v) => v && v.isSupported);
  const video = document.body.appendChild(document.createElement('video'));
  video.muted = true;
  const hls = new Hls();
  window.failed = [];
  hls.on(Hls.Events.ERROR, (_, d) => { if (d.fatal) window.failed.push(d.details); });
  hls.loadSource(url); hls.attachMedia(video);
  video.play();
}"""


def play_hls(page, url):
    """Plays it by the console's hls.js, on any page of the server; fatal errors are in `window.failed`."""
    assets = pathlib.Path(__file__).parents[2] / "web/dist/assets"
    page.evaluate(PLAY_HLS, ["/assets/" + next(p.name for p in assets.glob("hls-*.js")), url])
