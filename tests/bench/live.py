"""The figures of live video: pictures with a clock burnt in from page to page, packets and parts by pictures with a number, and
what viewers by WebRTC cost beside MediaMTX.

What is counted from, and what is not:
- A packet out is held against the packet in that had its last byte. Pictures are handed on whole, so the wait for a picture's
  other packets counts; the publisher sends them at once.
- A part is held against its last access unit, as it is handed to the system by the publisher: what tells the server that a
  part is over is that unit's own end (the marker), not the unit after it, since parts end by what a picture usually lasts
  (docs/decisions/low-latency.md). Only parts that were waited for count; those that begin a fragment, which wait for the disk
  to have the one before, do.
- A viewer's CPU is all of the server's: receiving, and here recording, of the one stream too (MediaMTX does not record).
"""

import contextlib
import json
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import clock
from streams import Peer, free_port, output

HERE = pathlib.Path(__file__).parent
HLS_JS = HERE.parents[1] / "web/node_modules/hls.js/dist/hls.min.js"
#: The console's.
SETTINGS = {k: v for part in ("always", "low") for k, v in json.loads((HERE.parents[1] / "web/src/player/hls.json").read_text())[part].items()}
VIEWERS = 50
#: What is seen before is not counted: a player that has just begun, an encoder that finds its rate.
SETTLE = 10
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--autoplay-policy=no-user-gesture-required", "--allow-loopback-in-peer-connection", "--disable-features=WebRtcHideLocalIpsWithMdns"]

#: All defaults but for where it listens.
MEDIAMTX = """
logLevel: warn
rtspAddress: 127.0.0.1:{rtsp}
rtspTransports: [tcp]
webrtcAddress: 127.0.0.1:{http}
webrtcLocalUDPAddress: 127.0.0.1:{udp}
webrtcIPsFromInterfaces: false
webrtcAdditionalHosts: [127.0.0.1]
rtmp: false
hls: false
srt: false
moq: false
paths:
  all_others:
"""

#: A canvas with the clock, and two ways to see it: through a server, and from connection to connection.
PAGE = """() => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [640, 360];
  const context = canvas.getContext('2d');
  context.fillStyle = '#888'; context.fillRect(0, 0, 640, 360);
  let n = 0;
  setInterval(() => {
    // Something that moves.
    context.fillStyle = `hsl(${n * 7 % 360} 60% 50%)`; context.fillRect(n * 5 % 600, 200, 40, 120); n++;
    window.clockPaint(context, window.clockNow());
  }, 1000 / 30);
  const track = canvas.captureStream(30).getVideoTracks()[0];
  const video = document.createElement('video');
  video.muted = true; video.autoplay = true; video.playsInline = true; video.width = 640;
  document.body.append(canvas, video);
  const h264 = (t, side) => t.setCodecPreferences(side.getCapabilities('video').codecs.filter((c) => c.mimeType === 'video/H264'));
  const sends = (pc) => h264(pc.addTransceiver(track, { direction: 'sendonly' }), RTCRtpSender);
  const watches = (pc) => { pc.ontrack = (e) => { video.srcObject = new MediaStream([e.track]); }; };
  const gathered = (pc) => new Promise((done) => {
    pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && done();
    if (pc.iceGatheringState === 'complete') done();
  });
  const ask = async (pc, url, token) => {
    await pc.setLocalDescription();
    const r = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp', Authorization: `Bearer ${token}` }, body: pc.localDescription.sdp });
    const text = await r.text();
    if (r.status !== 201) throw new Error(`${url}: ${r.status} ${text}`);
    await pc.setRemoteDescription({ type: 'answer', sdp: text });
    return new URL(r.headers.get('Location'), url).href;
  };
  const over = async (pcs, resources, token) => {
    pcs.forEach((pc) => pc.close());
    for (const r of resources) await fetch(r, { method: 'DELETE', headers: { Authorization: `Bearer ${token}` } });
    video.srcObject = null;
  };
  window.clockWatch(video);
  window.direct = async () => {
    const [a, b] = [new RTCPeerConnection(), new RTCPeerConnection()];
    sends(a); watches(b);
    await a.setLocalDescription(); await gathered(a);
    await b.setRemoteDescription(a.localDescription);
    await b.setLocalDescription(); await gathered(b);
    await a.setRemoteDescription(b.localDescription);
    window.close = () => over([a, b], []);
  };
  window.publish = async (whip, token) => {
    window.out = new RTCPeerConnection();
    sends(window.out);
    window.published = await ask(window.out, whip, token);
  };
  window.watch = async (whep, token) => {
    const pc = new RTCPeerConnection();
    h264(pc.addTransceiver('video', { direction: 'recvonly' }), RTCRtpReceiver);
    watches(pc);
    const watched = await ask(pc, whep, token);
    window.close = () => over([pc, window.out], [watched, window.published], token);
  };
}"""

#: As the console's player is set for live video with parts.
PLAYER = """([url, settings]) => {
  const video = document.createElement('video');
  video.muted = true; video.autoplay = true; video.width = 640;
  document.body.append(video);
  const hls = new Hls(settings);
  window.hls = hls; window.stalls = 0;
  video.onwaiting = () => window.stalls++;
  hls.loadSource(url); hls.attachMedia(video);
  window.clockWatch(video);
}"""


def median(xs):
    xs = sorted(xs)
    return xs[len(xs) // 2]


def quantiles(ages):
    ages = sorted(ages)
    at = lambda q: ages[round((len(ages) - 1) * q)]
    return {"count": len(ages), "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99)}


class Bench:
    def __init__(self, args, tools, work, say):
        self.args, self.work, self.say = args, work, say
        self.Server, self.cpu, self.wait, self.film = (tools[k] for k in ("Server", "cpu", "wait_until", "video"))
        self.bin = pathlib.Path(args.tools)

    # ---- the servers

    @contextlib.contextmanager
    def rushes(self, name):
        data = self.work / name
        server = self.Server(self.args.rushes, str(data))
        key = json.loads((data / "root-key.json").read_text())
        server.token, server.url = f"{key['accessKeyId']}:{key['secretAccessKey']}", server.ready["url"]
        server.rtsp = f"rtsp://{key['accessKeyId']}:{urllib.parse.quote(key['secretAccessKey'], safe='')}@{server.ready['rtsp']}"
        server.plain_rtsp = f"rtsp://{server.token}@{server.ready['rtsp']}"
        server.whip, server.whep = (lambda n, way=way: f"{server.url}/{way}/{n}" for way in ("whip", "whep"))
        yield server
        server.stop()
        shutil.rmtree(data)

    @contextlib.contextmanager
    def mediamtx(self):
        """None where it is not there."""
        if not self.args.mediamtx:
            self.say("live: no MediaMTX is said: left out")
            yield None
            return
        ports = {k: free_port() for k in ("rtsp", "http", "udp")}
        (self.work / "mediamtx.yml").write_text(MEDIAMTX.format(**ports))
        server = Peer(self.args.mediamtx, self.work / "mediamtx.yml", port=ports["http"])
        server.token, server.rtsp = "", f"rtsp://127.0.0.1:{ports['rtsp']}"
        server.whip, server.whep = (lambda n, way=way: f"{server.url}/{n}/{way}" for way in ("whip", "whep"))
        yield server
        server.process.terminate()
        server.process.wait()

    def recorded(self, server, name):
        there = lambda: any(s["name"] == name and s["recorded"] for s in server.call("GET", "/v1/streams")["streams"])
        self.wait(f"{name} is recorded", there)

    # ---- pages

    @contextlib.contextmanager
    def page(self, server):
        from playwright.sync_api import sync_playwright

        with sync_playwright() as p:
            browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            page = browser.new_page(viewport={"width": 1000, "height": 900})
            page.goto(server.url + "/healthz")
            page.add_script_tag(content=clock.SCRIPT)
            page.evaluate("(ms) => { window.clockOffset = ms; }", self.offset(page))
            yield page
            browser.close()

    @staticmethod
    def offset(page):
        """What to add to the page's clock to have the system's: by the quickest of some questions."""
        asked = []
        for _ in range(20):
            before = time.monotonic()
            there = page.evaluate("performance.now()")
            after = time.monotonic()
            asked.append((after - before, (before + after) * 500 - there))
        return min(asked)[1]

    def ages(self, page, seconds):
        """How old pictures are when they are on the page."""
        self.wait("pictures with a clock", lambda: page.evaluate("window.ages.length") > 10)
        time.sleep(SETTLE)
        page.evaluate("window.ages = []; window.unread = 0")
        time.sleep(seconds)
        ages, unread = page.evaluate("[window.ages, window.unread]")
        if len(ages) < 10 * seconds:
            raise SystemExit(f"bench: {len(ages)} pictures in {seconds} s could be read, {unread} not")
        return {**quantiles(ages), "unread": unread}

    def glass(self):
        """From canvas to page, from one connection to another and through Rushes, in turn."""
        seconds, rounds = self.args.live_seconds, []
        with self.rushes("glass") as server, self.page(server) as page:
            server.call("POST", "/v1/cameras", {"name": "glass", "source": {"kind": "push"}})
            page.evaluate(PAGE)
            for _ in range(self.args.rounds):
                r = {}
                page.evaluate("window.direct()")
                r["direct"] = self.ages(page, seconds)
                page.evaluate("window.close()")
                page.evaluate("([u, t]) => window.publish(u, t)", [server.whip("glass"), server.token])
                self.recorded(server, "glass")
                page.evaluate("([u, t]) => window.watch(u, t)", [server.whep("glass"), server.token])
                r["rushes"] = self.ages(page, seconds)
                page.evaluate("window.close()")
                page.evaluate("window.ages = []")
                rounds.append(r)
        return rounds

    def low_latency(self):
        """From a camera's picture, by RTSP, to a page that plays parts."""
        with self.rushes("page") as server:
            server.call("POST", "/v1/cameras", {"name": "page", "source": {"kind": "push"}})
            camera = subprocess.Popen([sys.executable, HERE / "clock.py", "600"], stdout=subprocess.PIPE)
            encoder = subprocess.Popen(
                ["ffmpeg", "-v", "error", "-fflags", "nobuffer", "-probesize", "32", "-analyzeduration", "0", "-f", "rawvideo", "-pix_fmt", "yuv420p",
                 "-video_size", f"{clock.WIDTH}x{clock.HEIGHT}", "-framerate", str(clock.RATE), "-use_wallclock_as_timestamps", "1", "-i", "-",
                 "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(2 * clock.RATE), "-bf", "0",
                 "-f", "rtsp", "-rtsp_transport", "tcp", f"{server.rtsp}/page"], stdin=camera.stdout)
            camera.stdout.close()
            try:
                self.recorded(server, "page")
                with self.page(server) as page:
                    page.add_script_tag(path=str(HLS_JS))
                    page.evaluate(PLAYER, [self.session(server, "page"), SETTINGS])
                    out = self.ages(page, 2 * self.args.live_seconds)
                    state = page.evaluate("({ latency: hls.latency, target: hls.targetLatency, stalls: window.stalls })")
            finally:
                encoder.terminate()
                encoder.wait()
                camera.wait()
        return {**out, **state}

    def session(self, server, name):
        return urllib.parse.urljoin(server.url, server.call("POST", f"/v1/streams/{name}/sessions", {"protocol": "hls", "mode": "live"})["url"])

    # ---- packets and parts

    def relay(self):
        """From packet in, by WHIP, to packet out, by WHEP."""
        out = {}
        with self.rushes("relay") as server:
            server.call("POST", "/v1/cameras", {"name": "relay", "source": {"kind": "push"}})
            out["rushes"] = output(self.bin / "live", "relay", server.whip("relay"), server.whep("relay"), server.token, self.args.seconds)
        with self.mediamtx() as server:
            if server:
                out["mediamtx"] = output(self.bin / "live", "relay", server.whip("relay"), server.whep("relay"), "x", self.args.seconds)
        return out

    def parts(self):
        """From a part's last picture in, by RTSP, to the part out, to one that waits for it."""
        with self.rushes("parts") as server:
            server.call("POST", "/v1/cameras", {"name": "parts", "source": {"kind": "push"}})
            tool = subprocess.Popen([self.bin / "live", "parts", f"{server.plain_rtsp}/parts", str(self.args.seconds)],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.recorded(server, "parts")
            main = self.session(server, "parts")
            with urllib.request.urlopen(main, timeout=10) as r:
                media = next(line for line in r.read().decode().splitlines() if line and not line.startswith("#"))
            said, _ = tool.communicate(urllib.parse.urljoin(main, media) + "\n")
        if tool.returncode:
            raise SystemExit("bench: live parts has failed")
        return json.loads(said)

    # ---- what it costs

    def viewers(self):
        """Server CPU with 50 viewers of one stream of 2 Mb/s, Rushes and MediaMTX in turn; all that the servers do counts."""
        film, rounds = self.film(self.work, rate="2M"), []
        for i in range(self.args.rounds):
            r = {}
            for name, place in (("rushes", self.rushes(f"viewers-{i}")), ("mediamtx", self.mediamtx())):
                with place as server:
                    if server:
                        r[name] = self.viewed(server, film)
            rounds.append(r)
        return rounds

    def viewed(self, server, film):
        if hasattr(server, "call"):
            server.call("POST", "/v1/cameras", {"name": "viewed", "source": {"kind": "push"}})
        camera = subprocess.Popen(["ffmpeg", "-v", "error", "-nostdin", "-re", "-stream_loop", "-1", "-i", str(film), "-c", "copy",
                                   "-f", "rtsp", "-rtsp_transport", "tcp", f"{server.rtsp}/viewed"])
        try:
            if hasattr(server, "call"):
                self.recorded(server, "viewed")
            else:
                time.sleep(5)
            tool = subprocess.Popen([str(x) for x in (self.bin / "live", "viewers", server.whep("viewed"), server.token or "x", VIEWERS, self.args.seconds)],
                                    stdout=subprocess.PIPE, text=True)
            if not tool.stdout.readline():
                raise SystemExit("bench: live viewers has failed")
            before = self.cpu(server.process.pid)
            out = json.loads(tool.stdout.readline())
            out["cpu_s"] = self.cpu(server.process.pid) - before
            if tool.wait():
                raise SystemExit("bench: live viewers has failed")
        finally:
            camera.terminate()
            camera.wait()
        out["cpu_s_per_viewer_minute"] = out["cpu_s"] / VIEWERS / out["seconds"] * 60
        return out


def figures(args, tools, work, say):
    b = Bench(args, tools, work, say)
    out = {}
    for name in args.live.split(","):
        say(f"live: {name}")
        out[name] = getattr(b, name)()
        say(json.dumps(out[name]))
    return out


def rows(k):
    if glass := k.get("glass"):
        ours, direct = (median([r[n]["p50_ms"] for r in glass]) for n in ("rushes", "direct"))
        yield (f"webrtc: WHIP to WHEP, glass to glass ({ours:.0f} ms) over Chromium to Chromium ({direct:.0f} ms), ms", f"{ours - direct:.0f}", "≤ 50")
    if relay := k.get("relay"):
        peer = f" (MediaMTX {relay['mediamtx']['p99_ms']:.2f})" if "mediamtx" in relay else ""
        yield (f"webrtc: packet in to packet out, p99, ms{peer}", f"{relay['rushes']['p99_ms']:.2f}", "≤ 10")
    viewers = [r for r in k.get("viewers", []) if "mediamtx" in r]
    if viewers:
        cost = lambda r, n: r[n]["cpu_s_per_viewer_minute"]
        ours = median([cost(r, "rushes") for r in viewers])
        ratio = median([cost(r, "rushes") / cost(r, "mediamtx") for r in viewers])
        yield (f"webrtc: CPU s per viewer-minute ({ours:.3f}), {VIEWERS} viewers, over MediaMTX", f"{ratio:.2f}", "≤ 0.7")
    if parts := k.get("parts"):
        yield ("ll-hls: part served after its last access unit was sent, p99, ms", f"{parts['p99_ms']:.1f}", "≤ 50")
    if page := k.get("low_latency"):
        yield ("ll-hls: RTSP to hls.js, glass to glass, ms (median)", f"{page['p50_ms']:.0f}", "≤ 1500")
