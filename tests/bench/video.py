"""The figures of Kinesis Video and of playback: producers beside the bare limits, players beside nginx, stills beside FFmpeg."""

import getpass
import json
import pathlib
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request

from streams import Peer, free_port, output

PLAYERS = 500
#: Of the film that stills are taken from.
FILM_SECONDS, STILLS, EVERY = 300, 100, 3

NGINX = """
user {user}; daemon off; error_log /dev/null; pid {root}/nginx.pid; worker_processes 2;
events {{ worker_connections 2048; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; client_body_temp_path {root}/t; proxy_temp_path {root}/t;
  fastcgi_temp_path {root}/t; uwsgi_temp_path {root}/t; scgi_temp_path {root}/t;
  server {{ listen 127.0.0.1:{port}; root {root}/www; }} }}
"""


def median(xs):
    xs = sorted(xs)
    return xs[len(xs) // 2]


class Bench:
    def __init__(self, args, tools, work, say):
        self.args, self.work, self.say = args, work, say
        self.Server, self.Simulator, self.cpu, self.wait, self.film = (tools[k] for k in ("Server", "Simulator", "cpu", "wait_until", "video"))
        self.bin = pathlib.Path(args.tools)

    def rushes(self, name):
        data = self.work / name
        server = self.Server(self.args.rushes, str(data), "--set", 'video.limits="off"')
        key = json.loads((data / "root-key.json").read_text())
        server.keys, server.url, server.data = (key["accessKeyId"], key["secretAccessKey"]), server.ready["url"], data
        return server

    def stop(self, server):
        server.stop()
        shutil.rmtree(server.data)

    def client(self, server, service):
        import boto3

        return boto3.client(service, endpoint_url=server.url, region_name="us-east-1", aws_access_key_id=server.keys[0], aws_secret_access_key=server.keys[1])

    # ---- a producer

    def put(self):
        """One connection as fast as it goes, then one fragment of 1 MiB after another; and the bare limits in turn."""
        rounds = []
        for i in range(self.args.rounds):
            r = {"disk": output(self.bin / "disk", self.work, 1 << 20, 10)}
            port = free_port()
            sink = Peer(self.bin / "ksink", port, "discard", port=port)
            r["sink"] = output(self.bin / "putmedia", sink.url, "s", 10, 0)
            sink.stop()
            server = self.rushes(f"put-{i}")
            for name in ("fast", "paced"):
                self.client(server, "kinesisvideo").create_stream(StreamName=name, DataRetentionInHours=24)
            r["fast"] = output(self.bin / "putmedia", server.url, "fast", 20, 0, *server.keys)
            r["paced"] = output(self.bin / "putmedia", server.url, "paced", 0, 500, *server.keys)
            self.stop(server)
            rounds.append(r)
        return rounds

    # ---- players

    def players(self):
        """Players of one live stream: of Rushes, then of nginx, which serves what a mirror has just put there."""
        simulator = self.Simulator(self.args.rushes, self.film(self.work))
        server = self.rushes("players")
        server.call("POST", "/v1/cameras", {"name": "cam", "source": {"kind": "pull", "url": simulator.url, "transport": "tcp"}})
        listed = lambda: server.call("GET", "/v1/streams/cam/fragments?limit=1000")["fragments"]
        self.wait("ten fragments", lambda: len(listed()) >= 10, 90)
        session = server.call("POST", "/v1/streams/cam/sessions", {"protocol": "hls", "mode": "live"})
        master = urllib.parse.urljoin(server.url, session["url"])
        read = lambda url: urllib.request.urlopen(url, timeout=10).read()
        uris = lambda text: [line for line in text.decode().splitlines() if line and not line.startswith("#")]
        media = urllib.parse.urljoin(master, uris(read(master))[0])
        # A playlist without parts, as players that know nothing of them read it.
        before = self.cpu(server.process.pid)
        ours = output(self.bin / "players", media, PLAYERS, self.args.seconds)
        ours["cpu_s"] = self.cpu(server.process.pid) - before
        root, stop = self.work / "nginx", threading.Event()
        (root / "www").mkdir(parents=True)

        def mirror():
            there = set()
            while not stop.is_set():
                lines = []
                for line in read(media).decode().splitlines():
                    if line and not line.startswith("#"):
                        name = f"{hash(line) & 0xffffffffffff:x}.m4s"
                        if name not in there:
                            (root / "www" / name).write_bytes(read(urllib.parse.urljoin(media, line)))
                            there.add(name)
                        line = name
                    lines.append(line)
                (root / "new").write_text("\n".join(lines) + "\n")
                (root / "new").rename(root / "www" / "live.m3u8")
                stop.wait(0.5)

        thread = threading.Thread(target=mirror, daemon=True)
        thread.start()
        self.wait("the mirror", lambda: (root / "www" / "live.m3u8").exists())
        port = free_port()
        (root / "nginx.conf").write_text(NGINX.format(root=root, port=port, user=getpass.getuser()))
        nginx = Peer(self.args.nginx, "-c", root / "nginx.conf", "-p", root, port=port)
        before = self.cpu(nginx.process.pid)
        theirs = output(self.bin / "players", f"{nginx.url}/live.m3u8", PLAYERS, self.args.seconds)
        theirs["cpu_s"] = self.cpu(nginx.process.pid) - before
        nginx.process.terminate()
        nginx.process.wait()
        stop.set()
        thread.join()
        simulator.stop()
        self.stop(server)
        shutil.rmtree(root)
        return {"rushes": ours, "nginx": theirs}

    # ---- stills

    def stills(self):
        """A hundred stills over five minutes of 1080p, by GetImages and by one FFmpeg that seeks to the same moments."""
        film, mkv = self.work / "film.mp4", self.work / "film.mkv"
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=1920x1080:rate=25,noise=alls=8:allf=t", "-t", str(FILM_SECONDS),
                        "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "4M", "-g", "50", "-bf", "0", "-pix_fmt", "yuv420p", str(film)], check=True)
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(film), "-c", "copy", str(mkv)], check=True)
        server = self.rushes("stills")
        start = int(time.time()) - FILM_SECONDS - 60
        subprocess.run([self.args.rushes, "import", "film", str(mkv), "--start", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start)),
                        "--data", str(server.data)], check=True, stdout=subprocess.DEVNULL)
        client = self.client(server, "kinesis-video-archived-media")
        ours, theirs = [], []
        for _ in range(self.args.rounds):
            begun, images, token = time.monotonic(), [], {}
            while True:
                page = client.get_images(StreamName="film", ImageSelectorType="PRODUCER_TIMESTAMP", StartTimestamp=start, EndTimestamp=start + FILM_SECONDS - 1,
                                         SamplingInterval=1000 * EVERY, Format="JPEG", MaxResults=100, **token)
                images += page["Images"]
                if "NextToken" not in page:
                    break
                token = {"NextToken": page["NextToken"]}
            ours.append(time.monotonic() - begun)
            assert len(images) == STILLS and all("ImageContent" in i for i in images), [i.get("Error") for i in images]
            out = self.work / "ffmpeg-stills"
            out.mkdir()
            command = ["ffmpeg", "-v", "error", "-nostdin"]
            for i in range(STILLS):
                command += ["-threads", "1", "-ss", str(i * EVERY), "-i", str(film)]
            for i in range(STILLS):
                command += ["-map", f"{i}:v", "-frames:v", "1", "-q:v", "5", str(out / f"{i}.jpg")]
            begun = time.monotonic()
            subprocess.run(command, check=True)
            theirs.append(time.monotonic() - begun)
            assert len(list(out.iterdir())) == STILLS
            shutil.rmtree(out)
        self.stop(server)
        return {"rushes_s": ours, "ffmpeg_s": theirs, "bytes": sum(len(i["ImageContent"]) * 3 // 4 for i in images)}


def figures(args, tools, work, say):
    b = Bench(args, tools, work, say)
    out = {}
    for name in ("put", "stills", "players"):
        say(f"kvs: {name}")
        out[name] = getattr(b, name)()
        say(json.dumps(out[name]))
    return out


def rows(k):
    put = k["put"]
    limit = lambda r: min(r["sink"]["mb_per_s"], r["disk"]["mb_per_s"])
    best = median([r["fast"]["mb_per_s"] for r in put])
    yield (f"kvs: PutMedia, MB/s ({best:.0f}) over the lesser of a bare reader and a bare writer", f"{median([r['fast']['mb_per_s'] / limit(r) for r in put]):.2f}", "≥ 0.6")
    yield ("kvs: PERSISTED of 1 MiB, p99 over a bare append + fdatasync", f"{median([r['paced']['first_p99_ms'] / r['disk']['p99_ms'] for r in put]):.2f}", "≤ 3")
    ours, theirs = (k["players"][n] for n in ("rushes", "nginx"))
    per_gb = lambda p: p["cpu_s"] / (p["bytes"] / 1e9)
    yield (f"hls: server CPU per GB, {PLAYERS} players, over nginx", f"{per_gb(ours) / per_gb(theirs):.2f}", "≤ 1.5")
    yield ("hls: segments that took longer than they play", str(ours["late"]), "0")
    yield ("kvs: 100 stills by GetImages over one ffmpeg", f"{median([a / b for a, b in zip(k['stills']['rushes_s'], k['stills']['ffmpeg_s'])]):.2f}", "≤ 1.2")
