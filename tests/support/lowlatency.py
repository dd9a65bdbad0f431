"""Low-latency playlists, taken apart and held to draft-pantos-hls-rfc8216bis."""

import re
import subprocess
from urllib.parse import urljoin

from .m3u8 import attributes, when


class Part:
    def __init__(self, url, line):
        a = attributes(line)
        self.uri, self.duration = urljoin(url, a["URI"]), float(a["DURATION"])
        self.independent = a.get("INDEPENDENT") == "YES"

    def __eq__(self, other):
        return (self.uri, self.duration, self.independent) == (other.uri, other.duration, other.independent)


class Entry:
    """A segment; the one that is being made has no `uri`."""

    def __init__(self, sequence):
        self.sequence, self.parts, self.uri, self.duration = sequence, [], None, None
        self.map, self.time, self.breaks, self.gap = None, None, 0, False

    def said(self):
        return self.sequence, self.uri, self.duration, self.map, self.time, self.breaks


class LowLatency:
    """A media playlist with parts. `entries` are the segments by number, whole or not; those that were skipped are not there."""

    def __init__(self, url, text):
        assert text.startswith("#EXTM3U\n"), text[:200]
        self.url, self.text = url, text
        self.skipped, self.hint, self.reports, self.control, self.entries = 0, None, [], {}, []
        value = lambda name: (m := re.findall(rf"^#EXT-X-{name}:(.*)$", text, re.M)) and (len(m) == 1 or pytest_fail(f"{name} twice")) and m[0]
        self.version, self.target, self.sequence = int(value("VERSION")), float(value("TARGETDURATION")), int(value("MEDIA-SEQUENCE"))
        self.discontinuities = int(value("DISCONTINUITY-SEQUENCE"))
        self.part_target = None
        broken, init, at = 0, None, Entry(self.sequence)
        for line in text.splitlines()[1:]:
            tag = line.split(":")[0]
            if tag == "#EXT-X-SERVER-CONTROL":
                self.control = attributes(line)
            elif tag == "#EXT-X-PART-INF":
                self.part_target = float(attributes(line)["PART-TARGET"])
            elif tag == "#EXT-X-SKIP":
                self.skipped = int(attributes(line)["SKIPPED-SEGMENTS"])
                assert not self.entries and self.skipped > 0
                at = Entry(self.sequence + self.skipped)
            elif tag == "#EXT-X-DISCONTINUITY":
                at.breaks += 1
            elif tag == "#EXT-X-MAP":
                init = urljoin(url, attributes(line)["URI"])
            elif tag == "#EXT-X-PROGRAM-DATE-TIME":
                at.time = when(line.split(":", 1)[1])
            elif tag == "#EXT-X-PART":
                assert self.hint is None, "a part after the hint"
                at.parts.append(Part(url, line))
                at.map = init
            elif tag == "#EXT-X-PRELOAD-HINT":
                a = attributes(line)
                assert a["TYPE"] == "PART" and self.hint is None
                self.hint = urljoin(url, a["URI"])
            elif tag == "#EXT-X-RENDITION-REPORT":
                self.reports.append(attributes(line))
            elif tag == "#EXT-X-GAP":
                at.gap = True
            elif tag == "#EXTINF":
                at.duration = float(line[8:].split(",")[0])
            elif line and not line.startswith("#"):
                at.uri, at.map = urljoin(url, line), init
                self.entries.append(at)
                at = Entry(at.sequence + 1)
        self.open = at
        assert at.duration is None and (at.parts or not (at.breaks or at.time)), "tags that belong to nothing"
        self.check()

    def check(self):
        """What must hold of one playlist (§4.4.3.7, §4.4.3.8, §4.4.4.9, §4.4.5.2)."""
        if self.part_target is None:
            return
        assert self.version >= 9 and self.control.get("CAN-BLOCK-RELOAD") == "YES"
        assert float(self.control["PART-HOLD-BACK"]) >= 2 * self.part_target
        assert float(self.control["CAN-SKIP-UNTIL"]) >= 6 * self.target
        for e in [*self.entries, self.open]:
            assert e.duration is None or round(e.duration) <= self.target
            for i, p in enumerate(e.parts):
                assert p.duration <= self.part_target + 1e-5, f"a part of {p.duration} s, target {self.part_target}"
                last = e.uri is not None and i + 1 == len(e.parts)
                assert last or p.independent or p.duration >= 0.85 * self.part_target, f"a part of {p.duration} s, target {self.part_target}"
            if e.parts and e.uri:
                assert abs(sum(p.duration for p in e.parts) - e.duration) < 0.05, f"parts of {[p.duration for p in e.parts]}, a segment of {e.duration}"
        # Of what is older than three target durations there are no parts; of all that is younger there are, or of nothing before.
        far, had = sum(p.duration for p in self.open.parts), None
        for e in reversed(self.entries):
            assert not (e.parts and far > 3 * self.target + 1e-6), "parts of what is old"
            assert not (e.parts and had is False), "a segment without parts among those with"
            if e.gap:
                assert not e.parts, "parts of what cannot be had"
                far += e.duration
                continue
            had = bool(e.parts) if far <= 3 * self.target - 1e-6 else had
            far += e.duration

    @property
    def end(self):
        """The next thing to come: `_HLS_msn`, `_HLS_part`."""
        return self.open.sequence, len(self.open.parts)

    def has(self, msn, part):
        return self.end[0] > msn or self.end[0] == msn and self.end[1] > part

    def merged(self, before):
        """The whole playlist, of a delta and the one before it (§6.3.7)."""
        if not self.skipped:
            return {e.sequence: e for e in self.entries}
        held = {e.sequence: e for e in before.values() if self.sequence <= e.sequence < self.sequence + self.skipped}
        assert len(held) == self.skipped, "a delta skips what was never there"
        return {**held, **{e.sequence: e for e in self.entries}}


def pytest_fail(words):
    raise AssertionError(words)


def get(http, url, **directives):
    """A playlist, blocking."""
    query = "&".join(f"_HLS_{k}={v}" for k, v in directives.items())
    r = http.get(f"{url}?{query}" if query else url, timeout=60)
    assert r.ok, f"{url} {query}: {r.status_code} {r.text[:300]}"
    return LowLatency(url, r.text)


def samples(media, folder):
    """Times, flags and contents of all samples of MP4 bytes, by FFmpeg."""
    path = folder / "samples.mp4"
    path.write_bytes(media)
    r = subprocess.run(["ffprobe", "-v", "error", "-show_packets", "-show_data_hash", "md5", "-show_entries",
                        "packet=pts,dts,flags,data_hash", "-of", "csv=p=0", path], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and not r.stderr, r.stderr
    return [l for l in r.stdout.split()]
