"""A stream's life by AWS's own SDKs other than Python's: what they speak differs (HTTP/2, CBOR)."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

CLIENTS = pathlib.Path(__file__).parent / "clients"
RECORDS = [f"record {i}" for i in range(50)]


def environment(server):
    return {**os.environ, "AWS_ENDPOINT_URL": server.url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": server.key,
            "AWS_SECRET_ACCESS_KEY": server.secret, "AWS_EC2_METADATA_DISABLED": "true"}


def told(server, *command, **how):
    out = subprocess.run(command, env=environment(server), capture_output=True, text=True, timeout=120, **how)
    assert out.returncode == 0 and out.stdout, out.stderr[-2000:]
    answer = json.loads(out.stdout.splitlines()[-1])
    if answer.get("error") == "UnknownOperationException":
        pytest.skip("no operation yet")
    return answer


def test_javascript_over_http2(server):
    here = CLIENTS / "js"
    if not (here / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent"], cwd=here, check=True, timeout=300)
    answer = told(server, "node", "streams.mjs", cwd=here)
    assert answer == {"created": True, "failed": 0, "got": RECORDS, "pushed": RECORDS}


@pytest.mark.skipif(not (shutil.which("mvn") and shutil.which("java")), reason="Maven and Java are not here")
def test_java_in_cbor(server):
    here = CLIENTS / "java"
    path = here / "target" / "classpath"
    if not path.exists():
        subprocess.run(["mvn", "-q", "-B", "dependency:build-classpath", f"-Dmdep.outputFile={path}"],
                       cwd=here, check=True, timeout=600, stdout=subprocess.DEVNULL)
    answer = told(server, "java", "-cp", path.read_text(), "Streams.java", cwd=here)
    assert answer == {"created": True, "failed": 0, "got": RECORDS, "refused": "ResourceNotFoundException", "pushed": RECORDS}


@pytest.mark.skipif(os.environ.get("RUSHES_CLIENTS") != "1", reason="takes 100 s of a core to compile: make test-clients")
def test_rust(server):
    here = CLIENTS / "rust"
    subprocess.run(["cargo", "build", "--locked", "--quiet", "--target-dir", "target"], cwd=here, check=True, timeout=1800)
    answer = told(server, here / "target" / "debug" / "rushes-test-client")
    assert answer == {"created": True, "failed": 0, "got": RECORDS, "refused": "ResourceNotFoundException", "pushed": RECORDS}
