"""End to end: the binary as people run it, by clients that we did not write.

RUSHES_BIN names the binary (target/debug/rushes otherwise); RUSHES_SOAK=1 makes the long tests long.
"""

import pytest

from support import media
from support.s3 import S3
from support.server import BIN, ROOT, Server


def pytest_sessionstart(session):
    if not BIN.exists():
        pytest.exit(f"{BIN} is not there: run `cargo build -p rushes -p rushes-camera`, or say RUSHES_BIN=...", 2)


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Makes clips, each once: `clips(seconds=6, audio=True)`."""
    folder = tmp_path_factory.mktemp("clips")
    return lambda **how: media.clip(folder, **how)


@pytest.fixture
def serve(tmp_path):
    """Starts servers on free ports: `serve("name", "--flag", ...)`; they are drained, and their logs checked, at the end."""
    servers = []

    def start(name="data", *flags, **env):
        servers.append(Server(tmp_path / name, *flags, **env))
        return servers[-1].start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(serve):
    """A server."""
    return serve()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    with S3(tmp_path_factory.mktemp("s3") / "objects") as server:
        yield server


@pytest.fixture
def s3(s3_server):
    """An S3 server whose bucket is empty."""
    yield s3_server
    s3_server.clear()


@pytest.fixture(scope="session")
def artifacts():
    """Where pictures for people go."""
    folder = ROOT / "target" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    from support.browser import launch

    with sync_playwright() as p:
        browser = launch(p)
        yield browser
        browser.close()
