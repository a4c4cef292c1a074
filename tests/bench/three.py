"""Three nodes on loopback addresses of this machine: what replication costs, and how long a failure is felt."""
import json
import shutil
import signal
import smtplib
import socket
import statistics
import subprocess
import threading
import time

import procfs
import servers
from servers import DOMAIN, Hikyaku, raise_files

NAMES = ("a", "b", "c")


class Three(Hikyaku):
    """A cluster; the first node is the one that clients of `entry` speak to."""

    def __init__(self, scratch, binary, label="three", accounts=servers.USERS, partitions=256, **cluster):
        super().__init__(scratch, binary, label, {"cluster": {"name": '"bench"', "partitions": partitions, **cluster}}, accounts)
        self.processes, self.ports_of = {}, {}

    def write_config(self):
        lines = []
        for name, address in self.addresses.items():
            lines += ["[[node]]", f'name = "{name}"', f'address = "{address}"', f'data = "{self.dir}/{name}"']
        lines += ["[listen]"] + [f'{service} = "127.0.0.1:auto"' for service in ("smtp", "lmtp", "pop3", "imap", "admin")]
        for section, keys in self.sections.items():
            lines += ["", f"[{section}]"] + [f"{key} = {value}" for key, value in keys.items()]
        (self.dir / "cluster.toml").write_text("\n".join(lines) + "\n")

    def start(self):
        sockets = [socket.socket() for _ in NAMES]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        self.addresses = {name: f"127.0.0.1:{each.getsockname()[1]}" for name, each in zip(NAMES, sockets)}
        for each in sockets:
            each.close()
        self.write_config()
        for name in NAMES:
            self.launch(name)
        for name in NAMES:
            self.until_ready(name)
        self.ports = self.ports_of["a"]
        self.until_whole(600)
        return self

    def launch(self, name):
        log = open(self.dir / f"{name}.log", "ab")
        command = [self.binary, "serve", "--config", str(self.dir / "cluster.toml"), "--node", name]
        self.processes[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=raise_files)

    def until_ready(self, name):
        ports = self.ports_of[name] = {}
        for line in self.processes[name].stdout:
            words = line.split()
            if words[:1] == ["listening"]:
                ports[words[1]] = int(words[2].rsplit(":", 1)[1])
            if words == ["ready"]:
                return
        raise RuntimeError(f"node {name} did not start; see {self.dir}/{name}.log")

    def until_whole(self, seconds=120):
        end = time.time() + seconds
        while time.time() < end:
            status = self.status()
            cluster, partitions = status["cluster_state"], status["partitions"]
            up = sum(node["state"] == "up" for node in status["nodes"])
            if up == 3 and cluster["min_in_sync"] == 2 and not cluster["moves"] and not partitions["under_replicated"]:
                return
            time.sleep(0.2)
        raise RuntimeError("the cluster did not become whole")

    def until_still(self, seconds=5):
        """Until nothing of the map has changed for so long."""
        since, index = time.time(), None
        while time.time() < since + seconds:
            now = self.status()["cluster_state"]["map_index"]
            if now != index:
                since, index = time.time(), now
            time.sleep(0.5)

    def pid(self):
        return self.processes["a"].pid

    def pids(self):
        return [process.pid for process in self.processes.values() if process.poll() is None]

    def stop(self):
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = {}

    def cli(self, *words, node="a"):
        command = [self.binary, "--config", str(self.dir / "cluster.toml"), "--node", node]
        done = subprocess.run([*command, *words], capture_output=True, text=True)
        if done.returncode and words[0] != "status":
            raise RuntimeError(f"hikyaku {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def master(self, user, node="a"):
            return json.loads(self.cli("where", "--json", user, node=node))[0]["node"]


class Senders:
    """One delivery after the other to each of some users, through one node; when each began and ended."""

    def __init__(self, port, users):
        self.port, self.wanted = port, True
        self.seen = {user: [] for user in users}
        self.threads = [threading.Thread(target=self.run, args=(user,), daemon=True) for user in users]
        for thread in self.threads:
            thread.start()

    def run(self, user):
        text = "Subject: probe\r\n\r\n" + "x" * 600 + "\r\n"
        client = None
        while self.wanted:
            began = time.monotonic()
            try:
                client = client or smtplib.SMTP("127.0.0.1", self.port, timeout=30)
                client.sendmail("probe@elsewhere.test", [user], text)
                ok = True
            except (OSError, smtplib.SMTPException):
                client, ok = None, False
            self.seen[user].append((began, time.monotonic(), ok))
            time.sleep(0.005)

    def end(self):
        self.wanted = False
        for thread in self.threads:
            thread.join(60)

    def stalls(self, since, users):
        """For each user the longest time without a finished delivery behind `since`, and how many were refused."""
        longest, refused = [], 0
        for user in users:
            last, worst = since, 0
            for began, ended, ok in self.seen[user]:
                if ended < since:
                    continue
                refused += not ok
                if ok:
                    worst = max(worst, ended - max(last, since))
                    last = ended
            longest.append(worst)
        return longest, refused


def by_master(three, users, node):
    owners = {}
    for user in users:
        owners.setdefault(three.master(user, node), []).append(user)
    return owners


def failure(bench, three, how):
    """A node is killed or stopped under load: what users of its masters feel, and all others."""
    users = [f"u{n}@{DOMAIN}" for n in range(1, 61)]
    owners = by_master(three, users, "a")
    status = three.status()
    leader = next(node["name"] for node in status["nodes"] if node["leader"])
    # The worst case: it leads the control group, too. Clients are at another node.
    victim = leader
    entry = next(name for name in NAMES if name != victim)
    senders = Senders(three.ports_of[entry]["smtp"], users)
    time.sleep(2)
    since = time.monotonic()
    three.processes[victim].send_signal(how)
    time.sleep(8)
    senders.end()
    own, refused = senders.stalls(since, owners.get(victim, []))
    others = [user for name, some in owners.items() if name != victim for user in some]
    rest, refused_others = senders.stalls(since, others)
    if how == signal.SIGSTOP:
        three.processes[victim].send_signal(signal.SIGCONT)
    else:
        three.processes[victim].wait()
        three.launch(victim)
        three.until_ready(victim)
    three.ports = three.ports_of["a"]
    three.until_whole()
    return own, rest, refused + refused_others


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0


def cluster(bench):
    """Three nodes on this machine: ingest, the cost of a put, failures, moves."""
    one = bench.server(Hikyaku(bench.scratch, bench.binary))
    three = bench.server(Three(bench.scratch, bench.binary))
    bench.prime(one, three)
    for clients in (16, 128):
        lines = {"one": [], "three": []}
        for _ in range(bench.runs):
            for name, server, pids in (("one", one, [one.pid()]), ("three", three, three.pids())):
                servers.wait_idle(0.5)
                words = ["proto=smtp", f"port={server.ports['smtp']}", "size=4700", f"c={clients}", f"secs={bench.secs}", "warm=1"]
                nodes = NAMES if name == "three" else ()
                before = {node: syncs(server, node) for node in nodes}
                line = bench.load("load", pids, f"{name}-c{clients}", "deliver", *words)
                line["syncs"] = max((syncs(server, node) - before[node] for node in nodes), default=0)
                lines[name].append(line)
        rate = {name: statistics.median(line["per_s"] for line in some) for name, some in lines.items()}
        cpu = {name: statistics.median(line["srv_cpu_us_per_op"] for line in some) for name, some in lines.items()}
        bench.row(f"ingest 4.7 KB, {clients} connections, three nodes against one, messages/s", rate["three"], rate["one"], rate["three"] / rate["one"])
        share = cpu["one"] / cpu["three"]
        bench.row("  CPU us/message, all nodes together", cpu["three"], cpu["one"], share, ">= 0.167 x", "half of one node's efficiency, by three replicas", share >= 1 / 6)
        each = statistics.median(line["syncs"] / max(1, line["ok"]) for line in lines["three"])
        bench.row("  fsyncs a message on the busiest node", each)
    bench.drop(one)
    for how, what in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "stopped")):
        own, rest, refused = [], [], 0
        for _ in range(bench.runs):
            felt = failure(bench, three, how)
            own, rest, refused = own + felt[0], rest + felt[1], refused + felt[2]
        worst = percentile(own, 0.99)
        bench.row(f"the leader's node is {what}: its users wait, s, p99 of {len(own)}", worst, "", None, "<= 3", f"median {statistics.median(own or [0]):.2f}", worst <= 3)
        worst = percentile(rest, 0.99)
        bench.row(f"  all other users wait, s, p99 of {len(rest)}", worst, "", None, "<= 0.6", f"median {statistics.median(rest or [0]):.2f}", worst <= 0.6)
        bench.row("  deliveries refused", refused)
    moves(bench, three)
    bench.drop(three)


def syncs(server, node):
    return json.loads(server.cli("status", "--json", node=node))["store"]["syncs"]


def moves(bench, three):
    """A mailbox moves while a client delivers to it."""
    user = f"u7@{DOMAIN}"
    senders = Senders(three.ports_of["b"]["smtp"], [user])
    time.sleep(1)
    felt, took = [], []
    for count in range(9):
        at = three.master(user)
        to = NAMES[(NAMES.index(at) + 1) % 3]
        since = time.monotonic()
        took.append(json.loads(three.cli("move", "--json", user, "--to", to))["elapsed_ms"])
        time.sleep(0.5)
        felt.append(senders.stalls(since, [user])[0][0] * 1e3)
    senders.end()
    worst = max(felt)
    bench.row("a planned move: the longest pause of the user's deliveries, ms", worst, "", None, "< 100", f"median {statistics.median(felt):.0f}, command {statistics.median(took):.0f}", worst < 100)


FILL_MIB = 16


def filling(bench):
    """An empty third node is filled at a rate that is set, while eight IMAP sessions use mail at the others."""
    three = bench.server(Three(bench.scratch, bench.binary, fill_rate=f'"{FILL_MIB} MiB"'))
    count = 6000 if bench.quick else 12_000
    words = ["deliver", "proto=smtp", f"port={three.ports['smtp']}", "size=40000", "c=16", "seq=1", f"msgs={count}"]
    bench.load("load", three.pids(), "three-data", *words)
    bench.say("three nodes hold the data")
    secs = 8
    read_mail(bench, three, 3)
    quiet, busy, rates = [], [], []
    for _ in range(bench.runs):
        servers.wait_idle(0.5)
        quiet.append(read_mail(bench, three, secs))
        three.processes["c"].send_signal(signal.SIGTERM)
        three.processes["c"].wait(60)
        shutil.rmtree(three.dir / "c")
        three.launch("c")
        three.until_ready("c")
        samples = Samples(three, "c")
        samples.until_growing()
        busy.append(read_mail(bench, three, secs))
        during = samples.is_growing()
        three.until_whole(600)
        # What the messages have: their metadata come on top, and are left out.
        mib, took = count * 40_000 / 2**20, samples.end()
        rates.append(mib / took)
        bench.save({"test": "fill", "mib": mib, "secs": took, "rate": FILL_MIB, "quiet": quiet[-1], "busy": busy[-1], "filled_all_the_while": during})
    share = statistics.median(rates) / FILL_MIB
    bench.row(f"an empty node is filled with {mib:,.0f} MiB, MiB/s, against the rate set", statistics.median(rates), FILL_MIB, share, ">= 0.8 x", f"{took:.0f} s", share >= 0.8)
    worst = max(busy[0], key=lambda name: median_of(busy, name) / median_of(quiet, name))
    for name in busy[0]:
        a, b = median_of(busy, name), median_of(quiet, name)
        bench.row(f"  IMAP {name} meanwhile, p99 ms, against quiet", a, b, a / b, "<= 2 x", "the worst" if name == worst else "", a <= 2 * b)
    if not during:
        bench.row("  the node was whole before the sessions ended", "", note="the figures above are too good")
    bench.drop(three)


def median_of(lines, name):
    return statistics.median(line[name] for line in lines)


def read_mail(bench, three, secs):
    """p99 in ms of each command of eight IMAP sessions."""
    mix = "select=1,fetch=4,body=4,store=4,noop=4"
    words = ["--imap", f"127.0.0.1:{three.ports['imap']}", "--clients", 8, "--secs", secs, "--think-ms", 20, "--mix", mix]
    line = bench.bench("imap", *words)[0]
    return {row["command"]: row["p99_us"] / 1e3 for row in line["commands"] if row["command"] != "login"}


class Samples:
    """How many partitions a node is filled with, again and again."""

    def __init__(self, three, node):
        self.three, self.node, self.wanted = three, node, True
        self.seen = []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.wanted:
            status = json.loads(self.three.cli("status", "--json", node=self.node))
            learning = sum(int(node["learning"]) for node in status["nodes"])
            self.seen.append((time.monotonic(), learning))
            time.sleep(0.3)

    def until_growing(self):
        while not self.is_growing():
            time.sleep(0.1)

    def is_growing(self):
        return len(self.seen) > 1 and self.seen[-1][1] > 0

    def end(self):
        """The seconds in which partitions were filled."""
        self.wanted = False
        self.thread.join()
        busy = [at for at, (_, learning) in enumerate(self.seen) if learning]
        first, last = max(0, busy[0] - 1), min(len(self.seen) - 1, busy[-1] + 1)
        return self.seen[last][0] - self.seen[first][0]


def idle(bench):
    """CPU of three nodes that have nothing to do: pings, leases and acknowledgements are per pair of nodes, not per partition."""
    used, span = {}, 5 if bench.quick else 20
    for partitions in (1, 1024, 16_384):
        three = bench.server(Three(bench.scratch, bench.binary, "idle", 0, partitions))
        three.until_still()
        before = procfs.cpu(three.pids())
        time.sleep(span)
        used[partitions] = (procfs.cpu(three.pids()) - before) / span
        bench.save({"test": "idle-three", "partitions": partitions, "cores": used[partitions]})
        bench.row(f"CPU of three idle nodes, {partitions:,} partitions, cores together", used[partitions], used[1], used[partitions] / max(used[1], 1e-3), "", "against 1 partition")
        bench.drop(three)


def cluster_and_more(bench):
    """Three nodes on this machine: ingest, the cost of a put, failures, moves; a node is filled; what idleness costs."""
    cluster(bench)
    filling(bench)
    idle(bench)
