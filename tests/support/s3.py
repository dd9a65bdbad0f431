"""An S3 server of a test's own, and a proxy that stands between it and Rushes and misbehaves."""

import asyncio
import os
import pathlib
import shutil
import socket
import subprocess
import threading

import pytest

from .simulator import free_port
from .wait import wait_until

KEY, SECRET = "test-access-key", "test-secret-access-key"
BUCKET = "rushes"


class S3:
    """A real S3 server (RUSHES_S3, by deploy/s3.sh) on a folder: each object is the file `objects / its key`."""

    def __init__(self, folder, tls=None):
        """`tls`: the file of a certificate and its key."""
        self.folder, self.tls = pathlib.Path(folder), tls
        self.objects = self.folder / BUCKET
        self.process = None

    def start(self, port=None):
        server = os.environ.get("RUSHES_S3") or pytest.fail("say RUSHES_S3=$(deploy/s3.sh): the S3 server that the tests use")
        self.objects.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.endpoint = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        tls = ["--cert", self.tls, "--key", self.tls] if self.tls else []
        self.log = self.folder.with_suffix(".log").open("ab")
        self.process = subprocess.Popen(
            [server, "--port", f"127.0.0.1:{self.port}", "--access", KEY, "--secret", SECRET, "--quiet", *tls, "posix", self.folder],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_until("the S3 server listens", self._listens)
        return self

    def _listens(self):
        assert self.process.poll() is None, f"the S3 server ended with {self.process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
            self.log.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self):
        """Empties the bucket."""
        shutil.rmtree(self.objects)
        self.objects.mkdir()

    def flags(self, prefix="archive", endpoint=None):
        """For `rushes serve`."""
        return ("--store", f"s3://{BUCKET}/{prefix}", "--set", f"store.endpoint={endpoint or self.endpoint}",
                "--set", f"store.access_key_id={KEY}", "--set", f"store.secret_access_key={SECRET}")

    def keys(self, prefix="archive", below=""):
        """Of the objects there are."""
        top = self.objects / prefix
        return sorted(k for p in top.rglob("*") if p.is_file() and (k := p.relative_to(top).as_posix()).startswith(below))

    def path(self, key, prefix="archive"):
        return self.objects / prefix / key


class Proxy:
    """Passes requests on to a server, as `mode` says:

    - `through`: as they are.
    - `away`: connections are reset at once.
    - `503`: every request is answered 503.
    - `late`: writes are passed on, and their answers not given back: the connection is reset.
    - `unconditional`: a write that the server refuses because the object exists is said to have succeeded.
    - `unsupported`: writes with a condition are answered 501.
    - `slow`: answers come `delay` seconds late.

    `requests` lists what came: (method, path).
    """

    def __init__(self, port, mode="through", delay=1.0):
        self.upstream, self.mode, self.delay = port, mode, delay
        self.requests = []

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def count(self, *methods):
        return sum(m in methods for m, _ in list(self.requests))

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20))
        self.port = server.sockets[0].getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        ready.set()
        self.loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))

    async def _serve(self, reader, writer):
        try:
            while self.mode != "away" and await self._one(reader, writer):
                pass
        except (OSError, EOFError, ValueError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _one(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        length = header(head, b"content-length")
        body = await reader.readexactly(int(length or 0))
        method, path = head.split(b" ", 2)[:2]
        self.requests.append((method.decode(), path.decode()))
        conditional = header(head, b"if-none-match") is not None
        if self.mode == "away":
            return False
        if self.mode == "503":
            return await answer(writer, 503, "Service Unavailable", "SlowDown", "Please reduce your request rate.")
        if self.mode == "unsupported" and conditional:
            return await answer(writer, 501, "Not Implemented", "NotImplemented", "A header you provided implies functionality that is not implemented.")
        up_reader, up = await asyncio.open_connection("127.0.0.1", self.upstream, limit=1 << 20)
        try:
            up.write(head + body)
            await up.drain()
            response = await up_reader.readuntil(b"\r\n\r\n")
            length = header(response, b"content-length")
            content = b"" if method == b"HEAD" else await up_reader.readexactly(int(length or 0))
        finally:
            up.transport.abort()
        status = int(response.split(b" ", 2)[1])
        if self.mode == "late" and method in (b"PUT", b"POST", b"DELETE"):
            return False
        if self.mode == "unconditional" and conditional and status == 412:
            return await answer(writer, 200, "OK")
        if self.mode == "slow":
            await asyncio.sleep(self.delay)
        writer.write(response + content)
        await writer.drain()
        return True


def header(head, name):
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


async def answer(writer, status, reason, code=None, message=""):
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode() if code else b""
    etag = "" if code else 'ETag: "0"\r\n'
    writer.write(f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\n{etag}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    return True
