#!/usr/bin/env python3
"""Measures Hikyaku against peers in the same run: candidates alternate, figures are medians, every line has a ratio.

  run.py [--quick] [--only NAME ...] [--save FILE.jsonl] [--markdown FILE.md]

The generator, the servers and their disk share one machine: ratios mean something, absolute figures only with the machine
named. `probe_us`, in the JSON lines, is one small append with fdatasync just before a run: the state of the disk.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import budget
import nodes
import procfs
import searching
import servers
import three
import web
from servers import Dovecot, Hikyaku, Postfix, Unavailable

HERE = pathlib.Path(__file__).resolve().parent
TESTS = {}


def test(function):
    TESTS[function.__name__] = function
    return function


class Bench:
    """What the tests share: options, scratch, results."""

    def __init__(self, options):
        self.options = options
        self.scratch = pathlib.Path(options.scratch or os.environ.get("BENCH_TMP") or tempfile.mkdtemp(prefix="hikyaku-bench-"))
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.scratch.chmod(0o755)
        os.environ["BENCH_TMP"] = str(self.scratch)
        self.binary = options.binary
        self.quick = options.quick
        self.runs = 1 if self.quick else options.runs
        self.secs = 3 if self.quick else options.secs
        self.rows, self.running = [], []

    def say(self, text):
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)

    def server(self, server):
        self.running.append(server)
        return server.make()

    def drop(self, *gone):
        for server in gone:
            server.wipe()
            self.running.remove(server)

    def drop_all(self):
        while self.running:
            self.running.pop().wipe()

    def row(self, what, ours, peer="", ratio=None, target="", note="", met=None):
        self.rows.append({"what": what, "ours": ours, "peer": peer, "ratio": ratio, "target": target, "met": met, "note": note})

    def save(self, line):
        line["load1"] = os.getloadavg()[0]
        if self.options.save:
            with open(self.options.save, "a") as out:
                out.write(json.dumps(line) + "\n")

    def load(self, command, pids, label, *words):
        """One run of load.py; its line."""
        pid = [word for pid in pids for word in ("--pid", str(pid))]
        done = subprocess.run(
            [sys.executable, str(HERE / "load.py"), command, *pid, "--label", label, *map(str, words)],
            capture_output=True, text=True, preexec_fn=servers.raise_files,
        )
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            raise RuntimeError(f"{label}: {done.stderr.strip()[-400:]}")
        line = json.loads(lines[-1])
        self.save(line)
        if line.get("err"):
            self.say(f"{label}: {line['err']} errors, the last: {line.get('lasterr')}")
        return line

    def deliver(self, server, clients, size=4700, secs=None, **more):
        proto, port = server.entry
        words = [f"proto={proto}", f"port={port}", f"size={size}", f"c={clients}", f"secs={secs or self.secs}", "warm=1"]
        words += [f"{key}={value}" for key, value in more.items()]
        return self.load("load", [server.pid()], f"{server.label}-c{clients}-{size}", "deliver", *words)

    def prime(self, *primed):
        """One message to every user, so that no run pays for making mailboxes."""
        for server in primed:
            proto, port = server.entry
            self.load("load", [server.pid()], f"{server.label}-prime", "deliver", f"proto={proto}", f"port={port}", f"msgs={servers.USERS}", "seq=1", "c=4")

    def bench(self, *words):
        """One of the program's own benchmarks; its lines."""
        done = subprocess.run([self.binary, "--json", "bench", *map(str, words)], capture_output=True, text=True)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            raise RuntimeError(f"bench {words[0]}: {done.stderr.strip()[-400:]}")
        for line in lines:
            self.save(line)
        return lines


def alternate(bench, candidates, run):
    """Runs every candidate in turn, `bench.runs` times; the lines of each."""
    lines = [[] for _ in candidates]
    for _ in range(bench.runs):
        for index, candidate in enumerate(candidates):
            servers.wait_idle(0.5)
            line = run(candidate)
            if isinstance(candidate, Hikyaku) and isinstance(line, dict) and line.get("ok"):
                line["later_cpu_us_per_op"] = candidate.rest() / line["ok"] * 1e6
            lines[index].append(line)
    return lines


def median(lines, key):
    values = [line[key] for line in lines if isinstance(line.get(key), (int, float))]
    return statistics.median(values) if values else None


def spread(lines, key):
    values = [line[key] for line in lines if isinstance(line.get(key), (int, float))]
    return f"{min(values):,.0f}..{max(values):,.0f}" if len(values) > 1 else ""


def number(value):
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


@test
def ingest(bench):
    """Durable delivery over persistent connections, 1,000 mailboxes."""
    ours, peer = bench.server(Hikyaku(bench.scratch, bench.binary)), bench.server(Dovecot(bench.scratch))
    bench.prime(ours, peer)
    # Clients, bytes, how often the peer at least, microseconds of server CPU at most.
    targets = [(1, 4700, 4, None), (16, 4700, 8, 100), (128, 4700, 10, 100), (16, 102_400, 3, None)]
    for clients, size, least, cpu_max in targets:
        own, other = alternate(bench, [ours, peer], lambda it: bench.deliver(it, clients, size))
        a, b = median(own, "per_s"), median(other, "per_s")
        what = f"ingest {size / 1000:g} KB, {clients} connections, messages/s"
        bench.row(what, a, b, a / b, f">= {least} x", spread(own, "per_s"), a / b >= least)
        cpu, peer_cpu = median(own, "srv_cpu_us_per_op"), median(other, "srv_cpu_us_per_op")
        met = None if cpu_max is None else cpu <= cpu_max
        bench.row("  server CPU us/message", cpu, peer_cpu, None, f"<= {cpu_max}" if cpu_max else "", "", met)
        bench.row("  the index afterwards, us/message", median(own, "later_cpu_us_per_op"))
        if clients == 1:
            txn, probe = median(own, "ack_p50"), median(own, "probe_us")
            bench.row("  end of DATA to 250, p50 us, against one append+fdatasync", txn, probe, txn / probe, "<= 1.6 x", "", txn / probe <= 1.6)
    bench.drop(ours, peer)


@test
def postfix(bench):
    """End to end: Postfix hands to Dovecot; Hikyaku takes the mail itself."""
    ours, dovecot = bench.server(Hikyaku(bench.scratch, bench.binary)), bench.server(Dovecot(bench.scratch))
    front = bench.server(Postfix(bench.scratch, dovecot.entry[1]))
    bench.prime(ours, dovecot)
    for clients in (16, 128):
        own, other = [], []
        for _ in range(bench.runs):
            own.append(bench.deliver(ours, clients))
            count = 1000 if bench.quick else 4000
            words = ["--drained", front.drained(), "deliver", "proto=smtp", f"port={front.entry[1]}", "size=4700", f"c={clients}", f"msgs={count}"]
            other.append(bench.load("queue", [front.pid(), dovecot.pid()], f"postfix-c{clients}", *words))
        a, b = median(own, "per_s"), median(other, "through_per_s")
        bench.row(f"against Postfix and Dovecot, {clients} connections, messages/s", a, b, a / b, ">= 25 x", "", a / b >= 25)
    bench.drop(front, ours, dovecot)


@test
def cycles(bench):
    """Store/retrieve cycles after the NinjaMail paper, 4.1."""
    ours = bench.server(Hikyaku(bench.scratch, bench.binary))
    peer = bench.server(Dovecot(bench.scratch, "dovecot-reuse", reuse=1000))
    bench.prime(ours, peer)

    def run(server):
        proto, port = server.entry
        words = ["cycle", f"proto={proto}", f"port={port}", f"pop3port={server.pop3}", "users=320", "c=16", f"secs={bench.secs}", "warm=1", "size=4700"]
        return bench.load("load", [server.pid()], f"{server.label}-cycle", *words)

    own, other = alternate(bench, [ours, peer], run)
    a, b = median(own, "per_s"), median(other, "per_s")
    bench.row("store/retrieve cycles, 16 connections, cycles/s", a, b, a / b, ">= 8 x", spread(own, "per_s"), a / b >= 8)
    bench.row("  server CPU us/cycle", median(own, "srv_cpu_us_per_op"), median(other, "srv_cpu_us_per_op"))
    bench.drop(ours, peer)


BIG = [  # key of load.py, what, seconds at most
    ("first_login_select_after_restart", "first log-in and SELECT after a restart", 0.020),
    ("select", "SELECT again", 0.001),
    ("fetch_flags_all", "FETCH 1:* FLAGS", 0.025),
    ("fetch_envelope_all_1st", "FETCH 1:* ENVELOPE, the first time", 0.200),
    ("fetch_envelope_all", "FETCH 1:* ENVELOPE", 0.200),
    ("search_from_1st", "SEARCH FROM, the first time", 0.030),
    ("search_from", "SEARCH FROM", 0.030),
    ("search_subject", "SEARCH SUBJECT", 0.030),
    ("search_since", "SEARCH SINCE BEFORE", 0.005),
    ("search_unseen", "SEARCH UNSEEN", 0.002),
    ("search_body", "SEARCH BODY", None),
    ("store_all_add", "STORE 1:* +FLAGS", 0.100),
    ("store_all_del", "STORE 1:* -FLAGS", 0.100),
    ("fetch_body_1000", "FETCH BODY[] of 1,000", None),
    ("append_one", "APPEND of one", None),
]


@test
def big(bench):
    """A mailbox of 100,000 messages (10,000 when quick)."""
    count = 10_000 if bench.quick else 100_000
    ours = bench.server(Hikyaku(bench.scratch, bench.binary, accounts=1))
    peer = bench.server(Dovecot(bench.scratch, "dovecot-mdbox", layout="mdbox"))
    lines = []
    for server in (ours, peer):
        words = ["--port", server.imap, "--user", "u1@bench.test", "--n", count]
        filled = bench.load("big", [server.pid()], f"{server.label}-fill", *words, "--fill", "--fill-only")
        server.stop()
        server.start()
        restarted = ["--restart", "true", "--getpid", f"echo {server.pid()}"]
        line = bench.load("big", [server.pid()], f"{server.label}-big", *words, *restarted)
        lines.append({**filled, **line})
    own, other = lines
    scale = count / 100_000
    ratio = own["fill_per_s"] / other["fill_per_s"]
    bench.row(f"fill with {count:,} messages, messages/s", own["fill_per_s"], other["fill_per_s"], ratio, ">= 2 x", "", ratio >= 2)
    for key, what, most in BIG:
        a, b = own.get(key), other.get(key)
        if not isinstance(a, (int, float)):
            bench.row(what, str(a)[:60])
            continue
        ratio = b / a if isinstance(b, (int, float)) and a else None
        if key == "search_body":
            bench.row(f"{what}, ms", a * 1e3, b and b * 1e3, ratio, ">= 4 x", "", bool(ratio and ratio >= 4))
            continue
        fixed = key in ("first_login_select_after_restart", "select")
        limit = most and (most if fixed else most * scale)
        met = None if most is None else a <= limit
        target = "" if most is None else f"<= {limit * 1e3:g} ms"
        bench.row(f"{what}, ms", a * 1e3, b * 1e3 if isinstance(b, (int, float)) else None, ratio, target, "", met)
    bench.drop(ours, peer)


# Seconds that connections are idle before they are weighed: longer than a mailbox keeps rows that nobody asks for.
IDLE_SECS = 75


@test
def idle(bench):
    """Idle IMAP connections to mailboxes of 1,000 messages, plaintext and TLS; one mailbox with many watchers; a start with all of them."""
    count, users = (1000, 100) if bench.quick else (10_000, servers.USERS)
    ours = bench.server(Hikyaku(bench.scratch, bench.binary))
    fill(bench, ours, users, 1000)
    took, pss = restarted(ours)
    what = f"{users * 1000:,} messages in {users:,} mailboxes"
    bench.row(f"start to ready with {what}, ms", took, "", None, "<= 1000", "", took <= 1000)
    bench.row("  memory then, MiB PSS", pss)
    words = ["--port", ours.imap, "--lport", ours.entry[1], "--lproto", "smtp", "--users", users]
    line = bench.load("idle", [ours.pid()], "idle-plain", *words, "--n", count, "--notify", 5, "--settle", IDLE_SECS)
    each, up = line["pss_kb_per_conn"], line["open"].get("up")
    met = each <= 8 and up == count
    bench.row(f"{count:,} idle connections, KB PSS each", each, "", None, "<= 8", f"{up} up, {line['open'].get('logins_per_s')} log-ins/s", met)
    cache = int(ours.status()["store"]["cache_bytes"]) / 1024 / count
    bench.row("  of it blocks of the store, shared by all, KB each", cache, note="the rest: sessions, and the indexes of mailboxes")
    bench.row("  kernel memory KB each", line["kernel_kb_per_conn"])
    bench.row("  CPU of the idle server, cores", line["idle_cpu_frac"])
    restarted(ours)
    held = tls_held(ours, count, users)
    bench.save({"test": "idle-tls", "n": count, **held})
    met = held["kb_each"] <= 20 and held["up"] == count
    bench.row(f"{count:,} idle connections with TLS, KB PSS each", held["kb_each"], "", None, "<= 20", f"{held['up']} up", met)
    watchers = min(count, 1000)
    line = bench.load("idle", [ours.pid()], "idle-watchers", *words, "--n", watchers, "--same", "--notify", 5)
    told = (line.get("notify_all_us_median") or 0) / 1e3
    bench.row(f"new mail told to {watchers:,} watchers, ms from sending", told or None, "", None, "<= 50", "", bool(told) and told <= 50)
    bench.drop(ours)


def fill(bench, server, users, each):
    """So many small messages to each of so many users."""
    proto, port = server.entry
    words = ["deliver", f"proto={proto}", f"port={port}", f"users={users}", f"msgs={users * each}", "seq=1", "c=64", "size=600"]
    line = bench.load("load", [server.pid()], f"{server.label}-fill", *words)
    bench.row(f"filled with {users * each:,} small messages, messages/s", line["per_s"])
    # What the index does in the background is not what connections cost.
    server.rest()


def restarted(server):
    """Stops and starts; milliseconds to `ready`, and MiB of memory a second later."""
    server.stop()
    begun = time.perf_counter()
    server.start()
    took = (time.perf_counter() - begun) * 1e3
    time.sleep(1)
    return took, procfs.mem([server.pid()])["pss_kb"] / 1024


def tls_held(server, count, users):
    """PSS per connection of `count` idle TLS connections that another process holds."""
    before = procfs.mem([server.pid()])["pss_kb"]
    holder = subprocess.Popen(
        [sys.executable, str(HERE / "tls_idle.py"), str(server.ports["imaps"]), str(count), str(users)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=servers.raise_files,
    )
    up = json.loads(holder.stdout.readline())["up"]
    time.sleep(IDLE_SECS)
    after = procfs.mem([server.pid()])["pss_kb"]
    holder.stdin.close()
    holder.wait()
    return {"up": up, "kb_each": round((after - before) / max(up, 1), 1)}


@test
def webmail(bench):
    """The webmail in Chromium, on a folder of 100,000 messages (10,000 when quick)."""
    count = 10_000 if bench.quick else 100_000
    ours = bench.server(Hikyaku(bench.scratch, bench.binary, accounts=1))
    bench.load("big", [ours.pid()], "webmail-fill", "--port", ours.imap, "--user", "u1@bench.test", "--n", count, "--fill", "--fill-only")
    web.run(bench, ours, count)
    bench.drop(ours)


@test
def cold(bench):
    """Start to banner; memory and CPU of an empty server."""
    for partitions in (1, 1024, 16_384):
        ours = bench.server(Hikyaku(bench.scratch, bench.binary, sections={"cluster": {"partitions": str(partitions)}}, accounts=0))
        times = []
        for _ in range(1 if bench.quick else 5):
            ours.stop()
            begun = time.perf_counter()
            ours.start()
            times.append((time.perf_counter() - begun) * 1e3)
        took = statistics.median(times)
        time.sleep(1)
        pss = procfs.mem([ours.pid()])["pss_kb"] / 1024
        cpu, span = procfs.cpu([ours.pid()]), 3
        time.sleep(span)
        used = (procfs.cpu([ours.pid()]) - cpu) / span
        bench.save({"test": "cold", "partitions": partitions, "start_ms": took, "pss_mib": pss, "idle_cores": used})
        bench.row(f"start to ready, {partitions:,} partitions, ms", took, "", None, "<= 100", "", took <= 100)
        bench.row("  memory of the empty server, MiB PSS", pss, "", None, "<= 40", "", pss <= 40)
        bench.row("  CPU of the idle server, cores", used)
        bench.drop(ours)


def phys(bench, secs):
    """Group commit of a bare log writer, 128 clients, messages/s."""
    binary = bench.scratch / "phys"
    if not binary.exists():
        subprocess.run(["cc", "-O2", "-pthread", "-o", str(binary), str(HERE / "phys.c")], check=True)
    out = subprocess.check_output([str(binary), str(bench.scratch), f"secs={secs}", "only=group_commit"], text=True)
    lines = [json.loads(line) for line in out.splitlines()]
    for line in lines:
        bench.save(line)
    return next(line["msgs_per_s"] for line in lines if line["clients"] == 128)


@test
def dds(bench):
    """The hash table, against what the disk does with a bare log."""
    secs = 5 if bench.quick else 60
    own, bare = [], []
    for _ in range(bench.runs):
        bare.append(phys(bench, 3))
        own += bench.bench("dds", "--data", bench.scratch, "--sizes", 4700, "--clients", 128, "--reads", 0, "--secs", secs)
        bare.append(phys(bench, 3))
    a, b = median(own, "puts_per_s"), statistics.median(bare)
    bench.row(f"bench dds: durable puts of 4.7 KB, 128 clients, {secs} s, puts/s", a, b, a / b, ">= 0.5 x (aim 0.7)", "peer: group commit of a bare log", a / b >= 0.5)
    bench.row("  CPU us/put: worker, writer, flush and compaction", " / ".join(number(statistics.median(line["cpu"][key] for line in own)) for key in ("worker_us", "writer_us", "background_us")))
    gets = bench.bench("dds", "--data", bench.scratch, "--sizes", 100, "--clients", 128, "--reads", 100, "--secs", 3)
    a = median(gets, "gets_per_s")
    bench.row("bench dds: cached gets of 100 bytes, 128 clients, gets/s", a, "", None, ">= 500,000", "", a >= 500_000)
    bench.row("  CPU us/get: clients, worker", " / ".join(number(gets[0]["cpu"][key]) for key in ("clients_us", "worker_us")))


def figures(status):
    """Counters of a status by name."""
    store = status.get("store") or {}
    sums = {"syncs": int(store.get("syncs", 0)), "groups": int(store.get("groups", 0))}
    for stage in status["stages"]:
        for key in ("wakes", "hops", "processed", "batches"):
            sums[key] = sums.get(key, 0) + int(stage.get(key, 0))
        kind = stage["name"].rstrip("0123456789").rstrip("-")
        if kind == "log":
            sums["wakes log"] = int(stage.get("wakes", 0))
        wait = stage.get("wait") or {}
        sums[f"p99 {kind}"] = max(sums.get(f"p99 {kind}", 0), int(wait.get("p99_us", 0)))
    return sums


TESTS["cluster"] = three.cluster_and_more
TESTS["nodes"] = nodes.nodes
TESTS["search"] = searching.search


def each_message(bench, ours, clients):
    """Counters by message, of a run of so many connections; and what they were at its end."""
    ours.rest()
    before, had = figures(ours.status()), ours.received()
    bench.deliver(ours, clients)
    after, messages = figures(ours.status()), max(1, ours.received() - had)
    each = {key: (after[key] - before[key]) / messages for key in ("wakes", "wakes log", "hops", "syncs", "groups")}
    each["messages"] = messages
    bench.save({"test": "stages", "clients": clients, "each": each, "status": after})
    return each, after


@test
def stages(bench):
    """What a message costs at 128 connections, stage by stage; ablations; overload."""
    ours = bench.server(Hikyaku(bench.scratch, bench.binary))
    bench.prime(ours)
    each, _ = each_message(bench, ours, 1)
    on_its_way = each["wakes"] - each["wakes log"]
    # Twenty in a thousand are for deadlines, and who asks for the status.
    bench.row("per message at 1 connection: thread wakes, without the log's", on_its_way, "", None, "<= 2", "the log's: at most 100 a second", on_its_way <= 2.02)
    cpu = servers.threads_cpu(ours.pid())
    each, after = each_message(bench, ours, 128)
    used, messages = servers.threads_cpu(ours.pid()), each["messages"]
    bench.row("per message at 128 connections: thread wakes", each["wakes"], "", None, "< 0.5", "", each["wakes"] < 0.5)
    bench.row("  thread hops", each["hops"])
    bench.row("  fsyncs", each["syncs"], "", None, "< 0.125", "", each["syncs"] < 0.125)
    for key in sorted(key for key in after if key.startswith("p99 ")):
        bench.row(f"  queue delay p99 ms, {key[4:]}", after[key] / 1e3)
    for group in sorted(used):
        user, system = (used[group][i] - cpu.get(group, (0, 0))[i] for i in (0, 1))
        if user + system >= messages // 10:
            bench.row(f"  CPU us, threads {group}: user + system", f"{user / messages:.1f} + {system / messages:.1f}")
    for clients in (16, 128):
        by_stage(bench, ours, clients)
    ablations(bench, ours)
    overload(bench, ours)
    bench.drop(ours)


def by_stage(bench, ours, clients):
    """Where the CPU of a message goes. Apart from what is measured, because sampling costs CPU too."""
    ours.rest()
    samples = bench.scratch / "samples"
    load = flood(bench, ours, 4700, clients, bench.secs + 1)
    time.sleep(1)
    cpu, had = procfs.cpu([ours.pid()]), ours.received()
    try:
        budget.sample(ours.pid(), bench.secs, samples)
        each = (procfs.cpu([ours.pid()]) - cpu) / max(1, ours.received() - had) * 1e6
        shares = budget.shares(samples)
    except Unavailable as error:
        return bench.row(f"CPU by stage, {clients} connections", "left out", note=str(error))
    finally:
        load.wait()
    bench.save({"test": "budget", "clients": clients, "cpu_us_per_op": each, "shares": shares})
    bench.row(f"CPU us/message by stage, sampled, {clients} connections", each)
    for stage, share in shares.items():
        bench.row(f"  {stage}", each * share)


# What is taken away, and where it shows: the CPU of the workers is measured closer than the rate, which the generator shares.
ABLATIONS = {
    "batch of one": ({"stages": {"batch": "1"}}, "worker_us"),
    "no grouping of fsyncs": ({"stages": {"groups_per_sync": "1"}}, "per_s"),
}
# Shown where it bites, when more comes than the disk takes.
FIXED = {"stages": {"fixed_credit": '"256 MiB"', "queue": "65536"}}
DEEP = 1536


def ablations(bench, ours):
    for name, (sections, shows) in ABLATIONS.items():
        less = bench.server(Hikyaku(bench.scratch, bench.binary, "ablation", sections))
        bench.prime(less)
        own, other = alternate(bench, [less, ours], lambda it: by_thread(bench, it))
        rows = (("per_s", f"ablation, {name}: messages/s"), ("worker_us", "  CPU us/message of the worker"), ("srv_cpu_us_per_op", "  of the server"))
        for key, what in rows:
            a, b = median(own, key), median(other, key)
            worse, target = (a < 0.9 * b, "< 0.9 x") if key == "per_s" else (a > 1.15 * b, "> 1.15 x")
            judged = (target, "", worse) if key == shows else ()
            bench.row(f"{what}, against all of it", a, b, a / b, *judged)
        bench.drop(less)


def by_thread(bench, server):
    """A run of 128 connections, with the CPU of the workers alone: what the generator takes from the machine is not in it."""
    before, had = servers.threads_cpu(server.pid()), server.received()
    line = bench.deliver(server, 128)
    after = servers.threads_cpu(server.pid())
    line["worker_us"] = (sum(after["worker"]) - sum(before["worker"])) / max(1, server.received() - had)
    return line


def overload(bench, ours):
    """Three times as many clients as give the capacity, then large messages, against a fixed queue limit; somebody uses mail all the while."""
    own, other = alternate(bench, [384, 128], lambda clients: flooded(bench, ours, 4700, clients))
    good, p99 = (statistics.median(it[key] for it in own) for key in ("per_s", "p99"))
    base = statistics.median(it["per_s"] for it in other)
    bench.row("overload, 384 connections: goodput, against 128", good, base, good / base, ">= 0.8 x", "", good >= 0.8 * base)
    bench.row("  IMAP meanwhile, p99 ms of the slowest command", p99, "", None, "<= 100", "", p99 <= 100)
    fixed = bench.server(Hikyaku(bench.scratch, bench.binary, "ablation", FIXED))
    bench.prime(fixed)
    own, other = alternate(bench, [fixed, ours], lambda it: flooded(bench, it, 100_000, DEEP))
    a, b = (statistics.median(it["per_s"] for it in lines) for lines in (own, other))
    bench.row(f"ablation, a fixed queue limit, {DEEP:,} connections with 100 KB: goodput, against all of it", a, b, a / b)
    for key, target in (("store mean", ""), ("store p99", "> 1.2 x")):
        a, b = (statistics.median(it[key] for it in lines) for lines in (own, other))
        bench.row(f"  ms of STORE meanwhile, {key[6:]}", a, b, a / b, target, "", a > 1.2 * b if target else None)
    bench.drop(fixed)


def flooded(bench, server, size, clients):
    """With so many connections that deliver: goodput, and times in ms of eight IMAP sessions: the p99 of their slowest command, and STORE's."""
    # Fills their inboxes: under the flood that takes as long as a measurement.
    use_mail(bench, server, 0.1)
    had, ends = server.received(), time.time() + 120
    load = flood(bench, server, size, clients, bench.secs + 6)
    # Under way when every connection has, on average, delivered twice.
    while server.received() - had < 2 * clients:
        if load.poll() is not None or time.time() > ends:
            load.kill()
            raise RuntimeError(f"overload: {clients} connections did not get under way")
        time.sleep(0.1)
    imap = use_mail(bench, server, bench.secs)
    if load.poll() is not None:
        raise RuntimeError("overload: the flood ended before the IMAP sessions")
    out = json.loads(load.communicate()[0].splitlines()[-1])
    bench.save({"overload": out})
    if out["err"]:
        bench.say(f"overload: {out['err']} errors, the last: {out.get('lasterr')}")
    server.rest()
    rows = {row["command"]: row for row in imap["commands"]}
    store = rows["store"]
    return {
        "per_s": out["per_s"], "p99": max(row["p99_us"] for row in rows.values()) / 1e3,
        "store mean": store["mean_us"] / 1e3, "store p99": store["p99_us"] / 1e3,
    }


def flood(bench, server, size, clients, secs):
    """Begins to deliver; the running generator."""
    proto, port = server.entry
    words = [f"proto={proto}", f"port={port}", f"size={size}", f"c={clients}", f"secs={secs}", f"warm={1 + clients / 400}"]
    return subprocess.Popen([load_binary(bench), "deliver", *words], stdout=subprocess.PIPE, text=True, preexec_fn=servers.raise_files)


def use_mail(bench, server, secs):
    mix = "select=1,fetch=4,body=4,store=4,noop=4"
    return bench.bench("imap", "--imap", f"127.0.0.1:{server.imap}", "--clients", 8, "--secs", secs, "--think-ms", 20, "--mix", mix)[0]


def load_binary(bench):
    binary = bench.scratch / "mload"
    if not binary.exists():
        subprocess.run(["cc", "-O2", "-pthread", "-o", str(binary), str(HERE / "mload.c")], check=True)
    return str(binary)


def shown(rows, markdown=False):
    """The table."""
    header = ["what", "hikyaku", "peer", "ratio", "target", "", "note"]
    cells = [header]
    for row in rows:
        met = {True: "reached", False: "MISSED", None: ""}[row["met"]]
        ratio = f"{row['ratio']:.2f}" if row["ratio"] else ""
        cells.append([row["what"], number(row["ours"]), number(row["peer"]) if row["peer"] != "" else "", ratio, row["target"], met, row["note"]])
    if markdown:
        lines = ["| " + " | ".join(line) + " |" for line in cells]
        lines.insert(1, "|" + "---|" * len(header))
        return "\n".join(lines) + "\n"
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells) + "\n"


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{os.cpu_count()} cores, {model}, Linux {os.uname().release}, load {os.getloadavg()[0]:.1f} at the start"


def arguments():
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.expanduser("~/.cache/hikyaku/target")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about three minutes: one short run of each, smaller mailboxes")
    parser.add_argument("--only", action="append", choices=sorted(TESTS), help="only this one; may be repeated")
    parser.add_argument("--binary", default=os.environ.get("HIKYAKU_BIN") or f"{target}/release/hikyaku")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--secs", type=float, default=10)
    parser.add_argument("--scratch", help="a directory on the disk to be measured")
    parser.add_argument("--save", help="append JSON lines to this file")
    parser.add_argument("--svg", type=pathlib.Path, help="draw the charts of `nodes` into this directory")
    parser.add_argument("--markdown", help="write the table to this file too")
    return parser.parse_args()


def end(_signal, _frame):
    """The servers are stopped whatever ends the run."""
    raise SystemExit(143)


def main():
    signal.signal(signal.SIGTERM, end)
    options = arguments()
    bench = Bench(options)
    about = machine()
    made = not (options.scratch or "BENCH_TMP" in os.environ)
    bench.say(about)
    failed = []
    try:
        for name, function in TESTS.items():
            if options.only and name not in options.only:
                continue
            bench.say(f"{name}: {function.__doc__.splitlines()[0]}")
            try:
                function(bench)
            except Unavailable as why:
                bench.row(f"{name}: left out", "", "", None, "", str(why)[:120])
            except Exception as why:
                failed.append(name)
                bench.row(f"{name}: FAILED", "", "", None, "", str(why)[:120])
            finally:
                bench.drop_all()
    finally:
        bench.drop_all()
        print(about)
        print(shown(bench.rows), end="")
        if options.markdown:
            pathlib.Path(options.markdown).write_text(f"{about}\n\n{shown(bench.rows, True)}")
        if made:
            shutil.rmtree(bench.scratch, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
