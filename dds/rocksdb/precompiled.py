"""Compiles C++ as Clang does, RocksDB's files with what they all include compiled before. RocksDB is the longest part of a first build,
and most of that time would go into reading the same headers three hundred times (ADR 16).

`.cargo/config.toml` names it as the compiler, `python3 -m precompiled`. Where there is no Clang, or it refuses the headers, files
are compiled as they are.
"""

import fcntl
import glob
import os
import shutil
import subprocess
import sys

COMPILER = shutil.which("clang++") or "c++"
HEADER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "precompiled.h")


def parts(arguments):
    """What the headers are compiled with, and the file of RocksDB that is compiled; without one it is nothing of RocksDB."""
    if "-c" not in arguments or "-o" not in arguments:
        return arguments, None
    file = arguments[-1]
    at = arguments.index("-o")
    flags = [word for word in arguments[:at] + arguments[at + 2 : -1] if word != "-c"]
    return flags, file if file.startswith("rocksdb/") else None


def headers(flags):
    """Where the compiled headers of this run of the build script are; the first compiler that it calls makes them."""
    directory = os.environ["OUT_DIR"]
    place = os.path.join(directory, f"precompiled-{os.getppid()}.pch")
    with open(os.path.join(directory, "precompiled.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(place):
            for old in glob.glob(os.path.join(directory, "precompiled-*")):
                os.remove(old)
            command = [COMPILER, *flags, "-w", "-fpch-instantiate-templates", "-x", "c++-header", HEADER, "-o", place]
            if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
                open(place, "w").close()
    return place if os.path.getsize(place) else None


def main(arguments):
    flags, file = parts(arguments)
    if file and COMPILER.endswith("clang++") and "OUT_DIR" in os.environ:
        place = headers(flags)
        if place:
            arguments = ["-include-pch", place, *arguments]
    os.execvp(COMPILER, [COMPILER, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
