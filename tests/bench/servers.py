"""The servers that are measured: Hikyaku with fresh data, and Debian's Dovecot and Postfix as private instances.

All of them listen on loopback only and keep their files below the scratch directory.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

import procfs

HERE = pathlib.Path(__file__).resolve().parent
USERS = 1000
DOMAIN = "bench.test"
PASSWORD = "pw"


class Unavailable(Exception):
    """A peer can't be run here; what needs it is left out and said so."""


def free_base():
    """The first of five ports that are free: ports below the range the kernel hands out."""
    for base in range(21000, 29000, 10):
        try:
            for port in range(base, base + 5):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
    raise Unavailable("no free ports between 21000 and 29000")


class Hikyaku:
    """One node. `sections` are keys of the configuration, by section, that differ from the defaults."""

    name = "hikyaku"

    def __init__(self, scratch, binary, label="hikyaku", sections=None, accounts=USERS):
        self.dir = pathlib.Path(scratch) / label
        self.binary, self.label, self.accounts = binary, label, accounts
        self.sections = {
            "auth": {"argon2_memory": '"8 MiB"', "argon2_iterations": "1", "cache_time": '"10 min"'},
            "limits": {"imap_connections_per_user": "20000"},
        }
        for section, keys in (sections or {}).items():
            self.sections.setdefault(section, {}).update(keys)
        self.process, self.ports = None, {}

    def write_config(self):
        lines = ["[[node]]", 'name = "node1"', 'hostname = "mx.bench.test"', f'data = "{self.dir}/data"', "", "[listen]"]
        lines += [f'{service} = "{self.listen_at(service)}"' for service in ("smtp", "lmtp", "pop3", "imap", "imaps", "http", "admin")]
        for section, keys in self.sections.items():
            lines += ["", f"[{section}]"] + [f"{key} = {value}" for key, value in keys.items()]
        (self.dir / "cluster.toml").write_text("\n".join(lines) + "\n")

    def listen_at(self, service):
        # A restart keeps the ports, for clients that know them.
        return f"127.0.0.1:{self.ports.get(service) or 'auto'}"

    def make(self):
        """Fresh data, a running node, its accounts."""
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.ports = {}
        self.start()
        self.cli("domain", "add", DOMAIN)
        if self.accounts:
            users = self.dir / "users"
            users.write_text("".join(f"u{n}@{DOMAIN}:{PASSWORD}\n" for n in range(1, self.accounts + 1)))
            self.cli("account", "import", str(users))
        return self

    def start(self):
        self.write_config()
        log = open(self.dir / "log", "ab")
        self.process = subprocess.Popen(
            self.command(), stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=raise_files
        )
        for line in self.process.stdout:
            words = line.split()
            if words[:1] == ["listening"]:
                self.ports[words[1]] = int(words[2].rsplit(":", 1)[1])
            if words == ["ready"]:
                return self
        raise RuntimeError(f"the node did not start; see {self.dir}/log")

    def command(self):
        return [self.binary, "serve", "--config", str(self.dir / "cluster.toml")]

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def wipe(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)

    def cli(self, *words):
        command = [self.binary, "--config", str(self.dir / "cluster.toml"), "--admin", f"127.0.0.1:{self.ports['admin']}", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"hikyaku {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def status(self):
        return json.loads(self.cli("status", "--json"))

    def received(self):
        """Messages taken since the start."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/metrics", timeout=30) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("hikyaku_messages_received_total"))

    def pid(self):
        return self.process.pid

    def rest(self):
        """Lets the index catch up, so that the next candidate has the machine; the CPU seconds that took."""
        before, ends = procfs.cpu([self.pid()]), time.time() + 600
        while any(it["behind"] for it in self.status()["extensions"]):
            if time.time() > ends:
                raise RuntimeError("the index does not catch up")
            time.sleep(0.5)
        return procfs.cpu([self.pid()]) - before

    @property
    def entry(self):
        return "smtp", self.ports["smtp"]

    @property
    def pop3(self):
        return self.ports["pop3"]

    @property
    def imap(self):
        return self.ports["imap"]


class Peer:
    """A server that peers.sh runs."""

    def __init__(self, kind, label, scratch, *words, env=None):
        self.kind, self.label, self.words = kind, label, words
        self.env = {**os.environ, "BENCH_TMP": str(scratch), **(env or {})}
        self.base = free_base()

    def peers(self, *words):
        # Not by pipes: a server that stays behind would keep them open.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            done = subprocess.run([str(HERE / "peers.sh"), *words], env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=errors)
            out.seek(0), errors.seek(0)
            return done.returncode, out.read(), errors.read()

    def make(self):
        self.peers("wipe", self.kind, self.label)
        return self.start()

    def start(self):
        code, _, errors = self.peers("start", self.kind, self.label, *self.words, str(self.base))
        if code:
            raise Unavailable(f"{self.kind} did not start: {errors.strip()[-300:]}")
        return self

    def stop(self):
        self.peers("stop", self.kind, self.label)

    def wipe(self):
        self.peers("wipe", self.kind, self.label)

    def pid(self):
        text = self.peers("pid", self.kind, self.label)[1].strip()
        if not text:
            raise Unavailable(f"{self.kind} has no process")
        return int(text)

    @property
    def imap(self):
        return self.base + 1

    @property
    def pop3(self):
        return self.base + 2


class Dovecot(Peer):
    name = "dovecot"

    def __init__(self, scratch, label="dovecot", layout="maildir", reuse=1):
        if not shutil.which("dovecot"):
            raise Unavailable("Dovecot is not installed: apt-get install dovecot-imapd dovecot-pop3d dovecot-lmtpd")
        super().__init__("dovecot", label, scratch, layout, "optimized", env={"DOVECOT_REUSE": str(reuse)})

    @property
    def entry(self):
        return "lmtp", self.base + 3


class Postfix(Peer):
    """Postfix in front of a Dovecot."""

    name = "postfix"

    def __init__(self, scratch, lmtp_port, label="postfix"):
        if not shutil.which("postfix"):
            raise Unavailable("Postfix is not installed: apt-get install postfix")
        super().__init__("postfix", label, scratch, str(lmtp_port))

    @property
    def entry(self):
        return "smtp", self.base + 4

    def drained(self):
        return f"BENCH_TMP={self.env['BENCH_TMP']} {HERE}/peers.sh drained postfix {self.label}"


def raise_files():
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def threads_cpu(pid):
    """Microseconds of user and system time by group of threads."""
    sums = {}
    tick_us = 1_000_000 // os.sysconf("SC_CLK_TCK")
    for stat in pathlib.Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        group = re.sub(r"(-\d+|:.*|\d+)$", "", name)
        user, system = sums.get(group, (0, 0))
        sums[group] = (user + int(fields[11]) * tick_us, system + int(fields[12]) * tick_us)
    return sums


def wait_idle(seconds):
    """Lets flushes of the run before end."""
    os.sync()
    time.sleep(seconds)
