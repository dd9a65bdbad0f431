"""Playlists, taken apart (RFC 8216)."""

import datetime
import re
from urllib.parse import urljoin


class Playlist:
    """A media playlist: `segments` with `uri`, `duration`, `time` (of its start), `discontinuity`, `sequence`, `init`, `gap`."""

    def __init__(self, url, text):
        assert text.startswith("#EXTM3U"), text[:200]
        self.url, self.text = url, text
        self.ended = "#EXT-X-ENDLIST" in text
        self.kind = self.tag("PLAYLIST-TYPE")
        self.target = float(self.tag("TARGETDURATION") or 0)
        self.sequence = int(self.tag("MEDIA-SEQUENCE") or 0)
        self.discontinuities = int(self.tag("DISCONTINUITY-SEQUENCE") or 0)
        self.segments = []
        duration, time, broken, init, gap = None, None, False, None, False
        for line in text.splitlines():
            if line.startswith("#EXTINF:"):
                duration = float(line[8:].split(",")[0])
            elif line.startswith("#EXT-X-PROGRAM-DATE-TIME:"):
                time = when(line.split(":", 1)[1])
            elif line == "#EXT-X-DISCONTINUITY":
                broken = True
            elif line == "#EXT-X-GAP":
                gap = True
            elif line.startswith("#EXT-X-MAP:"):
                init = urljoin(url, attributes(line)["URI"])
            elif line and not line.startswith("#"):
                self.segments.append(Segment(urljoin(url, line), duration, time, broken, self.sequence + len(self.segments), init, gap))
                time = time and time + datetime.timedelta(seconds=duration)
                broken = gap = False

    def tag(self, name):
        m = re.search(rf"^#EXT-X-{name}:(.*)$", self.text, re.M)
        return m and m[1].strip()

    @property
    def length(self):
        return sum(s.duration for s in self.segments)


class Segment:
    def __init__(self, uri, duration, time, discontinuity, sequence, init, gap=False):
        self.uri, self.duration, self.time, self.discontinuity = uri, duration, time, discontinuity
        self.sequence, self.init, self.gap = sequence, init, gap

    @property
    def end(self):
        return self.time + datetime.timedelta(seconds=self.duration)

    @property
    def position(self):
        """The last path component without its ending: the fragment's position."""
        return self.uri.rsplit("/", 1)[1].split("?")[0].removesuffix(".m4s")


def attributes(line):
    return {k: v.strip('"') for k, v in re.findall(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)', line.split(":", 1)[1])}


def when(text):
    return datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))


def fetch(http, url):
    """A playlist; of a multivariant one, the variant's."""
    r = http.get(url, timeout=30)
    assert r.ok, f"{url}: {r.status_code} {r.text[:200]}"
    if "#EXT-X-STREAM-INF" in r.text:
        lines = r.text.splitlines()
        variant = next(lines[i + 1] for i, l in enumerate(lines) if l.startswith("#EXT-X-STREAM-INF"))
        return fetch(http, urljoin(url, variant))
    return Playlist(url, r.text)


def renditions(http, url):
    """The URLs of other tracks' playlists (audio) in a multivariant playlist."""
    text = http.get(url, timeout=30).text
    return [urljoin(url, attributes(l)["URI"]) for l in text.splitlines() if l.startswith("#EXT-X-MEDIA:") and "URI=" in l]
