"""A backup under load, a time that is lost, a restoration: clients that saw the lost time believe the truth afterwards.

`Cache` is a QRESYNC client (RFC 7162) that keeps what it was told and reads nothing twice; `Mbsync` mirrors into a Maildir.
Both are compared, message by message and byte by byte, with what a client without memory reads.
"""

import os
import re
import threading

from harness import PASSWORD, ImapError, message, need, run_tool

FLAGS = {"F": r"\Flagged", "R": r"\Answered", "S": r"\Seen", "D": r"\Draft"}


class Cache:
    """INBOX as a client remembers it: {uid: (flags, bytes)}, UIDVALIDITY, HIGHESTMODSEQ; and every UID it ever saw."""

    def __init__(self, account):
        self.account = account
        self.messages = {}
        self.validity = self.mod_seq = None
        self.seen = {}

    def sync(self, server):
        """One visit: resynchronizes, then reads the bodies it has not."""
        client = server.imap(self.account)
        client.must("ENABLE QRESYNC")
        known = f" (QRESYNC ({self.validity} {self.mod_seq}))" if self.validity else ""
        told = client.must(f"SELECT INBOX{known}")
        codes = " ".join(items[1] for items in told if items[0] == "OK")
        validity = int(re.search(r"UIDVALIDITY (\d+)", codes)[1])
        if validity != self.validity:
            assert self.validity is None, "nothing here gives a folder another UIDVALIDITY"
            told += client.must("UID FETCH 1:* (FLAGS)")
        self.validity = validity
        self.mod_seq = int(re.search(r"HIGHESTMODSEQ (\d+)", codes)[1])
        self.obey(told)
        unread = [uid for uid, (_, body) in self.messages.items() if body is None]
        if unread:
            for uid, data in client.fetch(",".join(map(str, unread)), "(BODY.PEEK[])").items():
                flags, _ = self.messages[uid]
                self.messages[uid] = (flags, data["BODY[]"])
                before = self.seen.setdefault(uid, data["BODY[]"])
                assert before == data["BODY[]"], f"UID {uid} is another message than before"
        client.logout()

    def obey(self, told):
        for items in told:
            if items[0] == "VANISHED":
                ranges = [tuple(map(int, part.split(":"))) for part in items[-1].split(",")]
                gone = [uid for uid in self.messages if any(it[0] <= uid <= it[-1] for it in ranges)]
                for uid in gone:
                    del self.messages[uid]
            elif len(items) > 2 and items[1] == "FETCH":
                at = {items[2][i]: items[2][i + 1] for i in range(0, len(items[2]), 2)}
                uid = int(at["UID"])
                # A body never changes: what was read before the lost time is still right.
                self.messages[uid] = (flags_of(at), self.messages.get(uid, (None, None))[1])

    def compare(self, server):
        found = read(server, self.account)
        assert sorted(self.messages) == sorted(found), f"UIDs on one side alone: {sorted(set(self.messages) ^ set(found))}"
        wrong = [(uid, self.messages[uid][0], found[uid][0]) for uid in found if self.messages[uid] != found[uid]]
        assert not wrong, f"UID, flags remembered, flags that are: {wrong}"


def flags_of(data):
    return frozenset(data["FLAGS"]) - {r"\Recent"}


def read(server, account):
    """INBOX as a client without memory sees it."""
    client = server.imap(account)
    client.must("EXAMINE INBOX")
    found = client.fetch("1:*", "(FLAGS BODY.PEEK[])")
    client.logout()
    return {uid: (flags_of(data), data["BODY[]"]) for uid, data in found.items()}


class Mbsync:
    """INBOX mirrored into a Maildir, both ways."""

    def __init__(self, server, account, path):
        self.account, self.path = account, path
        path.mkdir()
        self.write_config(server)

    def write_config(self, server):
        path = self.path
        (path / "rc").write_text(
            f"FSync no\n\nIMAPStore far\nHost 127.0.0.1\nPort {server.ports['imap']}\nUser {self.account}\nPass \"{PASSWORD}\"\n"
            f"SSLType None\nAuthMechs LOGIN\n\nMaildirStore near\nPath {path}/mail/\nInbox {path}/mail/INBOX\n\n"
            "Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Both\nExpunge Both\nSync All\nSyncState *\n"
        )

    def sync(self, server):
        self.write_config(server)
        (self.path / "mail").mkdir(exist_ok=True)
        run_tool([need("mbsync"), "-c", str(self.path / "rc"), "-a"], env=dict(os.environ, HOME=str(self.path)), timeout=300)

    def compare(self, server):
        far = {key_of(body): (body, flags & set(FLAGS.values())) for flags, body in read(server, self.account).values()}
        near = {}
        for sub in ("cur", "new"):
            for path in (self.path / "mail" / "INBOX" / sub).glob("*"):
                flags = frozenset(FLAGS[it] for it in path.name.partition(":2,")[2] if it in FLAGS)
                # Without the header by which mbsync finds what it stored.
                body = re.sub(rb"X-TUID: [^\n]*\n", b"", path.read_bytes()).replace(b"\n", b"\r\n")
                assert key_of(body) not in near, f"{key_of(body)} is twice in the Maildir"
                near[key_of(body)] = (body, flags)
        assert sorted(near) == sorted(far)
        wrong = [(key, near[key][1], far[key][1], near[key][0] == far[key][0]) for key in far if near[key] != far[key]]
        assert not wrong, f"flags near, flags far, same body: {wrong}"


class Load:
    """Deliveries to `accounts`, one after the other, until told to stop; `done` are the keys that were acknowledged."""

    def __init__(self, server, accounts, name):
        self.server, self.accounts, self.name = server, accounts, name
        self.done, self.failure = [], None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert self.failure is None, self.failure

    def run(self):
        try:
            client = self.server.smtp()
            while not self.stop.is_set():
                key = f"{self.name}-{len(self.done)}"
                size = (700, 5_000, 60_000)[len(self.done) % 3]
                code, text = client.deliver(message(key, size=size), self.accounts)
                assert code == 250, text
                self.done.append(key)
            client.close()
        except (OSError, AssertionError, ImapError) as error:
            self.failure = f"{self.name}: {error!r}"


def keys(server, account):
    return [key_of(body) for _, body in read(server, account).values()]


def key_of(body):
    return re.search(rb"X-Key: (\S+)", body)[1].decode()
