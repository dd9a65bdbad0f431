"""A clock burnt into pictures: 24 bits of milliseconds and 8 of a check as black and white squares, which every codec leaves
alone. It is the system's monotonic one: that of the day may be set while something is measured.

As a program: raw pictures (yuv420p) at the rate of a camera, each with the moment at which it was written.

    clock.py SECONDS | ffmpeg -f rawvideo -pix_fmt yuv420p -video_size 640x360 -framerate 25 -i - …
"""

import os
import sys
import time

WIDTH, HEIGHT, RATE = 640, 360, 25
#: A square's side; eight in a row, four rows, from the top left.
SQUARE, COLUMNS, ROWS = 40, 8, 4

#: The same in a page: `clockNow()`, on which `clockOffset` puts the page's clock, `clockPaint(context, ms)`, `clockWatch(video)`,
#: which keeps how old each picture is (`ages`) and how many could not be read (`unread`).
SCRIPT = """
const [SQUARE, COLUMNS, ROWS] = [40, 8, 4];
const check = (n) => (n >> 16 ^ n >> 8 ^ n ^ 0x5a) & 255;
window.clockOffset = 0;
window.clockNow = () => performance.now() + window.clockOffset;
window.clockPaint = (context, ms) => {
  const n = Math.floor(ms) % 2 ** 24, all = n * 256 + check(n);
  for (let i = 0; i < COLUMNS * ROWS; i++) {
    context.fillStyle = Math.floor(all / 2 ** (31 - i)) % 2 ? '#fff' : '#000';
    context.fillRect(i % COLUMNS * SQUARE, Math.floor(i / COLUMNS) * SQUARE, SQUARE, SQUARE);
  }
};
const small = document.createElement('canvas');
[small.width, small.height] = [640 / 8, 360 / 8];
const pixels = small.getContext('2d', { willReadFrequently: true });
const read = (video) => {
  pixels.drawImage(video, 0, 0, small.width, small.height);
  const side = SQUARE / 8, seen = pixels.getImageData(0, 0, COLUMNS * side, ROWS * side);
  let all = 0;
  for (let i = 0; i < COLUMNS * ROWS; i++) {
    const x = i % COLUMNS * side + 2, y = Math.floor(i / COLUMNS) * side + 2;
    all = all * 2 + (seen.data[(y * seen.width + x) * 4 + 1] > 127 ? 1 : 0);
  }
  const n = Math.floor(all / 256);
  return check(n) === all % 256 ? n : null;
};
window.clockWatch = (video) => {
  window.ages = []; window.unread = 0;
  const look = () => {
    const at = read(video);
    if (at === null) window.unread++;
    else window.ages.push((window.clockNow() % 2 ** 24 - at + 2 ** 24) % 2 ** 24);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
};
"""


def now():
    return time.monotonic_ns() // 1_000_000


def picture(ms, noise):
    """One picture, yuv420p; around the squares is noise, so that there is something to encode."""
    n = ms % 2**24
    bits = n << 8 | (n >> 16 ^ n >> 8 ^ n ^ 0x5A) & 255
    wide, out = SQUARE * COLUMNS, []
    for row in range(ROWS):
        squares = b"".join((b"\xeb" if bits >> 31 - row * COLUMNS - c & 1 else b"\x10") * SQUARE for c in range(COLUMNS))
        for y in range(row * SQUARE, (row + 1) * SQUARE):
            at = (y * 7919 + n * 104729) % (len(noise) - WIDTH)
            out += [squares, noise[at : at + WIDTH - wide]]
    rest = WIDTH * (HEIGHT - ROWS * SQUARE)
    out.append((b"\x60" * (WIDTH // 2) + b"\x90" * (WIDTH // 2)) * (rest // WIDTH))
    out.append(b"\x80" * (WIDTH * HEIGHT // 2))
    return b"".join(out)


def main():
    # Of few values: 25 of these a second are about 1 Mb/s.
    noise = bytes(0x70 + (b & 15) for b in os.urandom(1 << 16))
    begun = time.monotonic()
    try:
        for i in range(int(sys.argv[1]) * RATE):
            time.sleep(max(0, begun + i / RATE - time.monotonic()))
            sys.stdout.buffer.write(picture(now(), noise))
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Nobody wants any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
