"""Clips, those who publish them, and what is in a file, all by FFmpeg's and GStreamer's own commands."""

import contextlib
import hashlib
import os
import pathlib
import re
import signal
import subprocess
import sys

FFMPEG = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "warning"]

# Dropped before a comparison: parameter sets (kept by effect), delimiters, filler; H.264 and H.265.
ASIDE = {"h264": {7, 8, 9, 12}, "hevc": {32, 33, 34, 35, 38}}


def ffmpeg(*arguments, timeout=120, **kw):
    """To its end; standard output in bytes. Its complaints are the exception's words."""
    r = subprocess.run([*FFMPEG, *map(str, arguments)], capture_output=True, timeout=timeout, **kw)
    assert r.returncode == 0, f"ffmpeg {' '.join(map(str, arguments))}: {r.stderr.decode(errors='replace')[-2000:]}"
    return r.stdout


def clip(folder, seconds=6, fps=25, gop=25, size="320x180", audio=False, codec="libx264", extra=()):
    """Makes a clip once: exactly `seconds * fps` pictures."""
    more = hashlib.sha256(repr(extra).encode()).hexdigest()[:8]
    path = pathlib.Path(folder) / f"{seconds}s-{fps}-{gop}-{size}-{'aac' if audio else 'mute'}-{codec}-{more}.mp4"
    if path.exists():
        return path
    sound = ["-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000"] if audio else []
    made = path.with_suffix(".tmp.mp4")
    ffmpeg("-y", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={fps}", *sound,
           "-t", seconds, "-c:v", codec, "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", gop, "-bf", "0",
           *(["-c:a", "aac", "-b:a", "64k"] if audio else []), *extra, made)
    made.rename(path)
    return path


def nal_units(source, codec="h264"):
    """The NAL units of a file's or URL's video, in order, without those that may change on the way."""
    stream = ffmpeg("-i", source, "-map", "0:v:0", "-c", "copy", "-bsf:v", f"{codec}_mp4toannexb", "-f", codec, "pipe:1")
    return split(stream, codec)


def split(stream, codec="h264"):
    out = []
    for unit in stream.split(b"\0\0\1")[1:]:
        unit = unit.rstrip(b"\0")
        kind = (unit[0] & 0x1F) if codec == "h264" else (unit[0] >> 1 & 0x3F)
        if kind not in ASIDE[codec]:
            out.append(unit)
    return out


def packets(source, kind="v"):
    """How many packets the first track of a kind has (0 if there is none)."""
    out = subprocess.run(["ffprobe", "-v", "error", "-select_streams", f"{kind}:0", "-count_packets",
                          "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", str(source)],
                         capture_output=True, text=True, timeout=120, check=True).stdout.split()
    return int(out[0].strip(",")) if out else 0


def sound_times(source):
    """When each packet of the first audio track is heard, in seconds."""
    out = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "packet=pts_time", "-of", "csv=p=0", str(source)],
                         capture_output=True, text=True, timeout=120, check=True).stdout
    return [float(t.strip(",")) for t in out.split()]


def sounds(source):
    """A hash of each of the first audio track's packets."""
    r = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_packets", "-show_data_hash", "md5",
                        "-show_entries", "packet=data_hash", "-of", "csv=p=0", str(source)],
                       capture_output=True, text=True, timeout=120, check=True)
    # Side data, such as how many samples to skip, is told in the same lines.
    return re.findall(r"MD5:[0-9a-f]{32}", r.stdout)


def same_audio(sent, source):
    """That what is played is what was published, but for what the clients themselves leave out: the encoder's delay,
    which the file says is not to be played (two packets), and what FFmpeg's RTP muxer still holds, waiting for more to
    fill a packet, when the file ends (it never sends that: up to eight)."""
    want, have = sounds(sent), sounds(source)
    first = want.index(have[0])
    assert want[first : first + len(have)] == have, "the audio differs from what was published"
    assert first <= 2 and len(want) - first - len(have) <= 8, f"{len(want)} were published, {len(have)} are played from {first} on"


def same_video(sent, source, codec="h264"):
    """That what is played is what was published, byte for byte and in order."""
    want, have = nal_units(sent, codec), nal_units(source, codec)
    if want != have:
        at = next((i for i, (a, b) in enumerate(zip(want, have)) if a != b), min(len(want), len(have)))
        raise AssertionError(f"{len(want)} NAL units were published and {len(have)} are played; they differ from unit {at} on")
    return len(want)


# ---- those who publish


def ffmpeg_publisher(file, url, transport="tcp", loop=False, codec="copy", extra=()):
    return [*FFMPEG, "-re", *(["-stream_loop", "-1"] if loop else []), "-i", str(file), "-c", codec, *extra,
            "-f", "rtsp", "-rtsp_transport", transport, url]


def pyav_publisher(file, url, form="rtsp", loop=False, **options):
    """FFmpeg 8's, which has AV1 for an experiment."""
    options = {"strict": "experimental", **({"rtsp_transport": "tcp"} if form == "rtsp" else {}), **options}
    script = pathlib.Path(__file__).with_name("pyav_publisher.py")
    return [sys.executable, str(script), str(file), url, form, str(int(loop)), *(f"{k}={v}" for k, v in options.items())]


def gst_publisher(file, url, transport="tcp", audio=False):
    tracks = "d.video_0 ! queue ! h264parse ! s.sink_0"
    if audio:
        tracks += "  d.audio_0 ! queue ! aacparse ! s.sink_1"
    return ["gst-launch-1.0", "-q", *f"filesrc location={file} ! qtdemux name=d rtspclientsink name=s location={url} protocols={transport} {tracks}".split()]


@contextlib.contextmanager
def running(command):
    """A process in a group of its own, ended at the end however the test ends."""
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield p
    finally:
        if p.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(p.pid, signal.SIGTERM)
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                p.wait(10)
        p.stderr.close()


def publish(command, timeout=120):
    """Publishes a whole clip; what the client said."""
    r = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    assert r.returncode == 0, f"{command[0]} ended with {r.returncode}: {r.stderr[-1500:]}"
    return r.stderr


# ---- files, as FFmpeg decodes them


def frames(source, silent=False, steady=True):
    """A hash of each decoded picture, in the order in which they are shown, each in its own size. `silent`: FFmpeg has
    nothing to say against the source (which is of a `steady` rate: FFmpeg counts by it)."""
    r = subprocess.run([*FFMPEG, "-i", str(source), "-autoscale", "0", "-map", "0:v:0?", "-map", "0:a:0?", "-fps_mode", "passthrough",
                        "-enc_time_base:v", "-1", "-f", "framemd5", "-"], capture_output=True, text=True, timeout=120)
    # Of all uncompressed sound FFmpeg says that it guesses the channels' layout.
    said = [l for l in r.stderr.splitlines() if l.strip() and "Guessed Channel Layout" not in l]
    said = [l for l in said if steady or not l.startswith("[framemd5 @")]
    assert r.returncode == 0 and not (silent and said), f"{source}: {said[:10]}"
    kinds = {l.split(":")[0].split()[1]: l.split()[-1] for l in r.stdout.splitlines() if l.startswith("#media_type")}
    rows = [[f.strip() for f in l.split(",")] for l in r.stdout.splitlines() if not l.startswith("#")]
    return [row[-1] for row in rows if kinds.get(row[0]) == "video"]


def times(source):
    """When each picture is shown, in seconds, ascending."""
    out = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time",
                          "-of", "csv=p=0", str(source)], capture_output=True, text=True, timeout=60, check=True).stdout
    return sorted(float(t.strip(",")) for t in out.split())


def stamps(source):
    """When each picture is shown and when it is decoded, in ticks, in the order of decoding."""
    out = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts,dts",
                          "-of", "csv=p=0", str(source)], capture_output=True, text=True, timeout=60, check=True).stdout
    return [tuple(int(n) for n in line.split(",")[:2]) for line in out.split()]


def silent(file):
    """FFmpeg and ffprobe have nothing to say against a file."""
    probe = subprocess.run(["ffprobe", "-v", "warning", "-show_format", "-show_streams", "-of", "compact", str(file)],
                           capture_output=True, text=True, timeout=60)
    assert probe.returncode == 0 and not probe.stderr.strip(), f"{file}: {probe.stderr}"
    frames(file, silent=True)
