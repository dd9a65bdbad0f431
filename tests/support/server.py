"""A server of its own for a test: free ports, a folder, its log watched."""

import json
import os
import pathlib
import select
import signal
import subprocess
import time

import requests

from .wait import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("RUSHES_BIN", ROOT / "target/debug/rushes")).resolve()
#: The camera that plays a file, built beside it.
CAMERA = BIN.with_name("rushes-camera")


def environment(**more):
    """Ours without any RUSHES_* of the caller's, so that a test means what it says."""
    return {**{k: v for k, v in os.environ.items() if not k.startswith("RUSHES_")}, "NO_COLOR": "1", **more}


def run(*arguments, timeout=60, **env):
    """One command of the binary, to its end."""
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, env=environment(**env))


def ready_line(process, what, seconds=60):
    """The one line of JSON that a process says on standard output when it is ready."""
    readable, _, _ = select.select([process.stdout], [], [], seconds)
    line = process.stdout.readline() if readable else ""
    assert line, f"{what} was not ready within {seconds} s" if process.poll() is None else f"{what} ended with {process.returncode}"
    return json.loads(line)


class ApiError(AssertionError):
    """The API refused: `status`, `code`, `words`."""

    def __init__(self, method, path, response):
        self.status = response.status_code
        try:
            error = response.json()["error"]
            self.code, self.words = error["code"], error["message"]
        except (ValueError, KeyError, TypeError):
            self.code, self.words = None, response.text[:300]
        super().__init__(f"{method} {path}: {self.status} {self.code}: {self.words}")


class Server:
    """`rushes serve` on free ports. `stop` drains and checks; `kill` is the power cut's little brother."""

    def __init__(self, data, *flags, rtsp="127.0.0.1:0", **env):
        self.data = pathlib.Path(data)
        self.flags, self.rtsp_address, self.env = flags, rtsp, env
        self.log = self.data.parent / f"{self.data.name}.log"
        self.process = None

    def start(self):
        self.log_file = self.log.open("ab")
        self.process = subprocess.Popen(
            [BIN, "serve", "--data", self.data, "--listen", "127.0.0.1:0", "--rtsp", self.rtsp_address, "--ready-json",
             *self.room(), *self.flags],
            stdout=subprocess.PIPE, stderr=self.log_file, text=True, env=environment(**{"RUSHES_LOG": "info", **self.env}))
        try:
            ready = ready_line(self.process, "the server")
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.tail()}") from None
        self.ready = ready
        self.url = ready.get("url") or f"http://{ready['listen']}"
        self.console = ready["console"]
        self.rtsp = ready["rtsp"]
        key = json.loads((self.data / "root-key.json").read_text())
        self.key, self.secret = key["accessKeyId"], key["secretAccessKey"]
        self.http = requests.Session()
        self.http.auth = (self.key, self.secret)
        if self.ready["tls"] and self.certificate.exists():
            # Whatever the environment's bundle is, which `requests` prefers.
            self.http.verify, self.http.trust_env = str(self.certificate), False
        return self

    @property
    def certificate(self):
        """What signs for a server that made its own."""
        return self.data / "self-signed.pem"

    def room(self):
        """No room set aside, so that what tests leave behind stays small; and no floor, so that they mean the same on a
        machine whose disk is nearly full. A test with a configuration of its own says its own floor."""
        return ["--set", "retention.reserve=0", *([] if "--config" in self.flags else ["--set", "retention.free_floor=0"])]

    def tail(self, lines=40):
        """The end of the log, for a failure's message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
        self._closed()

    def stop(self, seconds=40):
        if self.process is None or self.process.stdout.closed:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the server did not drain within {seconds} s\n{self.tail()}") from None
        code = self.process.returncode
        self._closed()
        assert code == 0, f"the server ended with {code}\n{self.tail()}"
        self.check_log()

    def _closed(self):
        self.process.stdout.close()
        self.log_file.close()
        self.http.close()

    def restart(self):
        self.stop()
        return self.start()

    def check_log(self):
        text = self.log.read_text(errors="replace")
        assert "panicked at" not in text, f"the server panicked\n{text[text.index('panicked at') - 200:][:2000]}"

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        try:
            self.stop()
        except AssertionError:
            if kind is None:
                raise

    # ---- the API

    def request(self, method, path, **kw):
        return self.http.request(method, self.url + path, timeout=30, **kw)

    def call(self, method, path, body=None):
        """JSON in, JSON out; an `ApiError` where it is refused."""
        r = self.request(method, path, **({} if body is None else {"json": body}))
        if not r.ok:
            raise ApiError(method, path, r)
        return r.json() if r.content else None

    def camera(self, name):
        return self.call("GET", f"/v1/cameras/{name}")

    def add_pull(self, name, url, **source):
        return self.call("POST", "/v1/cameras", {"name": name, "source": {"kind": "pull", "url": url, **source}})

    def add_push(self, name):
        return self.call("POST", "/v1/cameras", {"name": name, "source": {"kind": "push"}})["publishUrl"]

    def quiet(self, name, seconds=30):
        """Waits until nobody publishes to a stream: all that came is durable then."""

        def check():
            try:
                return self.camera(name)["state"] == "waiting"
            except ApiError as e:
                # A stream that was pushed to without a camera of its own has none afterwards.
                return e.status == 404

        wait_until(f"nobody publishes to {name}", check, seconds)

    def publish_url(self, name, user=None, password=None):
        from urllib.parse import quote

        user, password = (quote(x, safe="") for x in (user or self.key, password or self.secret))
        return f"rtsp://{user}:{password}@{self.rtsp}/{name}"

    def fragments(self, name):
        """All of them, oldest first."""
        found = self.call("GET", f"/v1/streams/{name}/fragments?limit=10000")["fragments"]
        assert len(found) < 10000, "more than one page"
        return found

    def metric(self, name, **labels):
        """A number of /metrics."""
        for line in self.request("GET", "/metrics").text.splitlines():
            found, _, value = line.rpartition(" ")
            if found.split("{")[0] == name and all(f'{k}="{v}"' in found for k, v in labels.items()):
                return float(value)
        raise AssertionError(f"there is no {name} {labels}")

    def stored(self, seconds=30):
        """Waits until all that is recorded is in the store."""
        open_or_waiting = ("rushes_log_open_segments", "rushes_log_upload_backlog_bytes")
        # A server that was killed just after an upload, and started again, may have nothing to bring there.
        any_was = lambda: self.metric("rushes_log_uploads_total") or not self.metric("rushes_log_appended_total")
        wait_until("everything is in the store", lambda: any_was() and not any(map(self.metric, open_or_waiting)), seconds)

    def only_in_store(self):
        """Waits until all that is recorded is in the store; begins anew without the files of it that are left here."""
        self.stored()
        for newest in (self.data / "segments").glob("*.seg"):
            newest.unlink()
        self.restart()

    def session(self, name, **how):
        """A playable URL."""
        return self.url + self.call("POST", f"/v1/streams/{name}/sessions", {"protocol": "hls", **how})["url"]

    def whole(self, name, **how):
        """A playable URL of all that is recorded."""
        recorded = self.call("GET", f"/v1/streams/{name}")["recorded"]
        assert recorded, f"nothing is recorded of {name}"
        return self.session(name, **{"from": recorded["from"], "to": recorded["to"], **how})


def timed(work):
    """How long it took, in seconds, and what it gave."""
    start = time.monotonic()
    value = work()
    return time.monotonic() - start, value
