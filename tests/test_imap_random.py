"""Eight IMAP sessions on one mailbox over real sockets, each with a model of what it was told.

One thread picks sessions at random: an idle one sends a command, a busy one finishes its own, so that up to eight commands are
under way at once. Each session believes only what it hears (EXISTS, EXPUNGE, VANISHED, FETCH). The first wrong number, flag or
body fails: a message number that means another message, an EXPUNGE where none may be told (RFC 9051 7.5.1), a body that is not
the one that was appended, a flag that was never told, a session that disagrees with the others once all is quiet.
"""

import os
import random
import re

import pytest

from harness import ImapError, message, pairs, soak

SESSIONS = 8
STEPS = 6_000
MESSAGES_MAX = 40
SHARED_FLAGS = (r"\Seen", r"\Flagged", r"\Answered", "$Label")


class World:
    """What all sessions share: which body every UID has."""

    def __init__(self, rng):
        self.rng = rng
        self.key_of_uid = {}
        self.count = 0
        self.trail = []

    def learn(self, uid, key):
        known = self.key_of_uid.setdefault(uid, key)
        assert known == key, f"UID {uid} was {known} and is {key}"

    def new_message(self):
        self.count += 1
        key = f"random-{self.count}"
        return key, message(key, size=self.rng.choice((300, 1_000, 6_000, 90_000)))

    def body(self, key):
        # Sizes are drawn once; the bytes follow from the key.
        return self.bodies[key]

    bodies = {}


class Session:
    """A client and its view: UIDs by message number (None: not told yet), flags by UID."""

    def __init__(self, world, server, account, number):
        self.world, self.server, self.account, self.number = world, server, account, number
        self.own = f"Own{number}"
        self.qresync = number % 4 == 3
        self.condstore = number % 4 == 2
        self.tag = None
        self.kept = None
        self.connect()

    def connect(self):
        self.client = self.server.imap(self.account)
        self.client.on_untagged = self.on_untagged
        self.view, self.flags, self.mine = [], {}, {}
        self.doing = "SELECT"
        self.forbids_expunge = False
        self.wants = {}
        self.modseq = 0
        if self.qresync:
            self.client.must("ENABLE QRESYNC")
        elif self.condstore:
            self.client.must("ENABLE CONDSTORE")
        if self.kept:
            validity, modseq, uids, flags = self.kept
            self.view, self.flags = list(uids), dict(flags)
            self.resyncing = True
            self.client.must(f"SELECT INBOX (QRESYNC ({validity} {modseq}))")
            self.resyncing = False
            self.kept = None
        else:
            self.resyncing = False
            self.client.must("SELECT INBOX")
        self.refresh()

    def refresh(self):
        """Compares the view with a full look; learns what was never told."""
        self.forbids_expunge = True
        self.doing = "refresh"
        count = len(self.view)
        if count:
            self.client.must(f"FETCH 1:{count} (UID FLAGS)")
        known = self.view[:count]
        assert None not in known, "FETCH left numbers out"
        assert known == sorted(set(known)), f"UIDs do not ascend: {known}"
        self.forbids_expunge = False
        self.mine = {uid: self.own in flags for uid, flags in self.flags.items() if uid in self.view}

    # what the server tells

    def on_untagged(self, items):
        if items[0] == "BYE":
            if self.doing != "LOGOUT":
                raise AssertionError(f"BYE: {items}")
        elif len(items) > 1 and items[1] == "EXISTS":
            count = int(items[0])
            if self.resyncing:
                self.announced = count
                return
            assert count >= len(self.view), f"EXISTS went down from {len(self.view)} to {count}"
            self.view += [None] * (count - len(self.view))
        elif len(items) > 1 and items[1] == "EXPUNGE":
            number = int(items[0])
            assert not self.qresync, "EXPUNGE in place of VANISHED"
            assert not self.forbids_expunge, f"EXPUNGE in answer to {self.doing}"
            assert 1 <= number <= len(self.view), f"EXPUNGE {number} of {len(self.view)}"
            self.forget(self.view.pop(number - 1))
        elif items[0] == "VANISHED":
            self.on_vanished(items)
        elif len(items) > 1 and items[1] == "FETCH":
            self.on_fetch(int(items[0]), pairs(items[2]))
        elif items[0] == "OK":
            found = re.search(r"\[HIGHESTMODSEQ (\d+)\]", items[1])
            self.modseq = max(self.modseq, int(found[1])) if found else self.modseq
            found = re.search(r"\[UIDVALIDITY (\d+)\]", items[1])
            self.validity = int(found[1]) if found else getattr(self, "validity", 0)

    def on_vanished(self, items):
        assert self.qresync, "VANISHED without ENABLE QRESYNC"
        earlier = items[1] == ["EARLIER"]
        uids = numbers(items[2 if earlier else 1])
        assert earlier == self.resyncing or not uids, f"VANISHED in the wrong form: {items}"
        assert not self.forbids_expunge, f"VANISHED in answer to {self.doing}"
        for uid in uids:
            if uid in self.view:
                self.view.remove(uid)
                self.forget(uid)
            elif not earlier:
                del self.view[self.unknown_place(uid)]

    def unknown_place(self, uid):
        """Where a message whose UID was not told stands: between those that are known to be lower and higher."""
        low = max((i for i, it in enumerate(self.view) if it is not None and it < uid), default=-1)
        high = min((i for i, it in enumerate(self.view) if it is not None and it > uid), default=len(self.view))
        assert high - low > 1, f"VANISHED {uid} is not in view: {self.view}"
        return low + 1

    def forget(self, uid):
        self.flags.pop(uid, None)
        self.mine.pop(uid, None)

    def on_fetch(self, number, data):
        if self.resyncing and number > len(self.view):
            self.view += [None] * (number - len(self.view))
        assert 1 <= number <= len(self.view), f"FETCH of {number}, and there are {len(self.view)}"
        uid = self.view[number - 1]
        if "UID" in data:
            told = int(data["UID"])
            assert uid in (None, told), f"number {number} is UID {uid}, FETCH says {told}"
            self.view[number - 1] = uid = told
        if "FLAGS" in data and uid is not None:
            flags = frozenset(data["FLAGS"]) - {r"\Recent"}
            self.flags[uid] = flags
            if uid in self.mine:
                assert (self.own in flags) == self.mine[uid], f"{self.own} of UID {uid} should be {self.mine[uid]}: {flags}"
        if "MODSEQ" in data:
            self.modseq = max(self.modseq, int(data["MODSEQ"][0]))
        if "BODY[]" in data:
            key = re.search(rb"X-Key: (\S+)\r\n", data["BODY[]"])[1].decode()
            assert data["BODY[]"] == World.bodies[key], f"the body of {key} is damaged"
            assert uid is not None
            self.world.learn(uid, key)
            self.wants.pop(number, None)

    # what the client asks

    def step(self):
        if self.tag:
            self.finish()
        else:
            self.begin()

    def begin(self):
        rng = self.world.rng
        known = [(n, uid) for n, uid in enumerate(self.view, 1) if uid is not None]
        acts = ["noop", "append", "select", "idle", "search"]
        if known:
            acts += ["fetch", "fetch", "uidfetch", "store", "store", "uidstore", "expunge", "uidexpunge", "copy", "move", "uidsearch"]
        act = rng.choice(acts)
        if act == "append" and len(self.view) > MESSAGES_MAX:
            act = "noop"
        self.after = None
        self.forbids_expunge = False
        number, uid = rng.choice(known) if known else (0, 0)
        text, literals = getattr(self, f"do_{act}")(number, uid)
        self.doing = text
        self.world.trail.append((self.number, text))
        if text:
            self.tag = self.client.send(text, *literals)

    def do_noop(self, number, uid):
        return self.world.rng.choice(("NOOP", "CHECK")), ()

    def do_append(self, number, uid):
        mails = [self.world.new_message() for _ in range(self.world.rng.choice((1, 1, 3)))]
        World.bodies.update(mails)

        def after(said):
            found = re.search(r"\[APPENDUID \d+ (\S+)\]", said)
            assert found, said
            for new, (key, _) in zip(numbers(found[1]), mails, strict=True):
                self.world.learn(new, key)
        self.after = after
        return "APPEND INBOX" + " %s" * len(mails), [data for _, data in mails]

    def do_select(self, number, uid):
        """Leaves and comes back; with QRESYNC from what it knows."""
        self.client.must("NOOP")
        if self.qresync and None not in self.view:
            self.refresh_after_noop()
        self.client.on_untagged = None
        self.client.logout()
        self.connect()
        return None, ()

    def refresh_after_noop(self):
        if self.modseq and hasattr(self, "validity"):
            self.kept = (self.validity, self.modseq, list(self.view), dict(self.flags))

    def do_idle(self, number, uid):
        return "IDLE", ()

    def do_search(self, number, uid):
        self.forbids_expunge = True
        return self.world.rng.choice(("SEARCH ALL", "SEARCH UNSEEN", rf"SEARCH KEYWORD {self.own}")), ()

    def do_uidsearch(self, number, uid):
        self.forbids_expunge = self.world.rng.random() < 0.5
        return (f"UID SEARCH {number}" if self.forbids_expunge else rf"UID SEARCH KEYWORD {self.own}"), ()

    def do_fetch(self, number, uid):
        self.forbids_expunge = True
        self.wants = {number: uid}
        return f"FETCH {number} (UID BODY.PEEK[])", ()

    def do_uidfetch(self, number, uid):
        # May or may not come with expunges; RFC 9051 allows them for UID FETCH.
        return f"UID FETCH {uid} (FLAGS BODY.PEEK[])", ()

    def _store(self, command, which, uid):
        rng = self.world.rng
        on = rng.random() < 0.5
        sign = "+" if on else "-"
        if rng.random() < 0.5:
            if uid in self.mine:
                self.mine[uid] = on
            return f"{command} {which} {sign}FLAGS ({self.own})", ()
        return f"{command} {which} {sign}FLAGS ({rng.choice(SHARED_FLAGS)})", ()

    def do_store(self, number, uid):
        self.forbids_expunge = True
        return self._store("STORE", number, uid)

    def do_uidstore(self, number, uid):
        return self._store("UID STORE", uid, uid)

    def do_expunge(self, number, uid):
        # Marks one and expunges all that anybody marked.
        return rf"UID STORE {uid} +FLAGS.SILENT (\Deleted)", ()

    def do_uidexpunge(self, number, uid):
        return self.world.rng.choice((f"UID EXPUNGE {uid}", "EXPUNGE")), ()

    def do_copy(self, number, uid):
        if len(self.view) > MESSAGES_MAX:
            return "NOOP", ()
        return f"UID COPY {uid} INBOX", ()

    def do_move(self, number, uid):
        return f"UID MOVE {uid} Elsewhere", ()

    def finish(self):
        tag, self.tag = self.tag, None
        if self.doing == "IDLE":
            assert self.client.response()[0] == "+"
            self.client.line.send(b"DONE\r\n")
        kind, said, _ = self.client.finish(tag)
        if self.doing.startswith("UID COPY") and kind == "OK" and "COPYUID" in said:
            _, old, new = re.search(r"\[COPYUID (\d+) (\S+) (\S+)\]", said).groups()
            for a, b in zip(numbers(old), numbers(new), strict=True):
                if a in self.world.key_of_uid:
                    self.world.learn(b, self.world.key_of_uid[a])
        # Expunged elsewhere and not told yet: a change of its flags may be refused, reading it may not.
        lenient = self.doing.startswith(("STORE", "UID STORE", "UID COPY", "UID MOVE"))
        assert kind == "OK" or (lenient and kind == "NO"), f"{self.doing}: {kind} {said}"
        if self.doing.startswith("FETCH"):
            assert not self.wants, f"{self.doing} returned no body: a message not told as expunged stays readable"
        found = re.search(r"\[HIGHESTMODSEQ (\d+)\]", said)
        self.modseq = max(self.modseq, int(found[1])) if found else self.modseq
        silent = re.match(r"UID STORE (\d+) \+FLAGS\.SILENT", self.doing)
        if silent and kind == "OK" and int(silent[1]) in self.flags:
            # Not told, so assumed; nobody takes it back.
            self.flags[int(silent[1])] |= {r"\Deleted"}
        if self.after:
            self.after(said)
        self.forbids_expunge = False
        self.wants = {}
        self.doing = ""


def numbers(text):
    out = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        ends = sorted((int(first), int(last or first)))
        out += range(ends[0], ends[1] + 1)
    return out


def settle(sessions):
    """All quiet: everybody is told everything, then all views are equal, and equal to a fresh look."""
    for it in sessions:
        if it.tag:
            it.finish()
    for it in sessions:
        it.doing = "NOOP"
        it.client.must("NOOP")
        told = {uid: it.flags.get(uid) for uid in it.view if uid is not None}
        had_flags = dict(it.flags)
        it.refresh()
        for uid, flags in told.items():
            if flags is not None:
                assert it.flags[uid] == had_flags[uid], f"session {it.number} was told {had_flags[uid]} of UID {uid}: {it.flags[uid]}"
    first = sessions[0]
    for it in sessions[1:]:
        assert it.view == first.view, f"sessions {first.number} and {it.number} see different messages"
        assert {u: it.flags[u] for u in it.view} == {u: first.flags[u] for u in it.view}, "flags differ between sessions"
    bodies = first.client.fetch("1:*", "(BODY.PEEK[])") if first.view else {}
    assert sorted(bodies) == first.view


@pytest.mark.parametrize("seed", range(1, 21) if soak() else (1, 2))
def test_eight_sessions_on_one_mailbox(fresh, seed):
    seed = int(os.environ.get("HIKYAKU_SEED", seed))
    world = World(random.Random(seed))
    (account,) = fresh.accounts("random")
    setup = fresh.imap(account)
    setup.must("CREATE Elsewhere")
    setup.logout()
    sessions = [Session(world, fresh, account, number) for number in range(SESSIONS)]
    try:
        for step in range(STEPS // 2):
            current = world.rng.choice(sessions)
            current.step()
            if step % 500 == 499:
                settle(sessions)
        settle(sessions)
    except (AssertionError, ImapError) as error:
        trail = "\n".join(f"  session {n}: {text}" for n, text in world.trail[-30:])
        raise AssertionError(f"seed {seed}, session {current.number} ({current.doing}): {error}\n{trail}") from error
    for it in sessions:
        it.doing = "LOGOUT"
        it.client.logout()
