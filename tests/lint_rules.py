#!/usr/bin/env python3
"""Rules that the compiler does not know: who may import whom, licences of the dependency tree, sizes of files and functions.

The offenders of the day the rule came stand in tests/lint_known.txt; a new one fails, and one that was mended must leave the
list."""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
KNOWN = ROOT / "tests/lint_known.txt"

# Crate: the crates of the workspace it may depend on. None: all of them.
PURE = {"fsm", "proto"}
MACHINES = {"fsm", "proto", "dds", "mailstore", "smtp", "pop3", "imap", "html", "operator-console"}
EXTENSIONS = {"events"}
MAY_IMPORT = {
    "fsm": set(),
    "proto": set(),
    "dds": PURE,
    "dds-rocksdb": PURE | {"dds"},
    "mailstore": PURE | {"dds"},
    "smtp": {"fsm", "mailstore", "dds"},
    "pop3": {"fsm", "mailstore", "dds"},
    "imap": {"fsm", "mailstore", "dds"},
    "html": {"fsm", "mailstore", "dds"},
    "events": {"fsm", "mailstore", "dds"},
    "operator-console": set(),
    "index": {"fsm", "dds", "mailstore", "events"},
    "vspace": MACHINES,
    "stages": {"fsm", "vspace", "dds", "mailstore"},
    "sim": MACHINES | EXTENSIONS | {"vspace"},
    "node": MACHINES | EXTENSIONS | {"vspace", "stages", "dds-rocksdb", "index"},
}
# Crates that decide: no runtime, no socket, no store in them, whatever the path.
NO_EDGE = {"fsm", "dds", "mailstore", "smtp", "pop3", "imap", "html", "operator-console", "vspace", "sim"} | EXTENSIONS
EDGE = {"tokio", "rustls", "rocksdb", "librocksdb-sys", "hyper", "tonic", "socket2"}

LICENCES = {
    "MIT", "MIT-0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-1-Clause", "BSD-2-Clause", "BSD-3-Clause", "ISC",
    "Zlib", "Unicode-3.0", "Unicode-DFS-2016", "CC0-1.0", "0BSD", "BSL-1.0", "OpenSSL", "MPL-2.0", "Unlicense", "CDLA-Permissive-2.0",
}

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 140
GENERATED = {"node/src/admin/api.rs", "node/src/extensions/api.rs", "proto/src/cluster.rs", "proto/src/peer.rs"}


def metadata():
    run = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--locked"], cwd=ROOT, check=True, capture_output=True
    )
    return json.loads(run.stdout)


def directions(meta):
    packages = {p["id"]: p for p in meta["packages"]}
    members = {packages[i]["name"]: packages[i] for i in meta["workspace_members"]}
    for name, package in sorted(members.items()):
        allowed = MAY_IMPORT.get(name)
        if allowed is None:
            yield f"direction {name}: a new crate must be entered in tests/lint_rules.py"
            continue
        for dep in package["dependencies"]:
            if dep["name"] in members and dep["kind"] != "dev" and dep["name"] not in allowed:
                yield f"direction {name} -> {dep['name']}"
    nodes = {n["id"]: n for n in meta["resolve"]["nodes"]}
    for name in sorted(NO_EDGE & members.keys()):
        seen, todo = set(), [members[name]["id"]]
        while todo:
            node = nodes[todo.pop()]
            for dep in node["deps"]:
                if any(k["kind"] is None for k in dep["dep_kinds"]) and dep["pkg"] not in seen:
                    seen.add(dep["pkg"])
                    todo.append(dep["pkg"])
        for found in sorted({packages[i]["name"] for i in seen} & EDGE):
            yield f"direction {name} -> {found} (a crate that decides reaches the edge)"


def licence_ok(expression):
    """A choice is fine when one side is; a conjunction when both are."""
    expression = expression.replace("/", " OR ")
    tokens = re.findall(r"\(|\)|\bOR\b|\bAND\b|(?:(?!\bOR\b|\bAND\b)[^()])+", expression)
    tokens = [t.strip() for t in tokens if t.strip()]

    def alternative(at):
        ok, at = conjunction(at)
        while at < len(tokens) and tokens[at] == "OR":
            right, at = conjunction(at + 1)
            ok = ok or right
        return ok, at

    def conjunction(at):
        ok, at = atom(at)
        while at < len(tokens) and tokens[at] == "AND":
            right, at = atom(at + 1)
            ok = ok and right
        return ok, at

    def atom(at):
        if tokens[at] == "(":
            ok, at = alternative(at + 1)
            return ok, at + 1
        return tokens[at] in LICENCES, at + 1

    return alternative(0)[0]


def licences(meta):
    for package in meta["packages"]:
        expression = package["license"] or ""
        if not expression and package.get("license_file"):
            continue
        if not expression or not licence_ok(expression):
            yield f"licence {package['name']}: {expression or 'none'}"


def sizes():
    tracked = subprocess.run(["git", "ls-files", "*.rs"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in tracked.stdout.split():
        path = ROOT / name
        if name in GENERATED or not path.exists():
            continue
        lines = path.read_text().split("\n")
        is_test = "/tests" in name or name.endswith("tests.rs")
        code = len(lines)
        for number, line in enumerate(lines):
            if line.startswith("#[cfg(test)]"):
                code = number
                break
        if code > FILE_LINES_MAX and not is_test:
            yield f"size {name}: more than {FILE_LINES_MAX} lines"
        if not is_test and lines and not lines[0].startswith("//!"):
            yield f"header {name}: no //! at the top"
        if not is_test:
            yield from functions(name, lines[:code])


def functions(name, lines):
    start = re.compile(r"^(\s*)(?:pub(?:\([^)]*\))? )?(?:const |async |unsafe )*fn (\w+)")
    for number, line in enumerate(lines):
        match = start.match(line)
        if not match:
            continue
        indent = match.group(1)
        for end in range(number, len(lines)):
            if lines[end].rstrip() == f"{indent}}}" or (end == number and line.rstrip().endswith(("}", ";"))):
                break
            if lines[end].startswith(f"{indent}fn ") and end > number:
                break
        if end - number + 1 > FUNCTION_LINES_MAX:
            yield f"size {name} fn {match.group(2)}: more than {FUNCTION_LINES_MAX} lines"


def main():
    meta = metadata()
    found = [*directions(meta), *licences(meta), *sizes()]
    known = set()
    if KNOWN.exists():
        known = {line for line in KNOWN.read_text().split("\n") if line and not line.startswith("#")}
    new = [offence for offence in found if offence not in known]
    mended = sorted(known - set(found))
    for offence in new:
        print(f"lint: {offence}")
    for offence in mended:
        print(f"lint: mended, take it out of tests/lint_known.txt: {offence}")
    if new or mended:
        sys.exit(1)
    print(f"lint: no new offence ({len(known)} known)")


main()
