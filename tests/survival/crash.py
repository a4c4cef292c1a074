"""Kills the server at random moments under load, and compares what is there afterwards with what was acknowledged.

The load: SMTP and LMTP clients that deliver to one or several mailboxes, and IMAP sessions that append, flag, copy, move and
expunge in folders of their own. Every client writes down what it asked for before asking, and what was answered. After the
restart:
- a message answered 250 or OK is there exactly once in each mailbox it was accepted for, byte for byte;
- an unanswered one is in all of its mailboxes once, or in none (a durable delivery may need a moment); LMTP promises each
  mailbox for itself (RFC 2033 4.2);
- a UID that was seen once still means the same message, and what was expunged does not come back;
- flags and folders are those that were acknowledged, or those of the command that was under way.
"""

import os
import random
import re
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import DOMAIN, Closed, ImapError, Server, digest, message, soak, without_trace  # noqa: E402

SETTLE_SECONDS = 30
# Small buffers, so that tables are written, merged and dropped while clients are at it.
SMALL_BUFFERS = 'write_buffer = "4 MiB"\nspace_low = "64 MiB"\nspace_exhausted = "32 MiB"\nballast = "8 MiB"'
SIZES = (600, 2_000, 4_700, 4_700, 20_000, 70_000, 300_000)


class Lost(AssertionError):
    """The promise of durability was broken."""


class Sent:
    """A delivery: made before the first byte goes out; `answered` once a 250 came. `apart`: to each mailbox for itself."""

    __slots__ = ("key", "recipients", "digest", "answered", "apart")

    def __init__(self, key, recipients, data, apart):
        self.key, self.recipients, self.digest, self.answered, self.apart = key, recipients, digest(data), False, apart


class Book:
    """Everything that clients asked for and heard."""

    def __init__(self, users):
        self.users = users
        self.lock = threading.Lock()
        self.sent = {}
        self.uids = {user: {} for user in users}
        self.validity = {}
        self.expunged = {user: set() for user in users}


def deliverer(server, book, name, protocol, stop):
    """One client that delivers until the server is gone."""
    rng = random.Random(name)
    count = 0
    while True:
        try:
            client = getattr(server, protocol)(timeout=20)
            for _ in range(rng.randint(1, 30)):
                count += 1
                recipients = rng.sample(book.users, rng.choice((1, 1, 1, 2, 3)))
                key = f"{name}-{count}"
                data = message(key, size=rng.choice(SIZES), to=recipients[0])
                sent = Sent(key, recipients, data, protocol == "lmtp")
                with book.lock:
                    book.sent[key] = sent
                replies = client.deliver(data, recipients)
                if protocol == "lmtp":
                    # A reply per recipient: all of them must be in before the delivery counts.
                    codes = [replies[0], *[client.reply()[0] for _ in recipients[1:]]]
                else:
                    codes = [replies[0]]
                if all(code == 250 for code in codes):
                    sent.answered = True
                elif stop.is_set():
                    return
                else:
                    raise AssertionError(f"{key} was refused: {codes} {replies}")
            client.close()
        except (OSError, Closed, AssertionError) as error:
            if stop.is_set():
                return
            raise AssertionError(f"before the kill: {error!r}") from error


class Reader:
    """One account with two folders that nobody else touches, and a model of them: {key: set of flags}."""

    FLAGS = (r"\Seen", r"\Flagged", r"\Answered", "$Mark", "Work")

    def __init__(self, account, name):
        self.account = account
        self.name = name
        self.rng = random.Random(name)
        self.count = 0
        self.folders = {"INBOX": {}, "Box": {}}
        self.digests = {}
        # A function that gives the folders as they are if the command under way was done; None between commands.
        self.under_way = None
        self.failure = None

    def run(self, server, stop):
        try:
            client = server.imap(self.account, timeout=20)
            # Unless a former round made it.
            client.command("CREATE Box")
            while True:
                self.step(client)
        except (OSError, Closed) as error:
            if not stop.is_set():
                self.failure = f"{self.name}: {error!r} before the kill"
        except (ImapError, AssertionError) as error:
            self.failure = f"{self.name}: {error}"

    def step(self, client):
        folder = self.rng.choice(list(self.folders))
        other = "Box" if folder == "INBOX" else "INBOX"
        messages = self.folders[folder]
        if len(messages) < 3 or (len(messages) < 60 and self.rng.random() < 0.4):
            return self.append(client, folder)
        client.must(f'SELECT "{folder}"')
        key = self.rng.choice(list(messages))
        uids = client.search(f'HEADER X-Key "{key}."')
        if len(uids) != 1:
            raise AssertionError(f"{key} is at {uids} in {folder}")
        act = self.rng.choice(("flag", "flag", "copy", "move", "expunge"))
        if act == "flag":
            flags = set(self.rng.sample(self.FLAGS, 2))
            self.ask(client, f"UID STORE {uids[0]} FLAGS ({' '.join(sorted(flags))})",
                     lambda it: it[folder].__setitem__(key, flags))
        elif act == "move" and key not in self.folders[other]:
            self.ask(client, f'UID MOVE {uids[0]} "{other}"', lambda it: it[other].__setitem__(key, it[folder].pop(key)))
        elif act == "copy" and key not in self.folders[other]:
            self.ask(client, f'UID COPY {uids[0]} "{other}"', lambda it: it[other].__setitem__(key, set(it[folder][key])))
        else:
            self.ask(client, rf"UID STORE {uids[0]} +FLAGS.SILENT (\Deleted)", lambda it: it[folder][key].add(r"\Deleted"))
            self.ask(client, f"UID EXPUNGE {uids[0]}", lambda it: it[folder].pop(key))

    def append(self, client, folder):
        batch = []
        for _ in range(self.rng.choice((1, 1, 4))):
            self.count += 1
            key = f"{self.name}-{self.count}"
            data = message(key + ".", size=self.rng.choice(SIZES))
            self.digests[key] = digest(data)
            batch.append((key, data))

        def done(it):
            for key, _ in batch:
                it[folder][key] = set()

        # MULTIAPPEND is all or nothing.
        self.ask(client, f'APPEND "{folder}"' + " %s" * len(batch), done, [data for _, data in batch])

    def ask(self, client, text, change, literals=()):
        after = {name: {key: set(flags) for key, flags in it.items()} for name, it in self.folders.items()}
        change(after)
        self.under_way = after
        client.must(text, *literals)
        self.folders, self.under_way = after, None

    def check(self, server):
        """What is there equals the model, or the model after the command that was under way."""
        client = server.imap(self.account)
        found = {}
        for folder in self.folders:
            if client.command(f'EXAMINE "{folder}"')[0] != "OK":
                found[folder] = {}
                continue
            got = {}
            for data in client.fetch("1:*", "(FLAGS BODY.PEEK[])").values():
                body = data["BODY[]"]
                key = re.search(rb"X-Key: (\S+)\.\r\n", body)[1].decode()
                if key in got:
                    raise Lost(f"{key} is twice in {folder} of {self.account}")
                if digest(body) != self.digests[key]:
                    raise Lost(f"{key} in {folder} of {self.account} is damaged")
                got[key] = {it for it in data["FLAGS"] if it != r"\Recent"}
            found[folder] = got
        client.logout()
        if found != self.folders and found != self.under_way:
            raise Lost(f"folders of {self.account} differ:\n{difference(self.folders, self.under_way, found)}")
        self.folders, self.under_way = found, None


def difference(before, after, found):
    lines = []
    for folder, got in found.items():
        for key in sorted({*before[folder], *got, *((after or before)[folder])}):
            three = [it[folder].get(key) if it else None for it in (before, after, found)]
            if three[2] not in three[:2]:
                lines.append(f"{folder} {key}: acknowledged {three[0]}, under way {three[1]}, found {three[2]}")
    return "\n".join(lines) or f"each is allowed, but not together: under way was {after is not None}"


def check_deliveries(server, book, rng):
    """Compares all mailboxes with the book, until what may need a moment has settled."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        found = {user: read_mailbox(server, book, user) for user in book.users}
        missing, partial = [], []
        for sent in book.sent.values():
            there = [user for user in sent.recipients if sent.key in found[user] or sent.key in book.expunged[user]]
            if sent.apart and not sent.answered:
                sent.recipients = there or sent.recipients
            if len(there) == len(sent.recipients):
                continue
            (missing if sent.answered else partial if there else []).append((sent.key, sent.recipients, there))
        if not missing and not partial:
            break
        if time.monotonic() > end:
            raise Lost(f"{len(missing)} answered messages are lost: {missing[:5]}; {len(partial)} are half there: {partial[:5]}")
        time.sleep(0.3)
    for sent in [it for it in book.sent.values() if not it.answered]:
        # It is settled: from now on it counts like an answered one, or must never show.
        if sent.key in found[sent.recipients[0]] or sent.key in book.expunged[sent.recipients[0]]:
            sent.answered = True
        else:
            del book.sent[sent.key]
    for user in rng.sample(book.users, len(book.users) // 2):
        client = server.imap(user)
        client.must("SELECT INBOX")
        if book.uids[user]:
            client.must(r"STORE 1:* +FLAGS.SILENT (\Deleted)")
            client.must("EXPUNGE")
        client.logout()
        book.expunged[user].update(found[user])
        book.uids[user] = {}


def read_mailbox(server, book, user):
    """The keys in a mailbox; every message is compared with what was sent, and UIDs with what they were before."""
    client = server.imap(user)
    validity = [it for it in client.must("EXAMINE INBOX") if "UIDVALIDITY" in str(it)]
    if book.validity.setdefault(user, validity) != validity:
        raise Lost(f"UIDVALIDITY of {user} changed: {book.validity[user]} to {validity}")
    known = book.uids[user]
    uids = client.search("ALL")
    gone = set(known) - set(uids)
    if gone:
        raise Lost(f"UIDs {sorted(gone)[:10]} of {user} are gone: {[known[it] for it in sorted(gone)[:10]]}")
    new = [it for it in uids if it not in known]
    for at in range(0, len(new), 100):
        got = client.fetch(",".join(map(str, new[at: at + 100])), "(BODY.PEEK[])")
        for uid, data in got.items():
            known[uid] = check_message(book, user, data["BODY[]"])
    client.logout()
    keys = list(known.values())
    if len(keys) != len(set(keys)):
        twice = sorted({it for it in keys if keys.count(it) > 1})
        raise Lost(f"twice in {user}: {twice[:10]}")
    again = set(keys) & book.expunged[user]
    if again:
        raise Lost(f"expunged from {user}, and back: {sorted(again)[:10]}")
    return set(keys)


def check_message(book, user, stored):
    found = re.search(rb"X-Key: (\S+)\r\n", stored)
    sent = book.sent.get(found[1].decode()) if found else None
    if not sent or user not in sent.recipients:
        raise Lost(f"in {user} is a message that nobody sent: {stored[:300]!r}")
    if digest(without_trace(stored)) != sent.digest:
        raise Lost(f"{sent.key} in {user} is damaged")
    return sent.key


def run(rounds, deliverers=64, readers=6, users=24, seed=None, server=None, crash=None, busy=(0.3, 2.0)):
    """Runs the rounds; raises `Lost` at the first broken promise. `crash(server)` ends the server and what was not synced."""
    seed = seed if seed is not None else int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    crash = crash or Server.kill
    with server or Server(store=SMALL_BUFFERS) as server:
        names = [f"u{i}" for i in range(users)]
        book = Book(server.accounts(*names))
        apart = [Reader(it, it.split("@")[0]) for it in server.accounts(*[f"r{i}" for i in range(readers)], add_domain=False)]
        for number in range(rounds):
            stop = threading.Event()
            threads = [threading.Thread(target=it.run, args=(server, stop), daemon=True) for it in apart]
            failures = []
            for index in range(deliverers):
                protocol = "lmtp" if index % 4 == 3 else "smtp"
                name = f"{seed}-{number}-{index}"
                threads.append(threading.Thread(target=guarded(failures, deliverer),
                                                args=(server, book, name, protocol, stop), daemon=True))
            for it in threads:
                it.start()
            time.sleep(rng.uniform(*busy))
            stop.set()
            crash(server)
            for it in threads:
                it.join(30)
                assert not it.is_alive(), "a client hangs though the server is gone"
            failures += [it.failure for it in apart if it.failure]
            assert not failures, failures[0]
            seconds = server.start()
            total = len(book.sent)
            answered = sum(it.answered for it in book.sent.values())
            try:
                for it in apart:
                    it.check(server)
                check_deliveries(server, book, rng)
            except ImapError as error:
                raise Lost(f"a mailbox or its account can't be read: {error}") from error
            print(f"round {number + 1}: {answered} answered of {total} sent so far, ready after {seconds:.2f} s", flush=True)
        assert server.stop() == 0


def guarded(failures, function):
    def call(*args):
        try:
            function(*args)
        except BaseException as error:  # noqa: BLE001
            failures.append(f"{args[2]}: {error!r}")
    return call


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 50 if soak() else 5,
        seed=int(sys.argv[2]) if len(sys.argv) > 2 else None)
    print("nothing that was acknowledged is lost")
