#!/usr/bin/env python3
"""Checks the licence of every crate that is built against the list in deny.toml, without compiling anything.

`cargo deny` checks more (advisories, sources) but is itself hundreds of crates: `make audit` runs it. This reads the
same list, knows SPDX expressions with AND, OR, WITH and brackets, and takes `/` for OR, as old manifests have it.
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def satisfied(expression, allowed):
    """Whether an SPDX expression can be met with allowed licences alone."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def alternatives():
        ok = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            ok = conjunction() or ok
        return ok

    def conjunction():
        ok = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            ok = one() and ok
        return ok

    def one():
        if not tokens:
            return False
        name = tokens.pop(0)
        if name == "(":
            ok = alternatives()
            if tokens:
                tokens.pop(0)
            return ok
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            name += " WITH " + (tokens.pop(0) if tokens else "")
        return name in allowed

    ok = alternatives()
    return ok and not tokens


def self_test():
    allowed = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"}
    for expression, want in {
        "MIT": True,
        "GPL-3.0": False,
        "MIT/GPL-3.0": True,
        "MIT AND GPL-3.0": False,
        "(MIT OR GPL-3.0) AND Unicode-3.0": True,
        "GPL-3.0 OR (MIT AND LGPL-2.1)": False,
        "Apache-2.0 WITH LLVM-exception": True,
        "GPL-2.0 WITH Classpath-exception-2.0": False,
        "": False,
    }.items():
        assert satisfied(expression, allowed) == want, expression


def main():
    self_test()
    config = tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]
    allowed = set(config["allow"])
    exceptions = {(e["crate"], name) for e in config.get("exceptions", []) for name in e["allow"]}
    host = next(line.split()[1] for line in subprocess.check_output(["rustc", "-vV"], text=True).splitlines() if line.startswith("host:"))
    metadata = json.loads(subprocess.check_output(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host], cwd=ROOT))
    bad = []
    for p in metadata["packages"]:
        here = allowed | {name for crate, name in exceptions if crate == p["name"]}
        if not satisfied(p["license"] or "", here):
            bad.append(f"{p['name']} {p['version']}: {p['license'] or 'no licence stated'}")
    for line in bad:
        print(f"licence not in deny.toml: {line}")
    print(f"{len(metadata['packages'])} crates, {len(bad)} with a licence that is not allowed")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
