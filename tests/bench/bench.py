"""The figures: ratios against a peer or a limit in the same run, since machines differ and are noisy.

Run by `make bench` with release binaries:  bench.py RUSHES LOGBENCH OUT.json [--only log,video,click,archive,streams,kvs,live]
Prints a table; writes all that was measured as JSON. `make bench BENCH="--only live --live glass"` is one of them alone.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode

import archive
import live
import streams
import video as kvs

HZ = os.sysconf("SC_CLK_TCK")
CAMERAS = 30


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- processes ------------------------------------------------------------------------------------------------


def tree(pid):
    """A process and all below it."""
    children = {}
    for p in pathlib.Path("/proc").iterdir():
        if p.name.isdigit():
            try:
                stat = (p / "stat").read_text()
            except OSError:
                continue
            ppid = int(stat.rsplit(")", 1)[1].split()[1])
            children.setdefault(ppid, []).append(int(p.name))
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        todo += children.get(p, [])
    return out


def cpu_seconds(pids):
    """User and system time of these processes and of their children that have ended."""
    total = 0
    for p in pids:
        try:
            f = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(x) for x in f[11:15])
    return total / HZ


def resident_mb(pids):
    """Anonymous and shared memory, without file pages."""
    kb = 0
    for p in pids:
        try:
            for line in pathlib.Path(f"/proc/{p}/status").read_text().splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    kb += int(line.split()[1])
        except OSError:
            continue
    return kb / 1000


class Server:
    def __init__(self, rushes, data, *flags):
        env = {**os.environ, "RUSHES_LOG": "warn"}
        self.process = subprocess.Popen(
            [rushes, "serve", "--data", data, "--listen", "127.0.0.1:0", "--rtsp", "127.0.0.1:0", "--ready-json", *flags],
            stdout=subprocess.PIPE, env=env, text=True)
        self.ready = json.loads(self.process.stdout.readline())
        key = json.loads((pathlib.Path(data) / "root-key.json").read_text())
        self.auth = "Basic " + b64encode(f"{key['accessKeyId']}:{key['secretAccessKey']}".encode()).decode()

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.ready["url"] + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Authorization": self.auth, "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as r:
            text = r.read()
            return json.loads(text) if text else None

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def wait_until(what, check, seconds=60):
    end = time.monotonic() + seconds
    while not (v := check()):
        if time.monotonic() > end:
            sys.exit(f"bench: waited {seconds} s for: {what}")
        time.sleep(0.1)
    return v


# ---- what is played -------------------------------------------------------------------------------------------


def video(folder, seconds=60, rate="4M"):
    """A picture with noise, so that the encoder really needs 4 Mb/s; GOP 2 s."""
    out = folder / "camera.mp4"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25,noise=alls=20:allf=t", "-t", str(seconds),
         "-c:v", "libx264", "-preset", "ultrafast", "-b:v", rate, "-maxrate", rate, "-minrate", rate, "-bufsize", "4M", "-g", "50", "-bf", "0",
         "-pix_fmt", "yuv420p", str(out)], check=True)
    return out


class Simulator:
    def __init__(self, rushes, file):
        self.process = subprocess.Popen([str(pathlib.Path(rushes).with_name("rushes-camera")), "--video", str(file)], stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self.process.stdout.readline())["url"]

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)


# ---- the figures ----------------------------------------------------------------------------------------------


def log_figures(args, work):
    say("log: throughput (60 s of each, alternating) and latency")

    def measure(what, seconds, *more):
        out = subprocess.run([args.logbench, what, "--dir", str(work), "--seconds", str(seconds), *more], check=True, stdout=subprocess.PIPE, text=True).stdout
        return json.loads(out.strip().splitlines()[-1])

    return {"throughput": measure("throughput", args.log_seconds), "tiering": measure("throughput", args.log_seconds // 2, "--tiering"),
            "latency": measure("latency", args.log_seconds // 3)}


def rushes_cpu(args, work, url, seconds):
    data = work / "video-data"
    server = Server(args.rushes, str(data))
    idle = resident_mb(tree(server.process.pid))
    for i in range(CAMERAS):
        server.call("POST", "/v1/cameras", {"name": f"cam{i:02}", "source": {"kind": "pull", "url": url, "transport": "tcp"}})

    def all_running():
        cameras = server.call("GET", "/v1/cameras")["cameras"]
        return sum(c["state"] == "running" for c in cameras) == CAMERAS

    wait_until("30 cameras running", all_running)
    time.sleep(args.warm_up)
    before, t0 = cpu_seconds(tree(server.process.pid)), time.monotonic()
    units0 = sum(c["unitsIn"] for c in server.call("GET", "/v1/cameras")["cameras"])
    time.sleep(seconds)
    pids = tree(server.process.pid)
    used, elapsed = cpu_seconds(pids) - before, time.monotonic() - t0
    cameras = server.call("GET", "/v1/cameras")["cameras"]
    memory = resident_mb(pids)
    units_in, units_out = (sum(c[k] for c in cameras) for k in ("unitsIn", "unitsOut"))
    server.stop()
    return {"cpu_s": used, "seconds": elapsed, "cpu_s_per_camera_minute": used / CAMERAS / elapsed * 60,
            "units_in": units_in, "units_out": units_out, "units_per_s": (units_in - units0) / elapsed, "lost": sum(c["lost"] for c in cameras),
            "memory_idle_mb": idle, "memory_30_cameras_mb": memory}


def ffmpeg_cpu(args, work, url, seconds):
    out = work / "ffmpeg"
    out.mkdir()
    # -hls_list_size 300 is our window of ten minutes; old files go, as they would have to.
    ps = [subprocess.Popen(["ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-f", "hls", "-hls_time", "2",
                            "-hls_segment_type", "fmp4", "-hls_fmp4_init_filename", f"{i}-init.mp4", "-hls_list_size", "300",
                            str(out / f"{i}.m3u8")]) for i in range(CAMERAS)]
    wait_until("30 playlists", lambda: all((out / f"{i}.m3u8").exists() for i in range(CAMERAS)))
    time.sleep(args.warm_up)
    pids = [p.pid for p in ps]
    before, t0 = cpu_seconds(pids), time.monotonic()
    time.sleep(seconds)
    used, elapsed = cpu_seconds(pids) - before, time.monotonic() - t0
    for p in ps:
        p.terminate()
    for p in ps:
        p.wait(20)
    shutil.rmtree(out)
    return {"cpu_s": used, "seconds": elapsed, "cpu_s_per_camera_minute": used / CAMERAS / elapsed * 60}


def video_figures(args, work):
    say(f"video: {CAMERAS} cameras × 4 Mb/s, Rushes and FFmpeg in turn, {args.rounds} rounds of {args.seconds} s")
    simulator = Simulator(args.rushes, video(work))
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours.append(rushes_cpu(args, work, simulator.url, args.seconds))
        shutil.rmtree(work / "video-data")
        theirs.append(ffmpeg_cpu(args, work, simulator.url, args.seconds))
    simulator.stop()
    return {"rushes": ours, "ffmpeg": theirs}


def click_figures(args, work):
    say("click to first picture in Chromium, live and recorded")
    from playwright.sync_api import sync_playwright

    data = work / "click-data"
    simulator = Simulator(args.rushes, video(work, seconds=30, rate="2M"))
    server = Server(args.rushes, str(data))
    server.call("POST", "/v1/cameras", {"name": "cam", "source": {"kind": "pull", "url": simulator.url}})
    wait_until("20 s recorded", lambda: len(server.call("GET", "/v1/streams/cam/fragments?limit=1000")["fragments"]) >= 10, 90)
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--autoplay-policy=no-user-gesture-required"]
    live, recorded = [], []
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        # Polled from here: the pages' policy forbids what Playwright's own waiting does inside them.
        first_picture = lambda: wait_until("a picture", lambda: page.evaluate("window.__rushes.firstPictureMs"), 20)
        page.goto(server.ready["console"])
        for _ in range(args.clicks):
            page.goto(server.ready["url"] + "/")
            page.reload()
            page.get_by_test_id("camera-card-cam").click()
            live.append(first_picture())
            # From the list to a moment in what is recorded; without a click the time runs from the load of the page.
            page.goto(server.ready["url"] + "/")
            page.reload()
            page.get_by_test_id("camera-card-cam").wait_for()
            at = page.evaluate("""() => {
                location.hash = `#/cameras/cam?at=${new Date(Date.now() - 15000).toISOString()}`;
                return performance.now();
            }""")
            recorded.append(first_picture() - at)
        browser.close()
    server.stop()
    simulator.stop()
    return {"live_ms": sorted(live), "recorded_ms": sorted(recorded)}


def archive_figures(args, work):
    return archive.figures(args, Server, str(pathlib.Path(args.logbench).with_name("archive")), work, say)


def stream_figures(args, work):
    return streams.figures(args, Server, work, say)


def kvs_figures(args, work):
    tools = {"Server": Server, "Simulator": Simulator, "cpu": lambda pid: cpu_seconds(tree(pid)), "wait_until": wait_until, "video": video}
    return kvs.figures(args, tools, work, say)


def live_figures(args, work):
    tools = {"Server": Server, "cpu": lambda pid: cpu_seconds(tree(pid)), "wait_until": wait_until, "video": video}
    return live.figures(args, tools, work, say)


def median(xs):
    xs = sorted(xs)
    return xs[len(xs) // 2]


def rows(results):
    out = []
    if log := results.get("log"):
        out.append(("log: MB/s over bare 1 MiB write + fdatasync", f"{log['throughput']['ratio']:.2f}", "≥ 0.6"))
        if tiering := log.get("tiering"):
            out.append(("log: the same with tiering", f"{tiering['ratio']:.2f}", "≥ 0.4"))
        out.append(("log: p99 of an append over bare 4 KiB + fdatasync", f"{log['latency']['ratio_p99']:.2f}", "≤ 3"))
    if v := results.get("video"):
        ratio = median([a["cpu_s_per_camera_minute"] / b["cpu_s_per_camera_minute"] for a, b in zip(v["rushes"], v["ffmpeg"])])
        cost = median([a["cpu_s_per_camera_minute"] for a in v["rushes"]])
        lost = sum(a["units_in"] - a["units_out"] for a in v["rushes"])
        out.append((f"video: CPU s per camera-minute ({cost:.2f}) over ffmpeg -c copy", f"{ratio:.2f}", "≤ 1.0"))
        out.append(("video: access units in minus out", str(lost), "0"))
        out.append(("memory: idle, MB", f"{median([a['memory_idle_mb'] for a in v['rushes']]):.0f}", "≤ 80"))
        out.append(("memory: 30 cameras, MB", f"{median([a['memory_30_cameras_mb'] for a in v['rushes']]):.0f}", "≤ 400"))
    if c := results.get("click"):
        out.append(("click to first picture, live, ms (median)", f"{median(c['live_ms']):.0f}", "≤ 1000"))
        out.append(("click to first picture, recorded, ms (median)", f"{median(c['recorded_ms']):.0f}", "≤ 1000"))
    if a := results.get("archive"):
        out += archive.rows(a)
    if s := results.get("streams"):
        out += streams.rows(s)
    if k := results.get("kvs"):
        out += kvs.rows(k)
    if l := results.get("live"):
        out += live.rows(l)
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("rushes")
    p.add_argument("logbench")
    p.add_argument("out", type=pathlib.Path)
    p.add_argument("--only", default="log,video,click,archive,streams,kvs,live")
    p.add_argument("--log-seconds", type=int, default=60)
    p.add_argument("--seconds", type=int, default=60)
    p.add_argument("--warm-up", type=int, default=20)
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--clicks", type=int, default=5)
    p.add_argument("--fragments", type=int, default=1_000_000)
    p.add_argument("--payload-mib", type=int, default=4096)
    p.add_argument("--tools", default="bench-tools/bin", help="folder of kload, ksink, disk, live and ferrokinesis")
    p.add_argument("--nginx", default="nginx", help="where it is")
    p.add_argument("--mediamtx", help="where it is; what is held against it is left out otherwise")
    p.add_argument("--live", default="glass,relay,viewers,parts,low_latency", help="which of the figures of live video")
    p.add_argument("--live-seconds", type=int, default=20)
    p.add_argument("--stream-seconds", type=int, default=60)
    p.add_argument("--shards", type=int, default=100_000)
    p.add_argument("--gigabytes", type=float, default=10)
    args = p.parse_args()
    results = {}
    for name, figure in (("log", log_figures), ("video", video_figures), ("click", click_figures), ("archive", archive_figures), ("streams", stream_figures), ("kvs", kvs_figures),
                         ("live", live_figures)):
        if name in args.only.split(","):
            # Beside the output, not in /tmp: that may be memory.
            work = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=args.out.parent))
            try:
                results[name] = figure(args, work)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            args.out.write_text(json.dumps(results, indent=1) + "\n")
    width = max(len(r[0]) for r in rows(results))
    print(f"{'figure':{width}}  {'measured':>9}  to reach")
    for name, value, want in rows(results):
        print(f"{name:{width}}  {value:>9}  {want}")


if __name__ == "__main__":
    main()
