"""The archive's figures: finding a moment among a million fragments, starting, checking, what is written for a byte."""

import http.client
import json
import os
import pathlib
import random
import signal
import subprocess
import time
import urllib.parse

READS = 400


def drop_pages(folder):
    """Takes a folder's files out of the page cache."""
    for f in pathlib.Path(folder).rglob("*"):
        if f.is_file():
            fd = os.open(f, os.O_RDONLY)
            try:
                os.fdatasync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def first_byte(connection, path):
    """Milliseconds until the first byte of the answer's body, and its length."""
    begun = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    first = answer.read(1)
    took = (time.perf_counter() - begun) * 1000
    rest = answer.read()
    assert answer.status == 200 and first, (answer.status, path, rest[:200])
    return took, 1 + len(rest)


def p99(xs):
    return sorted(xs)[int(len(xs) * 0.99)]


def connect(url):
    u = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(u.hostname, u.port, timeout=30)


def media_paths(server, start, streams, fragments, rng):
    """Paths of media at random moments of the archive; the sessions' tokens outlive the process that gave them."""
    paths, c = [], connect(server.ready["url"])
    while len(paths) < READS:
        name = f"small-{rng.randrange(streams)}"
        at = start + rng.randrange(max(1, fragments // streams - 20)) * 2
        stamp = lambda s: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(s))
        session = server.call("POST", f"/v1/streams/{name}/sessions", {"protocol": "hls", "mode": "onDemand", "by": "producer", "from": stamp(at), "to": stamp(at + 20)})
        master = urllib.parse.urlsplit(session["url"]).path

        def lines(path):
            c.request("GET", path)
            return [urllib.parse.urljoin(path, l) for l in c.getresponse().read().decode().splitlines() if l and not l.startswith("#")]

        media = lines(lines(master)[0])
        paths.append(rng.choice(media))
    return paths


def random_reads(args, Server, archive, data, start, streams, fragments):
    rng = random.Random(7)
    server = Server(args.rushes, str(data))
    paths = media_paths(server, start, streams, fragments, rng)
    server.stop()
    # In turn, and the median: the 99th hundredth of 400 reads is the fifth slowest, which a moment's hitch of the machine makes.
    rounds = [one_round(args, Server, archive, data, paths, rng) for _ in range(max(9, args.rounds))]
    median = {k: sorted(r[k] for r in rounds)[len(rounds) // 2] for k in rounds[0]}
    return {**median, "rounds": rounds}


def one_round(args, Server, archive, data, paths, rng):
    """Ours and the bare server's, each with the segments' pages dropped before."""
    drop_pages(data)
    # A fresh process, which has no index in memory.
    server = Server(args.rushes, str(data))
    drop_pages(data / "segments")
    c = connect(server.ready["url"])
    ours, sizes = zip(*(first_byte(c, p) for p in paths))
    server.stop()
    files = [f for f in (data / "segments").iterdir() if f.stat().st_size > 1 << 20]
    bare = subprocess.Popen([str(pathlib.Path(archive).with_name("bare_files")), str(data / "segments")], stdout=subprocess.PIPE, text=True)
    c = connect(bare.stdout.readline().strip())
    drop_pages(data / "segments")
    theirs = []
    for size in sizes:
        f = rng.choice(files)
        theirs.append(first_byte(c, f"/{f.name}/{rng.randrange(f.stat().st_size - size)}/{size}")[0])
    bare.kill()
    bare.wait()
    ratio = p99(ours) / p99(theirs)
    return {"ours_p99_ms": p99(ours), "bare_p99_ms": p99(theirs), "p99_ratio": ratio,
            "ours_p50_ms": sorted(ours)[READS // 2], "bare_p50_ms": sorted(theirs)[READS // 2]}


def fill(args, Server, archive, data, *options):
    Server(args.rushes, str(data)).stop()
    p = subprocess.run([archive, str(data), *map(str, options)], stdout=subprocess.PIPE, text=True)
    assert p.returncode in (0, -signal.SIGABRT), p.returncode
    return json.loads(p.stdout.strip().splitlines()[-1])


def start_seconds(args, Server, data):
    drop_pages(data)
    begun = time.perf_counter()
    server = Server(args.rushes, str(data))
    took = time.perf_counter() - begun
    return took, server


def verify_rate(args, data):
    """MB/s of `verify` over `sha256sum` of the same files, each on one core and from the page cache's point of view cold."""
    files = sorted(str(f) for f in (data / "segments").iterdir())
    total = sum(os.stat(f).st_size for f in files)
    core = ["taskset", "-c", "1"]
    rates = []
    for command in ([args.rushes, "verify", "--data", str(data)], ["sha256sum", *files]):
        drop_pages(data)
        begun = time.perf_counter()
        subprocess.run(core + command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rates.append(total / (time.perf_counter() - begun) / 1e6)
    return {"verify_mb_s": rates[0], "sha256sum_mb_s": rates[1]}


def figures(args, Server, archive, work, say):
    out = {}
    streams = 50
    for name, fragments, large in (("small", 10_000, 0), ("big", args.fragments, 1000)):
        say(f"archive: filling one with {fragments} fragments")
        data = work / f"archive-{name}"
        data.mkdir()
        # So lately that no retention removes it.
        start = int(time.time()) - 2 * max(fragments // streams, large) - 600
        made = fill(args, Server, archive, data, "--fragments", fragments, "--large", large, "--streams", streams, "--journal-mib", 200, "--start", start)
        took, server = start_seconds(args, Server, data)
        server.stop()
        catalog = sum(f.stat().st_size for f in data.glob("catalog.sqlite*"))
        out[name] = {"made": made, "start_s": took, "catalog_bytes": catalog, "fragments": made["small"] + made["large"],
                     "reads": random_reads(args, Server, archive, data, start, streams, fragments)}
    out["verify"] = verify_rate(args, work / "archive-big")
    say("archive: bytes written for each byte of payload")
    for name, options in (("fragments", ("--fragments", 0, "--large", args.payload_mib)), ("records", ("--fragments", 0, "--records-mib", 2 * args.payload_mib))):
        data = work / f"written-{name}"
        data.mkdir()
        made = fill(args, Server, archive, data, *options)
        out[f"written_{name}"] = made["written"] / made["payload"]
    return out


def rows(a):
    big, small = a["big"], a["small"]
    yield ("archive: first byte of HLS media at random, p99, over a bare hyper server", f"{big['reads']['p99_ratio']:.2f}", "≤ 5")
    yield (f"archive: the same with {big['fragments']} fragments over {small['fragments']}", f"{big['reads']['ours_p99_ms'] / small['reads']['ours_p99_ms']:.2f}", "≤ 2")
    yield ("archive: start to ready after a kill with 200 MiB of journal, s", f"{big['start_s']:.2f}", "≤ 2")
    yield ("archive: catalog bytes per fragment", f"{big['catalog_bytes'] / big['fragments']:.2f}", "≤ 1")
    yield ("archive: verify, MB/s over sha256sum", f"{a['verify']['verify_mb_s'] / a['verify']['sha256sum_mb_s']:.2f}", "≥ 1")
    yield ("archive: bytes written per payload byte, fragments of 1 MiB", f"{a['written_fragments']:.2f}", "≤ 1.1")
    yield ("archive: bytes written per payload byte, records of 1 KiB", f"{a['written_records']:.2f}", "≤ 2.2")
