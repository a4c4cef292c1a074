"""Where the CPU of a server goes: samples of `perf record`, by thread and by the name of the function.

A function that was inlined counts for its caller, and what the kernel does for a thread for what that thread asks of it.
"""
import re
import subprocess

from servers import Unavailable

# The thread, where the code is ("kernel" or "program"), the function, the stage; the first line that fits counts.
STAGES = [
    ("worker", "kernel", "", "sockets"),
    ("worker", "program", r"smtp::|mailstore::(mime|address)|memchr", "parse: SMTP and MIME"),
    ("worker", "program", r"mem(move|cpy|set|cmp)|alloc|free|_rjem|\bbytes::|drop_in_place", "memory: copies and allocation"),
    ("worker", "program", r"vspace::|stages::|fsm::|crossbeam|tokio|mio::|hikyaku::edge|clock_gettime", "hops: queues, routes, the executor"),
    ("worker", "program", r"mailstore::", "machines: directory, delivery, mailbox"),
    ("worker", "program", r"dds::", "machines: partitions and replicas"),
    ("worker", "program", "", "the rest of the worker"),
    ("writer", "kernel", "", "WAL: write and sync"),
    ("writer", "program", "", "WAL: its records, the memtable"),
    ("rocksdb:high", "", "", "flush"),
    ("rocksdb:low", "", "", "compaction"),
    ("log", "", "", "the log's lines"),
    ("", "", "", "other threads"),
]


def sample(pid, seconds, data):
    """Samples a process for so long, into a file."""
    said_by("perf", "record", "-q", "-F", "499", "-o", str(data), "-p", str(pid), "--", "sleep", str(seconds))


def shares(data):
    """The share of each of the `STAGES` in the samples."""
    found = dict.fromkeys((stage for *_, stage in STAGES), 0.0)
    for line in said_by("perf", "report", "-i", str(data), "--stdio", "-t", "|", "--sort", "comm,dso,sym"):
        cells = [cell.strip() for cell in line.split("|", 3)]
        if len(cells) == 4 and cells[0].endswith("%"):
            found[stage_of(*cells[1:])] += float(cells[0][:-1]) / 100
    if sum(found.values()) < 0.5:
        raise Unavailable("perf has taken no samples")
    return found


def said_by(*command):
    """The lines that it prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unavailable("perf is not installed: apt-get install linux-perf") from error
    if done.returncode:
        raise Unavailable(f"perf can't sample here: {done.stderr.strip()[-200:]}")
    return done.stdout.splitlines()


def stage_of(thread, where, function):
    kind = "kernel" if where.startswith("[kernel") else "program"
    for threads, place, pattern, stage in STAGES:
        if thread.startswith(threads) and place in ("", kind) and re.search(pattern, function):
            return stage
    raise AssertionError("the last line fits everything")
