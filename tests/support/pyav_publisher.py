"""Publishes a file's tracks as they are, at their own speed, with FFmpeg 8's libraries (PyAV's): they send AV1 by RTSP, which Debian 12's
FFmpeg does not.

    python pyav_publisher.py FILE URL FORMAT LOOP [KEY=VALUE...]

FORMAT is FFmpeg's muxer (`rtsp`, `whip`), what follows are its options. LOOP is 1 for again and again until this process is ended.
"""

import sys
import time

import av


def packets(file, loop):
    """A file's packets, with how much later they are than the file says, in seconds."""
    later = 0
    while True:
        with av.open(file) as source:
            end = 0
            for packet in source.demux():
                # The last of each track says that there are no more.
                if packet.dts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                    yield packet, later
        later += end
        if not loop:
            return


def publish(file, url, form, loop, options):
    with av.open(file) as source, av.open(url, "w", format=form, options=options) as sink:
        # As it is: of AV1 there is a decoder that encodes nothing.
        tracks = [sink.add_stream_from_template(s, opaque=True) for s in source.streams]
        began = None
        for packet, later in packets(file, loop):
            due = float(packet.dts * packet.time_base) + later
            began = time.monotonic() - due if began is None else began
            time.sleep(max(0, began + due - time.monotonic()))
            ticks = round(later / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            packet.stream = tracks[packet.stream.index]
            sink.mux(packet)


if __name__ == "__main__":
    file, url, form, loop, *options = sys.argv[1:]
    publish(file, url, form, loop == "1", dict(o.split("=", 1) for o in options))
