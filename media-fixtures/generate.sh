#!/bin/sh
# Makes the small clips that tests and the demo use: see README.md.
#
#     media-fixtures/generate.sh [OUT_DIR]        (default: media-fixtures/out)
#
# Clips that are there already, and not older than this script, are left as they are.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/out}
mkdir -p "$out"
command -v ffmpeg >/dev/null || { echo "generate.sh: ffmpeg is not installed" >&2; exit 1; }

size=320x180
rate=25

# The frame's number as 32 squares of 10×16 pixels along the top edge, highest bit first, white for 1.
counter="drawbox=x=0:y=0:w=320:h=16:color=black:t=fill"
bit=0
while [ $bit -lt 32 ]; do
    counter="$counter,drawbox=x=$(((31 - bit) * 10)):y=0:w=10:h=16:color=white:t=fill"
    counter="$counter:enable='mod(floor(n/pow(2,$bit)),2)'"
    bit=$((bit + 1))
done

# clip FILE SECONDS FFMPEG-OPTIONS…: pictures, and a tone with a beep at each full second.
clip() {
    file=$1 seconds=$2
    shift 2
    if [ -s "$out/$file" ] && [ "$out/$file" -nt "$here/generate.sh" ]; then return; fi
    part="$out/.part.$$.$file"
    trap 'rm -f "$part"' EXIT
    ffmpeg -nostdin -v error -y \
        -f lavfi -i "testsrc2=size=$size:rate=$rate:duration=$seconds" \
        -f lavfi -i "sine=frequency=440:beep_factor=4:sample_rate=48000:duration=$seconds" \
        -filter:v "$counter,format=yuv420p" \
        -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
        "$@" "$part"
    mv "$part" "$out/$file"
}

x264="-c:v libx264 -preset veryfast -crf 26 -sc_threshold 0"
aac="-c:a aac -b:a 64k -ac 2"

clip h264-aac.mp4 8 -map 0 -map 1 $x264 -profile:v baseline -g $rate $aac
clip h264-bframes-aac.mp4 8 -map 0 -map 1 $x264 -profile:v high -g 50 -bf 3 -x264-params b-pyramid=normal:b-adapt=0 $aac
clip h264-open-gop.mp4 8 -map 0 $x264 -g $rate -bf 2 -x264-params open-gop=1:b-adapt=0
clip h264-intra-refresh.mp4 8 -map 0 $x264 -g $rate -bf 0 -x264-params intra-refresh=1
clip h264-gop10.mp4 10.4 -map 0 $x264 -g 250 -bf 0
clip h264-opus.mkv 6 -map 0 -map 1 $x264 -g $rate -bf 0 -c:a libopus -b:a 48k
clip h264-pcmu.mkv 6 -map 0 -map 1 $x264 -g $rate -bf 0 -c:a pcm_mulaw -ar 8000 -ac 1
clip h264-pcma.mov 6 -map 0 -map 1 $x264 -g $rate -bf 0 -c:a pcm_alaw -ar 8000 -ac 1
clip h265-aac.mp4 6 -map 0 -map 1 -c:v libx265 -preset ultrafast -crf 28 -tag:v hvc1 \
    -x265-params log-level=none:info=0:keyint=$rate:min-keyint=$rate:scenecut=0:bframes=2:open-gop=1 $aac
clip aac.m4a 6 -map 1 $aac
