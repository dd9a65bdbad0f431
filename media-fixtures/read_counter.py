#!/usr/bin/env python3
"""Reads back the frame numbers that generate.sh draws: one a line, in the order shown.

    read_counter.py CLIP-OR-URL [FFMPEG-INPUT-OPTION…]

Exits 1 if a square is neither black nor white, which means a picture that was not decoded properly.
"""

import subprocess
import sys

WIDTH, HEIGHT, BITS = 320, 16, 32


def numbers(source, options=()):
    """Yields a number for each frame, or None where it cannot be read."""
    command = ["ffmpeg", "-nostdin", "-v", "error", *options, "-i", source, "-map", "0:v:0", "-fps_mode", "passthrough"]
    command += ["-vf", f"crop={WIDTH}:{HEIGHT}:0:0,format=gray", "-f", "rawvideo", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as ffmpeg:
        while frame := ffmpeg.stdout.read(WIDTH * HEIGHT):
            if len(frame) < WIDTH * HEIGHT:
                break
            number = 0
            for bit in range(BITS):
                # The middle of the square, where coding blurs least.
                x = bit * WIDTH // BITS + 3
                block = [frame[y * WIDTH + x + i] for y in range(5, 11) for i in range(4)]
                level = sum(block) / len(block)
                if 70 < level < 180:
                    number = None
                    break
                number = number * 2 + (level >= 180)
            yield number


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    broken = 0
    for n in numbers(sys.argv[1], sys.argv[2:]):
        broken += n is None
        print("?" if n is None else n)
    sys.exit(1 if broken else 0)
