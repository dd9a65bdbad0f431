"""Low-latency HLS: held to the draft by a validator of ours, decoded by FFmpeg, played by hls.js in Chromium."""

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urljoin

import pytest
import requests

from support import lowlatency as ll
from support.m3u8 import renditions
from support.media import FFMPEG, ffmpeg_publisher, running
from support.server import ROOT, Server
from support.wait import wait_until

HLS_JS = ROOT / "web/node_modules/hls.js/dist/hls.min.js"


def session(url):
    """A client of its own, as a player without credentials is."""
    http = requests.Session()
    http.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=16))
    return http


def playlists(http, main):
    """The media playlists of a session: the first variant's and the sound's."""
    text = http.get(main, timeout=30).text
    lines = text.splitlines()
    variant = next(lines[i + 1] for i, l in enumerate(lines) if l.startswith("#EXT-X-STREAM-INF"))
    return [urljoin(main, variant), *renditions(http, main)]


def recorded(server, name):
    wait_until("it is recorded", lambda: any(s["name"] == name and s["recorded"] for s in server.call("GET", "/v1/streams")["streams"]))


def with_parts(http, url, seconds=30):
    """The playlist, once it has parts of a segment that is whole."""
    return wait_until("there are parts", lambda: (p := ll.get(http, url)).part_target and p.entries[-1].parts and p, seconds)


@pytest.fixture(scope="module")
def live(tmp_path_factory, clips):
    """A server that a camera publishes to, with sound, as the stream `door`."""
    with Server(tmp_path_factory.mktemp("ll") / "data", "--set", "video.target_seconds=1", "--set", "video.live_window_seconds=20") as server:
        with running(ffmpeg_publisher(clips(seconds=60, audio=True), server.publish_url("door"), loop=True)):
            recorded(server, "door")
            yield server


def follow(server, name, tmp_path, rounds=60):
    """Plays a stream as the draft has it, so many parts of each of its playlists: all that is said comes true, and a segment's
    parts are what it is. The sessions' playlists; and the lines of [`ll.samples`] of the first one's last segment."""
    http = session(server)
    urls = playlists(http, server.session(name))
    last = None
    for url in urls:
        p = with_parts(http, url)
        whole, seen, hints = {e.sequence: e for e in p.entries}, {}, []
        with ThreadPoolExecutor(4) as pool:
            for _ in range(rounds):
                msn, part = p.end
                if p.hint:
                    hints.append((p.hint, pool.submit(http.get, p.hint, timeout=60)))
                p = ll.get(http, url, msn=msn, part=part, skip="YES")
                assert p.has(msn, part), f"asked for {msn}.{part}, got {p.end}"
                whole = p.merged(whole)
                seen.update({e.sequence: e for e in p.entries if e.parts})
            # A segment without a part: whole.
            msn = p.end[0]
            p = ll.get(http, url, msn=msn)
            # Fetched at once: parts are held for a while only.
            bytes_of = {}
            for e in [e for e in p.entries if e.parts][-2:]:
                answers = [http.get(uri, timeout=30) for uri in (e.map, e.uri, *(x.uri for x in e.parts))]
                assert all(a.status_code == 200 for a in answers)
                bytes_of[e.sequence] = [a.content for a in answers]
            assert p.entries[-1].sequence >= msn and not p.skipped
            whole.update({e.sequence: e for e in p.entries if e.sequence not in whole})
            # What was put together is what the whole playlist says.
            for e in p.entries:
                assert e.said()[:-1] == whole[e.sequence].said()[:-1] or e is p.entries[0]
            # Every hint came true.
            listed = {x.uri: x for e in [*seen.values(), *p.entries, p.open] for x in e.parts}
            known = [(uri, f.result()) for uri, f in hints]
        assert all(r.status_code == 200 for _, r in known)
        known = [(uri, r.content) for uri, r in known if uri in listed]
        same = {x.uri: content for e in p.entries if e.sequence in bytes_of for x, content in zip(e.parts, bytes_of[e.sequence][2:])}
        assert len(known) > rounds * 2 / 3 and [uri for uri, _ in known if uri in same] and all(same.get(uri, content) == content for uri, content in known)
        for e in [e for e in p.entries if e.sequence in bytes_of]:
            init, segment, *parts = bytes_of[e.sequence]
            samples = ll.samples(init + segment, tmp_path)
            assert ll.samples(init + b"".join(parts), tmp_path) == samples, "parts and segment differ"
            last = samples if url == urls[0] else last
            for x, content in zip(e.parts, parts):
                if x.independent:
                    assert ",K" in ll.samples(init + content, tmp_path)[0]
            assert e.parts[0].independent
        reports = {r["URI"]: (int(r["LAST-MSN"]), int(r["LAST-PART"])) for r in p.reports}
        assert {urljoin(url, uri) for uri in reports} == {*urls} - {url}
        assert all(ll.get(http, urljoin(url, uri)).has(msn, part) for uri, (msn, part) in reports.items())
    return urls, last


def test_a_player_that_follows_the_draft(live, tmp_path):
    urls, _ = follow(live, "door", tmp_path)
    assert len(urls) == 2


def test_pictures_out_of_order(live, clips, tmp_path, chromium):
    """B-frames: parts have them as the segment has, each with the times at which it is decoded and shown."""
    clip = clips(seconds=20, extra=("-bf", "2", "-x264-params", "b-adapt=0"))
    with running(ffmpeg_publisher(clip, live.publish_url("b"), loop=True)):
        recorded(live, "b")
        (_,), samples = follow(live, "b", tmp_path, rounds=15)
        shown, decoded = ([int(s.split(",")[n]) for s in samples] for n in (0, 1))
        assert decoded == sorted(decoded) and shown != sorted(shown), samples
        near_live(chromium, live, "b")


def test_sound_alone(live, clips, tmp_path, chromium):
    command = ffmpeg_publisher(clips(seconds=60, audio=True), live.publish_url("radio"), loop=True)
    command.insert(command.index("-c"), "-vn")
    with running(command):
        recorded(live, "radio")
        assert len(follow(live, "radio", tmp_path, rounds=15)[0]) == 1
        near_live(chromium, live, "radio", pictures=False)


def test_a_part_is_there_before_its_segment(live):
    """By the clock of the pictures themselves: what a waiting request gets was taken a moment ago."""
    http = session(live)
    video, _ = playlists(http, live.session("door"))
    p = with_parts(http, video)
    ahead = 0
    for _ in range(20):
        msn, part = p.end
        p = ll.get(http, video, msn=msn, part=part)
        ahead += p.open.parts != []
    assert ahead >= 10, "parts came with their segments"


def test_deltas_leave_out_what_is_old(live):
    http = session(live)
    video, _ = playlists(http, live.session("door"))
    wait_until("there is enough to leave out", lambda: len(ll.get(http, video).entries) > 12)
    whole = ll.get(http, video)
    delta = ll.get(http, video, skip="YES")
    assert delta.skipped > 0 and len(delta.text) < len(whole.text)
    assert sum(e.duration for e in delta.entries) + sum(p.duration for p in delta.open.parts) >= 6 * whole.target - 1e-3
    assert delta.entries[0].map, "a delta says where its first segment's configuration is"
    held = {e.sequence: e for e in whole.entries}
    merged = delta.merged(held)
    for sequence, e in merged.items():
        assert sequence not in held or held[sequence].said() == e.said()


def test_bad_directives_are_refused_with_words(live):
    http = session(live)
    video, _ = playlists(http, live.session("door"))
    p = with_parts(http, video)
    msn = p.end[0]
    for query, word in [("_HLS_part=1", "_HLS_msn"), (f"_HLS_msn={msn + 100}", str(msn + 100)), (f"_HLS_msn={msn + 1}&_HLS_part=900", str(msn + 1)),
                        ("_HLS_msn=x", "_HLS_msn"), (f"_HLS_msn={msn}&_HLS_part=-1", "_HLS_part"), ("_HLS_msn=" + "9" * 30, "_HLS_msn"),
                        ("_HLS_skip=maybe", "_HLS_skip")]:
        r = http.get(f"{video}?{query}", timeout=10)
        assert r.status_code == 400 and word in r.json()["error"]["message"], (query, r.status_code, r.text)
    # What has been, and what is of no concern, is answered at once.
    for query in ("_HLS_msn=0", "_HLS_msn=0&_HLS_part=3", "x=1", "_HLS_later=7"):
        assert http.get(f"{video}?{query}", timeout=10).ok, query
    base = p.open.parts or p.entries[-1].parts
    uri = base[-1].uri
    stem, number = uri.removesuffix(".m4s").rsplit("-", 1)
    for wrong, status in [(f"{stem}-{int(number) + 500}.m4s", 404), (f"{stem}-x.m4s", 404), (f"{stem.rsplit('-', 1)[0]}-5-0.m4s", 410)]:
        assert http.get(wrong, timeout=10).status_code == status, wrong
    part = http.get(uri)
    assert "immutable" in part.headers["Cache-Control"] and part.headers["Content-Type"] == "video/mp4"
    assert http.get(uri, headers={"Range": "bytes=0-9"}).content == part.content[:10]


def test_players_that_know_nothing_of_it(live):
    """FFmpeg plays the same address, without a word."""
    r = subprocess.run([*FFMPEG, "-i", live.session("door"), "-t", "4", "-f", "null", "-"], capture_output=True, text=True, timeout=60)
    said = [l for l in r.stderr.splitlines() if "duplicated MOOV" not in l and "Last message repeated" not in l]
    assert r.returncode == 0 and not said, said


def test_other_sessions_are_as_they_were(live):
    http = session(live)
    start = live.call("GET", "/v1/streams/door")["recorded"]["from"]
    for how in ({"from": start}, {"mode": "event", "from": start}, {"frames": "key"}):
        text = http.get(playlists(http, live.session("door", **how))[0]).text
        assert "EXT-X-PART" not in text and "SERVER-CONTROL" not in text and "#EXT-X-VERSION:7" in text, how


def test_a_stream_that_stalls_and_one_that_comes_back(serve, clips):
    server = serve("data", "--set", "video.target_seconds=1")
    url = server.publish_url("door")
    http = session(server)
    with running(ffmpeg_publisher(clips(seconds=60), url, loop=True)):
        recorded(server, "door")
        video, = playlists(http, server.session("door"))
        p = with_parts(http, video)
        epoch = p.entries[-1].parts[0].uri.rsplit("-", 2)[1]
    server.quiet("door")
    # Nobody publishes: an ordinary playlist, without what would not come true.
    p = ll.get(http, video)
    assert p.part_target is None and p.hint is None
    msn = p.end[0]
    r = http.get(f"{video}?_HLS_msn={msn}&_HLS_part=0", timeout=60)
    assert r.status_code == 503 and "nothing new" in r.json()["error"]["message"], r.text
    # A request that waits is answered when somebody publishes again.
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.get, f"{video}?_HLS_msn={msn}", timeout=60)
        with running(ffmpeg_publisher(clips(seconds=60), url, loop=True)):
            assert waiting.result().status_code in (200, 503)
            p = wait_until("there are parts again", lambda: (p := ll.get(http, video)).part_target and p.entries[-1].parts and p)
            assert [e.sequence for e in p.entries if e.breaks] == [msn], "the break is where it was"
            assert p.entries[-1].parts[0].uri.rsplit("-", 2)[1] != epoch, "addresses are used twice"


def test_a_server_that_stops_answers_those_who_wait(serve, clips):
    server = serve("data", "--set", "video.target_seconds=5", "--set", "video.max_seconds=10")
    with running(ffmpeg_publisher(clips(seconds=60, gop=125), server.publish_url("door"), loop=True)):
        recorded(server, "door")
        video, = playlists(session(server), server.session("door"))
        p = with_parts(session(server), video, 60)
        answers = []

        def ask():
            try:
                answers.append(session(server).get(f"{video}?_HLS_msn={p.end[0] + 1}&_HLS_part=9", timeout=60).status_code)
            except requests.RequestException as e:
                answers.append(str(e))

        threads = [threading.Thread(target=ask) for _ in range(20)]
        [t.start() for t in threads]
        wait_until("they wait", lambda: server.metric("rushes_hls_waiting") >= 20)
        start = time.monotonic()
        server.stop()
        [t.join(60) for t in threads]
        assert answers == [503] * 20 or set(answers) <= {200, 503}, answers
        assert time.monotonic() - start < 9, "the drain waited for them"


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "clear"])
def test_requests_wait_over_http2(serve, clips, tls):
    """By curl. Under TLS more of them than a browser has connections by HTTP/1.1 share one; in the clear (RFC 9113 §3.3) one, since
    curl 7.88 cannot use such a connection twice. Each is answered with what it waited for."""
    server = serve("data", "--set", "video.target_seconds=1", *(["--tls-self-signed"] if tls else []))
    with running(ffmpeg_publisher(clips(seconds=60), server.publish_url("door"), loop=True)):
        recorded(server, "door")
        video, = playlists(server.http, server.session("door"))
        msn, part = with_parts(server.http, video).end
        ahead = [n // 4 for n in range(12)] if tls else [1]
        files = [server.data.parent / f"{i}.m3u8" for i in range(len(ahead))]
        urls = [f"{video}?_HLS_msn={msn}&_HLS_part={part + n}" for n in ahead]
        how = ["--http2", "--cacert", server.certificate, "-Z"] if tls else ["--http2-prior-knowledge"]
        outputs = [word for url, file in zip(urls, files) for word in ("-o", file, url)]
        r = subprocess.run(["curl", "-sS", "--fail", *how, "-w", "%{http_version} %{num_connects}\n", *outputs], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr
        said = [line.split() for line in r.stdout.splitlines()]
        assert [version for version, _ in said] == ["2"] * len(urls) and sum(int(made) for _, made in said) == 1, r.stdout
        for n, url, file in zip(ahead, urls, files):
            assert ll.LowLatency(url, file.read_text()).has(msn, part + n), f"{url} was answered too early"


#: As a page is set that would rather stay near live than stop moving: it catches up, and does not fall back for good when it has halted.
#: hls.js takes who is a target duration behind for one who wants to be there (latency-controller), as after it has waited at a hole of a
#: looped film: from there the page goes back by itself.
PLAY = """async ([url]) => {
  const video = document.createElement('video');
  video.muted = true; video.autoplay = true; document.body.append(video);
  const hls = new Hls({ lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.5, liveSyncOnStallIncrease: 0 });
  window.hls = hls; window.video = video; window.wrong = [];
  hls.on(Hls.Events.ERROR, (_, d) => window.wrong.push(`${d.details} ${d.fatal} ${d.response?.code ?? ''}`));
  video.ontimeupdate = () => { if (hls.latency > 2.5 && hls.liveSyncPosition > video.currentTime) video.currentTime = hls.liveSyncPosition; };
  hls.loadSource(url); hls.attachMedia(video);
}"""

#: Decoded: pictures, bytes of sound.
STATE = """() => ({ latency: window.hls.latency, target: window.hls.targetLatency, at: window.video.currentTime, wrong: window.wrong,
  parts: window.hls.latestLevelDetails?.partList?.length ?? 0, frames: window.video.getVideoPlaybackQuality().totalVideoFrames, sound: window.video.webkitAudioDecodedByteCount,
  behind: window.hls.playingDate && Date.now() - window.hls.playingDate.getTime() })"""


def test_hls_js_plays_it_near_live(live, chromium):
    near_live(chromium, live, "door")


def near_live(chromium, server, name, pictures=True):
    """hls.js plays a stream for five seconds on end, less than two seconds behind."""
    page = chromium.new_page()
    page.goto(server.url + "/healthz")
    page.add_script_tag(path=HLS_JS)
    page.evaluate(PLAY, [server.session(name)])
    state = lambda: page.evaluate(STATE)
    wait_until("it plays", lambda: (s := state())["parts"] > 0 and (s["frames"] > 50 if pictures else s["sound"] > 10_000))
    # Where the page itself halts for want of a processor, it falls back and returns; what is asked for is five seconds on end.
    since, last = None, {}

    def five_seconds_near_live():
        nonlocal since, last
        last = state()
        near = last["latency"] and last["latency"] < 2 and last["behind"] and last["behind"] < 2500
        since = (last["at"] if since is None else since) if near else None
        return near and last["at"] > since + 5

    try:
        wait_until("it has been near live for five seconds", five_seconds_near_live, seconds=60)
    finally:
        print(f"hls.js at last: {last}")
    assert last["target"] < 1.5
    assert not [w for w in last["wrong"] if " true " in w], last["wrong"]
    page.close()
