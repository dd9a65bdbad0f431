"""How long recordings stay, and what is pinned, on the console's pages."""

import re

import pytest
from playwright.sync_api import expect

from support.browser import fits, page_of
from support.server import Server
from support.simulator import Simulator
from support.wait import wait_until


@pytest.fixture(scope="module")
def world(tmp_path_factory, clips):
    main, sub = clips(seconds=10), clips(seconds=10, size="160x90")
    flags = ("--set", "video.target_seconds=1", "--set", "retention.default_age=365d", "--set", "retention.total=2TB")
    with Server(tmp_path_factory.mktemp("keeping") / "data", *flags) as server, Simulator(main, "--sub", str(sub)) as camera:
        server.call("POST", "/v1/cameras", {"name": "yard", "source": {"kind": "pull", "url": camera.url}, "sub": {"url": camera.sub}})
        wait_until("some is recorded", lambda: (c := server.camera("yard"))["recorded"] and c["sub"]["recorded"] and len(server.fragments("yard")) > 3)
        yield server


def retention(server, name):
    return server.call("GET", f"/v1/streams/{name}")["retention"]


def pins(server, name):
    return server.call("GET", f"/v1/streams/{name}/pins")["pins"]


def test_changing_how_long_a_camera_is_kept(chromium, world):
    with page_of(chromium, world) as page:
        page.goto(world.url + "/#/cameras/yard")
        main, sub = page.get_by_test_id("keep-yard"), page.get_by_test_id("keep-yard.sub")
        expect(main).to_contain_text("Kept 1 year.")
        expect(main).to_contain_text(re.compile(r"[\d.]+ [kM]B are stored, since .*its oldest recordings make way"))
        page.get_by_test_id("keep-change-yard.sub").click()
        expect(page.get_by_test_id("keep-age")).to_have_value("default")
        page.get_by_test_id("keep-age").select_option("at")
        page.get_by_test_id("keep-age-count").fill("soon")
        page.get_by_test_id("keep-save").click()
        expect(page.get_by_role("alert").filter(has_text="no more than 10 years")).to_be_visible()
        page.get_by_test_id("keep-age-count").fill("2")
        page.get_by_test_id("keep-age-unit").select_option("days")
        page.get_by_test_id("keep-size").select_option("at")
        page.get_by_test_id("keep-size-count").fill("1.5")
        page.get_by_test_id("keep-full").select_option("refuse")
        page.get_by_test_id("keep-save").click()
        expect(sub).to_contain_text("Kept 2 days, up to 1.5 GB.")
        expect(sub).to_contain_text("it takes no more until there is")
        assert retention(world, "yard.sub") == {"hours": 48, "bytes": 1_500_000_000, "onFull": "refuse", "set": ["hours", "bytes", "onFull"]}
        assert retention(world, "yard")["set"] == []
        # And as it was.
        page.get_by_test_id("keep-change-yard.sub").click()
        expect(page.get_by_test_id("keep-age-count")).to_have_value("2")
        expect(page.get_by_test_id("keep-size-count")).to_have_value("1.5")
        page.get_by_test_id("keep-age").select_option("unlimited")
        page.get_by_test_id("keep-size").select_option("default")
        page.get_by_test_id("keep-full").select_option("default")
        page.get_by_test_id("keep-save").click()
        expect(sub).to_contain_text("Kept as long as there is room.")
        assert retention(world, "yard.sub") == {"hours": None, "bytes": None, "onFull": "overwrite", "set": ["hours"]}


def test_pinning_what_is_shown(chromium, world):
    with page_of(chromium, world) as page:
        page.goto(world.url + "/#/cameras/yard")
        keep = page.get_by_test_id("keep")
        expect(keep).to_contain_text("Nothing is pinned.")
        page.get_by_test_id("pin-shown").click()
        page.get_by_test_id("pin-to").fill("2020-01-01T00:00:00")
        page.get_by_test_id("pin-save").click()
        expect(page.get_by_role("alert").filter(has_text="ends before it begins")).to_be_visible()
        page.get_by_test_id("pin-from").fill("2019-01-01T00:00:00")
        page.get_by_test_id("pin-save").click()
        expect(page.get_by_role("alert").filter(has_text="Nothing is recorded in this range.")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_test_id("pin-shown").click()
        page.get_by_test_id("pin-note").fill("the van")
        page.get_by_test_id("pin-save").click()
        expect(page.get_by_test_id("pin")).to_have_count(2)
        expect(keep).to_contain_text("Main source · the van")
        pin = pins(world, "yard")[0]
        first = world.fragments("yard")[0]["serverTime"]
        assert pin["note"] == "the van" and pin["from"] == first and pin["to"] > first
        assert len(pins(world, "yard.sub")) == 1
        for left in (1, 0):
            page.get_by_test_id("pin").first.get_by_role("button", name="Remove the pin").click()
            page.get_by_test_id("unpin").click()
            expect(page.get_by_test_id("pin")).to_have_count(left)
        assert pins(world, "yard") == pins(world, "yard.sub") == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_how_it_looks(chromium, world, artifacts, theme, width):
    world.call("PATCH", "/v1/streams/yard.sub", {"retention": {"hours": 48, "bytes": None, "onFull": None}})
    recorded = world.camera("yard")["recorded"]
    pin = world.call("POST", "/v1/streams/yard/pins", {"from": recorded["from"], "to": recorded["to"], "by": "producer", "note": "the van at the gate"})
    with page_of(chromium, world, color_scheme=theme, viewport={"width": width, "height": 900}) as page:
        page.goto(world.url + "/#/cameras/yard")
        expect(page.get_by_test_id("pin")).to_be_visible()
        wait_until("it plays", lambda: page.evaluate("window.__rushes.firstPictureMs"))
        fits(page)
        page.screenshot(path=artifacts / f"keep-{theme}-{width}.png", full_page=True)
        page.get_by_test_id("keep-change-yard.sub").click()
        page.screenshot(path=artifacts / f"keep-form-{theme}-{width}.png", animations="disabled")
        page.get_by_role("button", name="Cancel").click()
        page.get_by_test_id("pin-shown").click()
        page.screenshot(path=artifacts / f"pin-form-{theme}-{width}.png", animations="disabled")
        page.goto("about:blank")
        page.goto(world.url + "/#/storage")
        expect(page.get_by_test_id("next-to-go")).to_contain_text(re.compile(r"The oldest recording of yard(\.sub)?, from .*: in about"))
        expect(page.get_by_test_id("limits")).to_contain_text("Up to 2.0 TB")
        expect(page.get_by_role("main")).to_contain_text("2 days")
        fits(page)
        page.screenshot(path=artifacts / f"storage-limits-{theme}-{width}.png", full_page=True)
    world.call("DELETE", f"/v1/streams/yard/pins/{pin['id']}")
