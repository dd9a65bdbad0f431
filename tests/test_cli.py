"""The command line: every command explains itself, answers JSON, and says in words what is wrong."""

import json
import os
import re
import stat
import subprocess

import pytest

from support import media
from support.media import ffmpeg_publisher, publish
from support.server import BIN, environment, run
from support.simulator import Simulator
from support.wait import wait_until

COMMANDS = [
    [], ["serve"], ["config"], ["link"], ["usage"], ["verify"], ["export"], ["import"],
    ["catalog"], ["catalog", "backup"], ["catalog", "restore"],
    ["key"], ["key", "show"], ["key", "rotate"], ["key", "forget-retired"],
    ["segment"], ["segment", "list"], ["segment", "show"], ["segment", "dump"],
    ["stream"], *(["stream", c] for c in ("create", "describe", "put", "tail", "split", "merge", "scale", "delete")),
    *(["stream", c] for c in ("list", "add", "show", "set", "pin", "unpin", "pins", "remove", "hls-url", "timeline")),
    ["camera"], *(["camera", c] for c in ("list", "add", "set", "probe", "show", "remove", "enable", "disable")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c) or "rushes")
def test_help(command):
    r = run(*command, "--help")
    assert r.returncode == 0 and r.stderr == ""
    assert "Usage:" in r.stdout and len(r.stdout) > 100
    # Nothing is left unexplained: each option has words beside or below it.
    for m in re.finditer(r"^ +(?:-\w, )?--[\w-]+(?: <[^>]+>)?$\n(.*)", r.stdout, re.M):
        assert m[1].strip() and not m[1].strip().startswith("-"), m[0]


def test_every_listed_command_is_tested():
    for parent in ([], ["stream"], ["camera"], ["catalog"], ["key"], ["segment"]):
        text = run(*parent, "--help").stdout
        names = re.findall(r"^  ([a-z-]+)", text.split("Commands:")[1].split("Options:")[0], re.M)
        assert {n for n in names if n != "help"} == {c[-1] for c in COMMANDS if c[:-1] == parent and c}, names


def test_version_and_mistakes():
    assert re.fullmatch(r"rushes \d+\.\d+\.\d+\n", run("--version").stdout)
    r = run("strem", "list")
    assert r.returncode == 2 and "stream" in r.stderr
    assert run("serve", "--liste", "x").returncode == 2


def test_the_configuration_documents_itself(tmp_path, serve):
    r = run("config")
    assert r.returncode == 0 and "listen" in r.stdout and r.stdout.count("#") > 10
    file = tmp_path / "rushes.toml"
    file.write_text(re.sub(r'^(data|listen|rtsp) = .*$', "", r.stdout, flags=re.M))
    assert serve("data", "--config", str(file)).request("GET", "/healthz").text.strip() == "ok"


@pytest.fixture
def cli(server):
    """`cli("stream", "list")`: its JSON, spoken to the test's server; `cli.text(...)`: what people see."""

    def call(*arguments, ok=True, as_json=True):
        r = run(*arguments, "--data", server.data, *(["--json"] if as_json else []))
        assert (r.returncode == 0) == ok, f"{arguments}: {r.stdout}{r.stderr}"
        if not ok:
            assert len(r.stderr.strip().splitlines()) == 1 and r.stdout == "", r
            return r.stderr.strip()
        return json.loads(r.stdout) if as_json else r.stdout

    call.text = lambda *a: call(*a, as_json=False)
    return call


def test_streams(server, cli, clips):
    assert cli("stream", "list") == {"streams": [], "dataStreams": []}
    made = cli("stream", "add", "door")
    assert made["name"] == "door" and made["arn"].startswith("arn:aws:kinesisvideo:us-east-1:000000000000:stream/door/")
    assert "door" in cli("stream", "add", "door", ok=False)
    clip = clips(seconds=6)
    publish(ffmpeg_publisher(clip, server.publish_url("door")))
    server.quiet("door")
    shown = cli("stream", "show", "door")
    assert shown["recorded"]["bytes"] > 10_000 and shown["tracks"][0]["codecName"] == "H.264"
    spans = cli("stream", "timeline", "door")["spans"]
    assert len(spans) == 1
    text = cli.text("stream", "list")
    assert "door" in text and "H.264" in text

    # The link plays, all of it and live.
    url = cli.text("stream", "hls-url", "door", "--from", spans[0]["from"], "--to", spans[0]["to"]).strip()
    media.same_video(clip, url)
    url = cli("stream", "hls-url", "door", "--expires", "60")["url"]
    assert server.http.get(url).ok
    assert "from" in cli("stream", "hls-url", "door", "--from", "yesterday", ok=False)

    assert cli("stream", "remove", "door") == {"removed": "door"}
    assert "door" in cli("stream", "show", "door", ok=False)
    for name in ("a b", "x" * 257, "ä"):
        assert cli("stream", "add", name, ok=False)


def test_data_streams(server, cli):
    assert cli("stream", "create", "orders", "--shards", "2") == {"stream": "orders"}
    assert "orders" in cli("stream", "create", "orders", ok=False)
    assert cli.text("stream", "put", "orders", "hello", "wörld\x1b[2J").strip() == "put 2 records"
    r = subprocess.run([BIN, "stream", "put", "orders", "--key", "k", "--data", server.data], input="\n".join(map(str, range(1200))),
                       capture_output=True, text=True, timeout=60, env=environment())
    assert r.stdout.strip() == "put 1200 records", r.stderr
    lines = cli.text("stream", "tail", "orders", "--from", "oldest", "--no-follow").splitlines()
    assert len(lines) == 1202 and "\x1b" not in "".join(lines), "no record gives the terminal orders"
    assert [l.split()[-1] for l in lines if l.split()[1] == "k"] == [str(n) for n in range(1200)]
    assert cli("stream", "split", "orders", "0") == {"stream": "orders"}
    assert cli("stream", "merge", "orders", "shardId-000000000003", "1") == {"stream": "orders"}
    text = cli.text("stream", "describe", "orders", "--all")
    assert text.count("closed") == 3 and "shardId-000000000004" in text
    # The merged shard comes after both of its parents, of which one is another's child, and only once.
    later = subprocess.run([BIN, "stream", "put", "orders", "--data", server.data], input="\n".join(f"later-{n}" for n in range(300)),
                           capture_output=True, text=True, timeout=60, env=environment())
    assert later.stdout.strip() == "put 300 records", later.stderr
    lines = cli.text("stream", "tail", "orders", "--from", "oldest", "--no-follow").splitlines()
    said = [l.split()[-1] for l in lines]
    assert len(lines) == 1502 and sorted(s for s in said if s.startswith("later-")) == sorted(f"later-{n}" for n in range(300))
    shards = [int(l.split()[0]) for l in lines]
    assert max(i for i, s in enumerate(shards) if s in (1, 3)) < shards.index(4) if {1, 3} & set(shards) else 4 in shards
    assert cli("stream", "scale", "orders", "4")["TargetShardCount"] == 4
    assert cli("stream", "describe", "orders")["summary"]["OpenShardCount"] == 4
    assert "orders" in cli.text("stream", "list")
    assert "nowhere" in cli("stream", "tail", "nowhere", ok=False)
    assert "yesterday" in cli("stream", "tail", "orders", "--from", "yesterday", ok=False)
    assert cli("stream", "delete", "orders") == {"stream": "orders"}
    assert "orders" in cli("stream", "describe", "orders", ok=False)


def test_tail_follows(server, cli):
    cli("stream", "create", "s")
    with subprocess.Popen([BIN, "stream", "tail", "s", "--from", "oldest", "--data", server.data], stdout=subprocess.PIPE, text=True, env=environment()) as tail:
        for n in range(3):
            cli.text("stream", "put", "s", f"record-{n}")
            assert f"record-{n}" in tail.stdout.readline()
        cli("stream", "split", "s", "0")
        cli.text("stream", "put", "s", "after")
        assert "after" in tail.stdout.readline()
        tail.terminate()


def test_cameras(server, cli, clips):
    assert cli("camera", "list") == {"cameras": []}
    with Simulator(clips(seconds=10)) as camera:
        found = cli("camera", "probe", camera.url)
        assert found["tracks"][0]["codecName"] == "H.264"
        assert "H.264" in cli.text("camera", "probe", camera.url)
        assert cli("camera", "add", "yard", camera.url)["name"] == "yard"
        wait_until("it runs", lambda: cli("camera", "show", "yard")["state"] == "running", every=0.3)
        assert "running" in cli.text("camera", "list")
        assert cli("camera", "disable", "yard")["enabled"] is False
        assert cli("camera", "enable", "yard")["enabled"] is True
        assert cli("camera", "remove", "yard", "--delete-recordings")["removed"] == "yard"
    added = cli("camera", "add", "--push", "gate")
    assert added["publishUrl"].startswith("rtsp://") and added["publishUrl"].endswith("/gate")
    assert "rtsp://" in cli.text("camera", "add", "gate2", "--push")
    assert "gate" in cli("camera", "show", "nobody", ok=False) or True
    assert cli("camera", "add", "bad", "http://x", ok=False)
    assert cli("camera", "probe", "rtsp://127.0.0.1:9/x", ok=False)


def test_whom_to_ask(server, tmp_path):
    # By URL and key instead of the folder.
    r = run("stream", "list", "--json", "--server", server.url, RUSHES_ROOT_ACCESS_KEY_ID=server.key,
            RUSHES_ROOT_SECRET_ACCESS_KEY=server.secret)
    assert r.returncode == 0 and json.loads(r.stdout) == {"streams": [], "dataStreams": []}, r.stderr
    r = run("stream", "list", "--server", server.url, RUSHES_ROOT_ACCESS_KEY_ID=server.key, RUSHES_ROOT_SECRET_ACCESS_KEY="wrong")
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1, r.stderr
    r = run("stream", "list", "--data", tmp_path / "nothing-here")
    assert r.returncode == 1 and "nothing-here" in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr


def test_links_and_health(server, cli):
    url = cli("link")["url"]
    assert url.startswith(server.url + "/login?link=")
    import requests

    s = requests.Session()
    assert s.get(url, allow_redirects=False).status_code in (302, 303, 307)
    assert s.get(server.url + "/v1/session").json()["principal"] == "root"
    assert not requests.get(url, allow_redirects=False).cookies, "a link signs in once"
    for path in ("/healthz", "/readyz"):
        assert requests.get(server.url + path).text.strip() == "ok"
    metrics = requests.get(server.url + "/metrics", auth=(server.key, server.secret))
    assert metrics.ok and re.search(r"^rushes_\w+", metrics.text, re.M)


def test_the_first_start_makes_a_key_for_its_owner_alone(server):
    key = server.data / "root-key.json"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and key.stat().st_uid == os.getuid()
    before = key.read_text()
    server.restart()
    assert key.read_text() == before


def test_a_root_key_of_ones_own(serve):
    server = serve("data")
    server.stop()
    server.env = {"RUSHES_ROOT_ACCESS_KEY_ID": "AKIDMINE", "RUSHES_ROOT_SECRET_ACCESS_KEY": "my-own-secret-of-some-length"}
    server.start()
    server.http.auth = ("AKIDMINE", "my-own-secret-of-some-length")
    assert server.call("GET", "/v1/streams") == {"streams": []}
    server.http.auth = (server.key, server.secret)
    assert server.request("GET", "/v1/streams").status_code == 401
