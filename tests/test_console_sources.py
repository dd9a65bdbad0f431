"""What the console plays of a camera with two sources, in a real Chromium (Debian's cannot play H.265)."""

import re

import pytest
from playwright.sync_api import expect

from support.browser import first_picture, fits, page_of, plays
from support.m3u8 import when
from support.server import Server
from support.simulator import Simulator, free_port
from support.wait import wait_until

MAIN, SUB = 320, 160


@pytest.fixture(scope="module")
def world(tmp_path_factory, clips):
    """`yard`: H.264 with a sub; `gate`: H.265 with a sub in H.264; `alone`: H.265 and nothing else."""
    main, sub = clips(seconds=10), clips(seconds=10, size="160x90")
    hevc = clips(seconds=10, codec="libx265", extra=("-x265-params", "log-level=error", "-tag:v", "hvc1"))
    with Server(tmp_path_factory.mktemp("sources") / "data", "--set", "video.target_seconds=1") as server, \
            Simulator(main, "--sub", str(sub)) as good, Simulator(hevc, "--sub", str(sub)) as new:
        for name, camera in (("yard", good), ("gate", new)):
            server.call("POST", "/v1/cameras", {"name": name, "source": {"kind": "pull", "url": camera.url}, "sub": {"url": camera.sub}})
        server.add_pull("alone", new.url)
        wait_until("some is recorded", lambda: all(len(fragments(server, n)) >= 4 for n in ("yard", "yard.sub", "gate", "gate.sub", "alone")))
        server.good = good
        yield server


def fragments(server, name):
    streams = [s["name"] for s in server.call("GET", "/v1/streams")["streams"]]
    return server.fragments(name) if name in streams else []


@pytest.fixture
def page(chromium, world):
    with page_of(chromium, world) as page:
        yield page


def tile(name):
    return f'[data-testid="camera-card-{name}"] video'


def note(page):
    return page.get_by_test_id("source-note")


def test_the_grid_plays_the_sub_and_the_page_the_main(page, artifacts):
    for name in ("yard", "gate"):
        plays(page, tile(name), SUB)
    assert page.evaluate("document.querySelector('[data-testid=camera-card-alone] video').videoWidth") == 0, "it shows stills"
    assert page.evaluate("[...document.querySelectorAll('.tile-video')].every(v => v.muted)")
    assert page.locator("[data-camera]").count() == 3, "a sub is no camera of its own"
    page.screenshot(path=artifacts / "grid-plays-sub.png")
    page.get_by_test_id("camera-card-yard").click()
    first_picture(page)
    plays(page, width=MAIN)
    expect(note(page)).to_be_hidden()
    expect(page.get_by_test_id("sub-details")).to_contain_text("160×90")


@pytest.mark.parametrize("theme, width", [("light", 1280), ("dark", 390)])
def test_the_sub_stands_in_where_the_main_does_not_play(chromium, world, artifacts, theme, width):
    with page_of(chromium, world, color_scheme=theme, viewport={"width": width, "height": 844}) as page:
        page.get_by_test_id("camera-card-gate").click()
        first_picture(page)
        plays(page, width=SUB)
        expect(note(page)).to_contain_text("H.265 is not supported by this browser. This is the sub source, 160×90.")
        fits(page)
        page.screenshot(path=artifacts / f"fallback-{theme}-{width}.png")
        # Its recordings, too.
        start = world.fragments("gate.sub")[0]["producerStart"]
        page.goto("about:blank")
        page.goto(f"{world.url}/#/cameras/gate?at={start}")
        plays(page, width=SUB)
        position = page.locator(".moment").get_attribute("datetime")
        assert abs((when(position) - when(start)).total_seconds()) < 10
        page.goto(f"{world.url}/#/cameras/alone")
        expect(page.get_by_role("alert")).to_contain_text("H.265 is not supported by this browser.")


def test_the_sub_stands_in_while_the_main_sends_nothing(page, world):
    page.get_by_test_id("camera-card-yard").click()
    plays(page, width=MAIN)
    world.call("PATCH", "/v1/cameras/yard", {"source": {"kind": "pull", "url": f"rtsp://127.0.0.1:{free_port()}/x"}})
    plays(page, width=SUB)
    expect(note(page)).to_contain_text("The main source sends no picture.")
    world.call("PATCH", "/v1/cameras/yard", {"source": {"kind": "pull", "url": world.good.url}})
    plays(page, width=MAIN)
    expect(note(page)).to_be_hidden()
    # What only the sub has of that time.
    fragments = world.fragments("yard")
    back = next(i for i, f in enumerate(fragments) if i and f["discontinuity"])
    gap = when(fragments[back]["producerStart"]) - when(fragments[back - 1]["producerEnd"])
    assert gap.total_seconds() > 1, gap
    at = when(fragments[back - 1]["producerEnd"]) + gap / 2
    page.goto("about:blank")
    page.goto(f"{world.url}/#/cameras/yard?at={at.isoformat().replace('+00:00', 'Z')}")
    plays(page, width=SUB)
    expect(note(page)).to_contain_text("The main source was not recorded here. This is the sub source, 160×90.")


def test_adding_and_changing_a_sub(chromium, serve, clips, artifacts):
    server = serve()
    videos = clips(seconds=10, audio=True), clips(seconds=10, size="160x90")
    with Simulator(videos[0], "--sub", str(videos[1]), "--user", "admin", "--password", "pw") as camera, page_of(chromium, server) as page:
        bare = [re.sub("//.*@", "//", url) for url in (camera.url, camera.sub)]
        page.get_by_role("button", name="Add a camera by its address").click()
        page.get_by_test_id("probe-url").fill(bare[0].replace("//", "//admin:pw@"))
        page.get_by_test_id("probe-sub-url").fill(f"rtsp://127.0.0.1:{free_port()}/x")
        page.get_by_test_id("probe-button").click()
        expect(page.get_by_test_id("probe-result")).to_contain_text("320×180")
        expect(page.get_by_role("dialog")).to_contain_text(re.compile("refus|reach|connect", re.I))
        expect(page.get_by_test_id("save-camera")).to_be_hidden()
        page.get_by_test_id("probe-sub-url").fill(bare[1].replace("//", "//admin:pw@"))
        page.get_by_test_id("probe-button").click()
        expect(page.get_by_test_id("probe-sub-result")).to_contain_text("160×90")
        expect(page.get_by_test_id("probe-result")).to_contain_text("AAC")
        page.screenshot(path=artifacts / "add-camera-with-sub.png")
        page.get_by_test_id("save-camera").click()
        c = wait_until("it is added", lambda: server.call("GET", "/v1/cameras")["cameras"])[0]
        name = c["name"]
        assert c["sub"]["stream"] == f"{name}.sub"
        plays(page, tile(name), SUB)

        # Away and back again.
        page.get_by_role("button", name=f"More about {name}").click()
        page.get_by_role("menuitem", name="Change sub source…").click()
        page.get_by_test_id("remove-sub").click()
        wait_until("it is gone", lambda: server.camera(name)["sub"] is None)
        expect(page.locator("dialog")).to_have_count(0)
        assert page.locator("[data-camera]").count() == 1, "what is left of a sub is no camera of its own"
        page.get_by_role("button", name=f"More about {name}").click()
        page.get_by_role("menuitem", name="Add a sub source…").click()
        page.get_by_test_id("probe-url").fill(bare[1].replace("//", "//admin:pw@"))
        page.get_by_test_id("probe-button").click()
        expect(page.get_by_test_id("probe-result")).to_contain_text("160×90")
        page.get_by_test_id("save-camera").click()
        wait_until("it is there again", lambda: server.camera(name)["sub"])
        plays(page, tile(name), SUB)
