"""GStreamer's webrtcbin as a peer, in a process of its own: publishes a test picture and tone by WHIP, or watches by WHEP.

Run by the system's Python, which has GStreamer's bindings (this file needs nothing else):

    /usr/bin/python3 webrtcbin.py publish|watch URL TOKEN [PEM [CODEC [FILE]]]

CODEC: of the picture, `H264` unless told, or `H265`. FILE: an MP4 file whose picture is published as it is and at its own speed,
instead of the test picture, which is H.264, and the tone. PEM: a file with a certificate and its private key; without one webrtcbin makes its own, with RSA before GStreamer 1.28. It says
what happens in lines of JSON: `{"session": PATH}` once agreed; `{"state": "connected"}` and so on, webrtcbin's `connection-state`;
`{"video": N, "width": W, "height": H}` and `{"audio": N, "loudest": DB}`, buffers that were decoded so far, each so often;
`{"error": WORDS}`. On SIGTERM it deletes the session and ends with 0; after an error it goes as it is, with 1.
"""

import hashlib
import json
import re
import signal
import ssl
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import gi

for name in ("Gst", "GstSdp", "GstWebRTC"):
    gi.require_version(name, "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

SENDONLY, RECVONLY = GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY, GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
H264 = "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96"
OPUS = "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,encoding-params=(string)2,payload=97"
SOURCES = (
    ("videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=25/1"
     " ! x264enc tune=zerolatency speed-preset=ultrafast bframes=0 key-int-max=250 ! video/x-h264,profile=constrained-baseline"
     " ! rtph264pay config-interval=-1 aggregate-mode=zero-latency", H264),
    ("audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay", OPUS),
)
#: Each picture is due at its own time: those that are decoded before others that are shown earlier wait for none.
FILE = "filesrc location={file} ! qtdemux ! {codec}parse ! identity sync=true ! rtp{codec}pay config-interval=-1 aggregate-mode=zero-latency"
DECODE = {
    "video": "rtp{codec}depay ! {codec}parse ! avdec_{codec} ! identity name=seen signal-handoffs=true ! fakesink sync=false async=false",
    "audio": "rtpopusdepay ! opusdec ! level interval=500000000 ! identity name=seen signal-handoffs=true ! fakesink sync=false async=false",
}


SAYING = threading.Lock()


def say(**what):
    # GStreamer calls from threads of its own: `print` would end one's line after another's.
    with SAYING:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


class Peer:
    def __init__(self, way, url, token, pem, codec="H264", file=None):
        self.way, self.url, self.token, self.pem = way, url, token, pem
        self.codec, self.caps = codec.lower(), H264.replace("H264", codec)
        self.sources = SOURCES if file is None else [(FILE.format(file=file, codec=self.codec), self.caps)]
        self.where, self.failed, self.count, self.loudest = None, False, {"video": 0, "audio": 0}, -700.0
        self.loop = GLib.MainLoop()
        self.pipe = Gst.Pipeline()
        self.bin = Gst.ElementFactory.make("webrtcbin", "peer")
        self.bin.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipe.add(self.bin)
        # Before its DTLS elements are in use, and before the offer says their certificate's fingerprint.
        self.bin.connect("deep-element-added", self.added)
        self.bin.connect("notify::connection-state", lambda b, _: say(state=b.get_property("connection-state").value_nick))
        # Once: webrtcbin would go on about a sound that the answer declines.
        negotiation = self.bin.connect("on-negotiation-needed", lambda _: self.bin.disconnect(negotiation) or self.negotiate())
        self.bin.connect("pad-added", self.decode)
        bus = self.pipe.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.message)

    def run(self):
        if self.way == "watch":
            for caps in (self.caps, OPUS):
                self.bin.emit("add-transceiver", RECVONLY, Gst.Caps.from_string(caps))
        else:
            for source, caps in self.sources:
                # No ghosts but this one: of what follows a demultiplexer, which is linked later, the sink would be one.
                part = Gst.parse_bin_from_description(f"{source} ! {caps} ! queue name=last", False)
                part.add_pad(Gst.GhostPad.new("src", part.get_by_name("last").get_static_pad("src")))
                self.pipe.add(part)
                part.link(self.bin)
        for t in self.transceivers():
            t.set_property("direction", SENDONLY if self.way == "publish" else RECVONLY)
            # Packets are asked for again, and key frames: webrtcbin offers neither otherwise.
            t.set_property("do-nack", True)
        for s in (signal.SIGTERM, signal.SIGINT):
            GLib.unix_signal_add(GLib.PRIORITY_HIGH, s, self.loop.quit)
        self.pipe.set_state(Gst.State.PLAYING)
        self.loop.run()
        if self.where and not self.failed:
            self.request("DELETE", self.where)
        self.pipe.set_state(Gst.State.NULL)
        return 1 if self.failed else 0

    def transceivers(self):
        for n in range(2):
            if (t := self.bin.emit("get-transceiver", n)) is not None:
                yield t

    def added(self, _bin, _sub, element):
        if self.pem and element.get_name().startswith("dtlsdec"):
            element.set_property("pem", self.pem)

    def fail(self, words):
        self.failed = True
        say(error=words)
        GLib.idle_add(self.loop.quit)

    def request(self, method, url, body=None):
        head = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/sdp"}
        with urllib.request.urlopen(urllib.request.Request(url, body, head, method=method), timeout=20) as r:
            return r.headers, r.read().decode()

    def negotiate(self):
        self.bin.emit("create-offer", None, Gst.Promise.new_with_change_func(self.offered))

    def offered(self, promise):
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.bin.emit("set-local-description", offer, Gst.Promise.new())
        # Not in webrtcbin's thread, which has candidates to gather.
        GLib.idle_add(self.agree, self.fingerprinted(offer.sdp.as_text()))

    def fingerprinted(self, offer):
        """With the certificate's fingerprint: webrtcbin takes it of the whole PEM, the key included."""
        if not self.pem:
            return offer
        end = "-----END CERTIFICATE-----"
        der = ssl.PEM_cert_to_DER_cert(self.pem[self.pem.index("-----BEGIN CERTIFICATE-----") : self.pem.index(end) + len(end)])
        return re.sub("a=fingerprint:[^\r\n]*", "a=fingerprint:sha-256 " + hashlib.sha256(der).digest().hex(":").upper(), offer)

    def agree(self, offer):
        try:
            head, answer = self.request("POST", self.url, offer.encode())
        except urllib.error.HTTPError as e:
            return self.fail(f"{e.code} {e.read().decode()}")
        self.where = urllib.parse.urljoin(self.url, head["Location"])
        _, sdp = GstSdp.SDPMessage.new_from_text(answer)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.bin.emit("set-remote-description", answer, Gst.Promise.new())
        say(session=head["Location"])

    def decode(self, _bin, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        part = Gst.parse_bin_from_description(DECODE[kind].format(codec=self.codec), True)
        part.get_by_name("seen").connect("handoff", self.seen, kind)
        self.pipe.add(part)
        part.sync_state_with_parent()
        pad.link(part.get_static_pad("sink"))

    def seen(self, element, _buffer, kind):
        self.count[kind] += 1
        if self.count[kind] % 25:
            return
        if kind == "audio":
            say(audio=self.count[kind], loudest=self.loudest)
        else:
            caps = element.get_static_pad("sink").get_current_caps().get_structure(0)
            say(video=self.count[kind], width=caps.get_value("width"), height=caps.get_value("height"))

    def message(self, _bus, message):
        if message.type == Gst.MessageType.ERROR:
            error, detail = message.parse_error()
            self.fail(f"{message.src.get_name()}: {error.message} ({detail})")
        elif message.type == Gst.MessageType.ELEMENT and message.get_structure().get_name() == "level":
            self.loudest = max(self.loudest, *message.get_structure().get_value("rms"))


if __name__ == "__main__":
    Gst.init(None)
    way, url, token, *more = sys.argv[1:]
    pem, more = (open(more[0]).read(), more[1:]) if more else (None, [])
    sys.exit(Peer(way, url, token, pem, *more).run())
