"""The data streams' figures: what a signed, sealed, durable put costs beside the bare limits and beside emulators in memory."""

import json
import pathlib
import shutil
import socket
import subprocess
import time

#: Emulators that it is held against, by where they are; what is not there is left out of the table.
HERE = pathlib.Path(__file__).parent
FERRO_FLAGS = ("--shard-limit", 1000, "--create-stream-ms", 0, "--access-log", "false", "--log-level", "error")
KINESALITE_FLAGS = ("--shardLimit", 1000, "--createStreamMs", 0)
#: Requests to the others are signed, too, though nobody looks at it: so the client has the same to do for each.
ANY_KEYS = ("--access-key", "AKIDEXAMPLE", "--secret-key", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def output(*command):
    r = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(r.stdout.strip().splitlines()[-1])


class Peer:
    """Another server in its own process, which answers on a port."""

    def __init__(self, *command, port):
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise SystemExit(f"bench: {command[0]} does not answer") from None
                time.sleep(0.05)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Bench:
    def __init__(self, args, server_class, work, say):
        self.args, self.Server, self.work, self.say = args, server_class, work, say
        self.tools = pathlib.Path(args.tools)

    # ---- the servers ----

    def rushes(self, name, *settings):
        data = self.work / name
        flags = [x for s in ("streams.limits=off", "streams.shard_quota=1000000", "streams.transition_ms=0", *settings) for x in ("--set", s)]
        server = self.Server(self.args.rushes, str(data), *flags)
        key = json.loads((data / "root-key.json").read_text())
        server.keys = ["--access-key", key["accessKeyId"], "--secret-key", key["secretAccessKey"]]
        server.url, server.data = server.ready["url"], data
        return server

    def sink(self, mode):
        port = free_port()
        return Peer(self.tools / "ksink", port, mode, port=port)

    def ferrokinesis(self, *flags):
        """In memory, or with its log: None where it is not installed."""
        return self.peer(self.tools / "ferrokinesis", *FERRO_FLAGS, *flags)

    def kinesalite(self):
        return self.peer(HERE / "node_modules/.bin/kinesalite", *KINESALITE_FLAGS)

    def peer(self, path, *flags):
        if not path.exists():
            self.say(f"streams: there is no {path}: left out")
            return None
        port = free_port()
        return Peer(path, "--port", port, *flags, port=port)

    # ---- the load ----

    def load(self, server, op, seconds, *flags):
        keys = getattr(server, "keys", ANY_KEYS)
        r = output(self.tools / "kload", op, "--endpoint", server.url, "--seconds", seconds, *flags, *keys)
        if any(r.get(wrong) for wrong in ("errors", "failed_records", "missing", "twice")):
            raise SystemExit(f"bench: {op} at {server.url}: {r}")
        return r

    def create(self, server, shards, stream="bench"):
        self.load(server, "create-stream", 0, "--stream", stream, "--shards", shards)

    def puts(self, server, seconds):
        return self.load(server, "put-records", seconds, "--connections", 16)

    def disk(self, size, seconds):
        return output(self.tools / "disk", self.work, size, seconds)

    # ---- the figures ----

    def put_records(self):
        """Rushes with tiering held back and with it, the bare parsing server and the bare writer, in turn."""
        seconds, rounds = self.args.stream_seconds, []
        for _ in range(self.args.rounds):
            r = {"disk": self.disk(1 << 20, 15)}
            sink = self.sink("parse")
            r["parse"] = self.puts(sink, 15)
            sink.stop()
            for name, settings in (("held", ("shard_log.journal_file_mib=2048", "shard_log.journal_backlog_mib=65536")), ("tiering", ())):
                server = self.rushes(f"puts-{name}", *settings)
                self.create(server, 16)
                r[name] = self.puts(server, seconds)
                r[name]["journal_mb"] = sum(f.stat().st_blocks for f in (server.data / "journal").iterdir()) * 512 / 1e6
                server.stop()
                shutil.rmtree(server.data)
            rounds.append(r)
        return rounds

    def emulators(self):
        out = {}
        starts = {"ferrokinesis": self.ferrokinesis, "kinesalite": self.kinesalite,
                  "ferrokinesis_log": lambda: self.ferrokinesis("--state-dir", self.work / "ferro")}
        for name, start in starts.items():
            peer = start()
            if peer is None:
                continue
            try:
                # No more than a few seconds, since they keep all of it in memory.
                self.create(peer, 16)
                out[name] = self.puts(peer, 5)
                if name == "ferrokinesis":
                    self.create(peer, 4, "single")
                    out["ferrokinesis_single"] = self.load(peer, "put-record", 5, "--stream", "single", "--connections", 64)
            finally:
                peer.stop()
        return out

    def put_record(self):
        server, rounds = self.rushes("single"), []
        self.create(server, 16)
        # As every server is soon: files of its journal are used again. (Emulators write none, and the bare writer's grows.)
        self.puts(server, 10)
        for _ in range(self.args.rounds):
            sink = self.sink("sha")
            r = {"sha": self.load(sink, "put-record", 10, "--connections", 64)}
            sink.stop()
            r["many"] = self.load(server, "put-record", 10, "--connections", 64)
            # A slow moment of the disk falls on one or the other: in turn, the middle of five.
            r["turns"] = [(self.disk(4096, 4), self.load(server, "put-record", 4, "--connections", 16)) for _ in range(5)]
            rounds.append(r)
        server.stop()
        shutil.rmtree(server.data)
        return rounds

    def get_records(self):
        """The same 100 MB read over and over: at the tip from memory, and from sealed segments after a restart."""
        out = {}

        def fill(server):
            self.create(server, 4)
            self.load(server, "put-records", 2, "--connections", 2)

        def read(server):
            return self.load(server, "get-records", 10, "--connections", 4, "--records", 1000)

        server = self.rushes("reads", "shard_log.tail_mib=1024")
        fill(server)
        out["tip"] = read(server)
        server.stop()
        server = self.rushes("reads", "shard_log.segment_seconds=1", "shard_log.tail_mib=1")
        end = time.monotonic() + 60
        while not list((server.data / "segments").glob("*.seg")) and time.monotonic() < end:
            time.sleep(0.2)
        out["tiered"] = read(server)
        server.stop()
        shutil.rmtree(server.data)
        if peer := self.ferrokinesis():
            fill(peer)
            out["ferrokinesis"] = read(peer)
            peer.stop()
        return out

    def fan_out(self):
        server = self.rushes("fan-out")
        self.create(server, 1)
        out = self.load(server, "fan-out", 20, "--connections", 20, "--rate", 1000)
        server.stop()
        shutil.rmtree(server.data)
        return out

    def resident(self, server):
        for line in pathlib.Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        return 0

    def rested(self, server):
        """What it holds when nothing is under way: the middle of five moments, each after some more was put."""
        taken = []
        for _ in range(5):
            self.puts(server, 1)
            # The backlog goes, and the allocator gives back what nobody uses any more.
            time.sleep(5)
            taken.append(self.resident(server))
        return median(taken)

    def memory(self):
        server = self.rushes("idle")
        self.create(server, 1, "warm")
        before = self.resident(server)
        shards = self.args.shards
        for i in range(0, shards, 10_000):
            self.create(server, min(10_000, shards - i), f"idle-{i}")
        out = {"shards": shards, "bytes_a_shard": (self.resident(server) - before) / shards}
        server.stop()
        shutil.rmtree(server.data)
        server = self.rushes("long")
        self.create(server, 16)
        done = 0
        for goal, name in ((1e9, "after_1_gb"), (self.args.gigabytes * 1e9, "after_all")):
            while done < goal:
                r = self.puts(server, 5)
                done += r["mb_per_s"] * r["seconds"] * 1e6
            out[name] = self.rested(server)
        out["gigabytes"] = done / 1e9
        server.stop()
        shutil.rmtree(server.data)
        return out


def figures(args, server_class, work, say):
    b = Bench(args, server_class, work, say)
    out = {}
    for name in ("put_records", "emulators", "put_record", "get_records", "fan_out", "memory"):
        say(f"streams: {name.replace('_', ' ')}")
        out[name] = getattr(b, name)()
        say(json.dumps(out[name]))
    return out


def median(xs):
    xs = sorted(xs)
    return xs[len(xs) // 2]


def rows(s):
    puts, single, e = s["put_records"], s["put_record"], s["emulators"]
    limit = lambda r: min(r["parse"]["mb_per_s"], r["disk"]["mb_per_s"])
    best = median([r["held"]["mb_per_s"] for r in puts])
    ratio = lambda name: median([r[name]["mb_per_s"] / limit(r) for r in puts])
    out = [
        (f"streams: PutRecords, MB/s ({best:.0f}) over the lesser of a bare parser and a bare writer", f"{ratio('held'):.2f}", "≥ 0.6"),
        ("streams: the same, tiering", f"{ratio('tiering'):.2f}", "≥ 0.4"),
    ]
    for name, what, want in (("ferrokinesis", "ferrokinesis in memory", "≥ 4"), ("ferrokinesis_log", "ferrokinesis with its log", "≥ 100"), ("kinesalite", "kinesalite", "≥ 15")):
        if name in e:
            out.append((f"streams: PutRecords over {what}", f"{best / max(0.01, e[name]['mb_per_s']):.1f}", want))
    out.append(("streams: PutRecord, 64 connections, over a bare server that hashes",
                f"{median([r['many']['records_per_s'] / r['sha']['records_per_s'] for r in single]):.2f}", "≥ 0.4"))
    if p := e.get("ferrokinesis_single"):
        out.append(("streams: the same over ferrokinesis in memory", f"{median([r['many']['records_per_s'] for r in single]) / p['records_per_s']:.2f}", "≥ 1"))
    out.append(("streams: PutRecord, 16 connections, p99 over bare 4 KiB + fdatasync",
                f"{median([few['p99_ms'] for r in single for _, few in r['turns']]) / median([disk['p99_ms'] for r in single for disk, _ in r['turns']]):.2f}", "≤ 4"))
    g = s["get_records"]
    if p := g.get("ferrokinesis"):
        out.append(("streams: GetRecords at the tip over ferrokinesis in memory", f"{g['tip']['mb_per_s'] / p['mb_per_s']:.1f}", "≥ 4"))
        out.append(("streams: GetRecords, tiered, over ferrokinesis in memory", f"{g['tiered']['mb_per_s'] / p['mb_per_s']:.1f}", "≥ 2"))
    f, m = s["fan_out"], s["memory"]
    out += [
        ("streams: fan-out to the last of 20 consumers, p50, ms", f"{f['p50_ms']:.1f}", "≤ 5"),
        ("streams: the same, p99, ms", f"{f['p99_ms']:.1f}", "≤ 20"),
        ("streams: resident bytes of an idle shard", f"{m['bytes_a_shard']:.0f}", "≤ 2048"),
        (f"streams: resident at rest after {m['gigabytes']:.0f} GB over after 1 GB", f"{m['after_all'] / m['after_1_gb']:.2f}", "≤ 1.0"),
    ]
    return out
