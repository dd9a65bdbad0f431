"""Peers for the server to pull from: an RTSP camera, and worse ones."""

import os
import signal
import socket
import subprocess
import threading

from .server import CAMERA, environment, ready_line


class Simulator:
    """An RTSP server in a process of its own that plays a file, as a camera would."""

    def __init__(self, video, *flags, listen="127.0.0.1:0"):
        self.command = [CAMERA, "--video", str(video), "--listen", listen, *flags]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment())
        ready = ready_line(self.process, "the camera")
        self.url, self.sub = ready["url"], ready["sub"]
        return self

    @property
    def address(self):
        return self.url.split("://")[1].split("/")[0].rsplit("@")[-1]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        self.process.stdout.close()


class Peer:
    """A TCP listener; `serve(connection)` is what it does with each that comes."""

    def __init__(self, serve):
        self.serve = serve
        self.connections = 0

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self.listener.getsockname()[1]}/stream"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with connection:
            try:
                self.serve(connection)
            except OSError:
                pass

    def __exit__(self, *_):
        self.listener.close()


def garbage(connection):
    """Answers whatever is asked with noise."""
    while connection.recv(4096):
        connection.sendall(os.urandom(4096))


def silence(connection):
    """Takes everything and never answers."""
    while connection.recv(4096):
        pass


def free_port():
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]
