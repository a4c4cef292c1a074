"""Load on a cluster while things go wrong, and the full scan afterwards: what was acknowledged is there once, on every replica."""

import itertools
import re
import threading
import time

from harness import Closed, ImapError, eventually, message, without_trace


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

    def end(self):
        self.wanted = False
        self.join(90)
        assert not self.is_alive(), f"{self.name} to {self.to} hangs"
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
                assert kind == "OK" or "EXISTS" in text, text
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
            assert len(node.pop3_sizes(to)) == len(bodies)


def check_replicas(cluster):
    """Every store is sound, and all hold the same: for clusters in which every node has every partition."""

    def agree():
        reports = {node.name: node.cli_json("check") for node in cluster.alive()}
        for name, report in reports.items():
            assert not report["findings"], f"{name}: {report['findings']}"
        held = {tuple(report[it] for it in ("users", "messages", "blobs")) for report in reports.values()}
        return len(held) == 1 and list(reports.values())[0]

    return eventually(agree, 30, "that all replicas hold the same")
