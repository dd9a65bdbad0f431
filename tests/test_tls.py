"""HTTPS: a certificate made by the server, HTTP/2 for grids of players, and the command line that trusts it."""

import http.client
import json
import socket
import ssl

import requests

from support.server import run


def connect(server, alpn):
    host, port = server.ready["listen"].rsplit(":", 1)
    context = ssl.create_default_context(cafile=server.data / "self-signed.pem")
    context.set_alpn_protocols(alpn)
    return context.wrap_socket(socket.create_connection((host, int(port)), timeout=20), server_hostname="127.0.0.1")


def test_https(serve):
    server = serve("tls", "--tls-self-signed")
    assert server.ready["tls"] and server.url.startswith("https://")

    # HTTP/2 is offered first, HTTP/1.1 understood.
    with connect(server, ["h2", "http/1.1"]) as s:
        assert s.selected_alpn_protocol() == "h2"
        # The preface and an empty SETTINGS frame (RFC 9113 §3.4) are answered with SETTINGS.
        s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        head = s.recv(9)
        assert head[3] == 4, head
    with connect(server, ["http/1.1"]) as s:
        assert s.selected_alpn_protocol() == "http/1.1"
    verified = requests.get(f"{server.url}/healthz", verify=str(server.data / "self-signed.pem"), timeout=20)
    assert verified.text == "ok\n"

    # Plain HTTP on the same port is shown the way.
    host, port = server.ready["listen"].rsplit(":", 1)
    plain = http.client.HTTPConnection(host, int(port), timeout=20)
    plain.request("GET", "/v1/cameras?x=1")
    answer = plain.getresponse()
    assert answer.status == 308
    assert answer.getheader("location") == f"https://{server.ready['listen']}/v1/cameras?x=1"

    # The command line trusts the certificate in the data folder.
    listed = run("camera", "list", "--json", "--data", server.data)
    assert listed.returncode == 0, listed.stderr
    assert json.loads(listed.stdout) == {"cameras": []}

    # The console's cookie never goes out in the clear.
    signed_in = requests.get(server.console, verify=str(server.data / "self-signed.pem"), allow_redirects=False, timeout=20)
    assert signed_in.status_code == 303
    assert "Secure" in signed_in.headers["set-cookie"] and "HttpOnly" in signed_in.headers["set-cookie"]


def test_certificate_and_key_must_fit(serve, tmp_path):
    (tmp_path / "c.pem").write_text("nonsense")
    (tmp_path / "k.pem").write_text("nonsense")
    r = run("serve", "--data", tmp_path / "d", "--listen", "127.0.0.1:0", "--tls-certificate", tmp_path / "c.pem", "--tls-key", tmp_path / "k.pem")
    assert r.returncode == 1
    assert r.stderr.count("\n") == 1 and "c.pem" in r.stderr, r.stderr
