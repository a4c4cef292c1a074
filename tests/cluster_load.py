"""Load on a cluster while things go wrong, and the full scan afterwards: what was acknowledged is there once, on every replica."""

import hashlib
import itertools
import re
import threading
import time

from harness import Closed, ImapError, message, without_trace


class Load(threading.Thread):
    """One client that does one thing after the other through one node, each with a key of its own."""

    folder = "INBOX"
    numbers = itertools.count(1)

    def __init__(self, node, to):
        super().__init__(daemon=True)
        self.node, self.to = node, to
        self.name = f"{type(self).__name__}-{next(self.numbers)}-{node.name}"
        self.acknowledged, self.refused, self.longest = {}, [], 0
        self.wanted = True
        self.start()

    def run(self):
        count = 0
        while self.wanted:
            key = f"{self.name}-{count}"
            data = message(key, size=(600, 4_700, 60_000)[count % 3])
            began = time.monotonic()
            try:
                code, text = self.send(data)
                if code == 250:
                    self.acknowledged[key] = data
                else:
                    self.refused.append((code, text))
            except (OSError, Closed) as error:
                self.broken()
                self.refused.append((0, str(error)))
            self.longest = max(self.longest, time.monotonic() - began)
            count += 1
            time.sleep(0.02)

    def broken(self):
        """The connection has ended."""

    def stop(self):
        """Whatever became of what it did last."""
        self.wanted = False
        self.join(90)
        assert not self.is_alive(), f"{self.name} to {self.to} hangs"

    def end(self):
        self.stop()
        for code, text in self.refused:
            assert code == 0 or 400 <= code < 500, f"{code} {text}: only temporary refusals are right"


class Sender(Load):
    """Delivers to one mailbox by SMTP."""

    def send(self, data):
        smtp = self.node.smtp(timeout=60)
        answer = smtp.deliver(data, self.to)
        smtp.close()
        return answer

    @staticmethod
    def stored(body):
        return without_trace(body)


class Appender(Load):
    """Puts messages into a folder by IMAP in one session, and reads what came."""

    folder = "Kept"
    imap = None

    def send(self, data):
        try:
            if self.imap is None:
                self.imap = self.node.imap(self.to)
                kind, text, _ = self.imap.command(f"CREATE {self.folder}")
                if kind != "OK" and "EXISTS" not in text:
                    raise ImapError(kind, text)
                self.imap.must(f"SELECT {self.folder}")
            said = self.imap.append(self.folder, data)
            uid = re.search(r"APPENDUID \d+ (\d+)", self.imap.said)[1]
            got = self.imap.fetch(uid, "(BODY.PEEK[])")
            assert got[int(uid)]["BODY[]"] == data, f"{said}: UID {uid} is not what was appended"
            self.imap.must(f"UID STORE {uid} +FLAGS (\\Seen)")
        except ImapError as error:
            assert error.kind == "NO", error
            self.broken()
            # Whether it is there is not known.
            return 451, str(error)
        return 250, said

    def broken(self):
        if self.imap:
            self.imap.close()
        self.imap = None

    @staticmethod
    def stored(body):
        return body


def scan(node, to, folder, stored):
    """{key: bytes} of a folder, by IMAP; no key is there twice."""
    imap = node.imap(to)
    bodies = {}
    for uid, body in imap.bodies(folder).items():
        data = stored(body)
        key = data.split(b"X-Key: ", 1)[1].split(b"\r\n", 1)[0].decode()
        assert key not in bodies, f"{key} is there twice, again as UID {uid} of {folder}"
        bodies[key] = data
    imap.logout()
    return bodies


def check_mail(node, loads):
    """Every message that was acknowledged is there once, byte for byte, and POP3 has as many as IMAP."""
    for to, folder in sorted({(load.to, load.folder) for load in loads}):
        mine = [load for load in loads if (load.to, load.folder) == (to, folder)]
        if not any(load.acknowledged for load in mine):
            continue
        bodies = scan(node, to, folder, mine[0].stored)
        for load in mine:
            for key, data in load.acknowledged.items():
                assert bodies.get(key) == data, f"{key} was acknowledged, and is not there as it was sent"
        if folder == "INBOX":
            assert len(node.pop3_sizes(to, tries=20)) == len(bodies)


def check_replicas(cluster, users):
    """Every store is sound, and the replicas of every mailbox show the same when they lead."""
    nodes = cluster.alive()
    copies = min(len(nodes), int(cluster.settings["replicas"]))
    reports = [node.cli_json("check", code=None) for node in nodes]
    for node, report in zip(nodes, reports):
        assert not report["findings"], f"{node.name}: {report['findings']}"
    if copies == len(nodes):
        held = [[report[it] for it in ("users", "messages", "blobs")] for report in reports]
        assert all(it == held[0] for it in held), f"users, messages and large bodies differ: {held}"
    for user in users:
        shown = {}
        holders = nodes[0].cli_json("where", user, code=None)[0]["in_sync"]
        assert len(holders) == copies, f"{user} is on {holders}, {copies} replicas are wanted"
        for node in nodes:
            for _ in range(10 if node.name in holders else 0):
                moved = nodes[0].cli("move", user, "--to", node.name, code=None)
                what = contents(node, user)
                # The lead may have been taken from it: by a move that another mailbox of the partition needs.
                if moved.returncode == 0 and cluster.master(user) is node:
                    shown[node.name] = what
                    break
        nodes[0].cli("move", user, "--cancel", code=None)
        assert len(shown) > 1, f"of {holders} only {sorted(shown)} keep the lead of {user} for long enough"
        assert len(set(shown.values())) == 1, f"what {user} has differs between {sorted(shown)}"


def contents(node, user):
    """One word for all that a mailbox shows: folders, UIDs, flags, bodies."""
    hash = hashlib.sha256()
    imap = node.imap(user)
    names = sorted(items[-1] for items in imap.must('LIST "" *') if items[0] == "LIST")
    for name in names:
        name = name.decode() if isinstance(name, bytes) else name
        imap.must(f'EXAMINE "{name}"')
        rows = imap.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])") if imap.search("ALL") else {}
        for uid, row in sorted(rows.items()):
            hash.update(repr((name, uid, sorted(row["FLAGS"]), row["INTERNALDATE"], row["BODY[]"])).encode())
    imap.logout()
    return hash.hexdigest()


def go_on(loads, seconds):
    """Waits until each of these has been acknowledged something that it began from now on."""
    before = [len(load.acknowledged) for load in loads]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if all(len(load.acknowledged) > had + 1 for load, had in zip(loads, before)):
            return
        time.sleep(0.05)
    stuck = [load for load, had in zip(loads, before) if len(load.acknowledged) <= had + 1]
    said = [(load.name, load.to, load.refused[-1:]) for load in stuck]
    raise AssertionError(f"within {seconds} s nothing was acknowledged to {said}")


def through(loads, *names):
    """Those that go through these nodes."""
    return [load for load in loads if load.node.name in names]
