"""The full-text index, from outside: searches say the same with it, before it, without it, and after whatever happens to it."""

import os
import shutil

import pytest

from cluster import Cluster
from harness import DOMAIN, Server, eventually
from test_disk_full import SPACE, Small

WORDS = ["invoice", "budget", "meeting", "Straße", "東京都", "привет", "rfc2822", "can't"]


def letter(number):
    """Message `number` has the words of the bits of its number."""
    words = " ".join(word for bit, word in enumerate(WORDS) if number >> bit & 1)
    return (
        f"From: sender@{DOMAIN}\r\nTo: reader@{DOMAIN}\r\nSubject: number n{number:04d}\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\nText begins {words} and ends.\r\n"
    ).encode()


def holders(word, numbers):
    bit = WORDS.index(word)
    return [number for number in numbers if number >> bit & 1]


def search(imap, text, key="BODY"):
    kind, rest, untagged = imap.command(f"UID SEARCH CHARSET UTF-8 {key} %s", text.encode())
    assert kind == "OK", rest
    return [int(uid) for items in untagged if items and items[0] == "SEARCH" for uid in items[1:]]


def assert_right(server, user, numbers):
    """What is asked of every test: UIDs are numbers + 1, for all is delivered in order."""
    imap = server.imap(user)
    imap.must("SELECT INBOX")
    expected = {word: [number + 1 for number in holders(word, numbers)] for word in WORDS}
    for word, uids in expected.items():
        assert search(imap, word) == uids, word
        assert search(imap, word, "TEXT") == uids, word
    # Inside a word, over its ends, in another case, and what is nowhere.
    assert search(imap, "nvoic") == expected["invoice"]
    assert search(imap, "begins inv") == [number + 1 for number in numbers if number & 1]
    assert search(imap, "STRASSE") == expected["Straße"]
    assert search(imap, "京都 and") == [
        number + 1 for number in numbers if number >> 4 & 1 and not number >> 5 & 7
    ]
    assert search(imap, "absent") == []
    imap.logout()


def deliver(server, user, numbers):
    imap = server.imap(user)
    for number in numbers:
        imap.append("INBOX", letter(number))
    imap.logout()


def index(server, *words):
    return server.cli_json("index", *(words or ("status",)))


def follower(server):
    """How far the extension is that keeps the index."""
    return next(it for it in server.cli_json("status")["extensions"] if it["name"] == "index")


def until_at_rest(server, mailboxes):
    def at_rest():
        seen = follower(server)
        return seen["mailboxes"] == mailboxes and seen["behind"] == 0

    eventually(at_rest, 60, f"{mailboxes} mailboxes with nothing that is not indexed")
    return follower(server)


def until_indexed(server, messages, seconds=60):
    def indexed():
        seen = index(server)
        return seen["messages"] == messages and seen["due"] == 0 and not seen["off"]

    eventually(indexed, seconds, f"{messages} messages in the index")


def assert_decides(server, user, numbers):
    """One word is answered by the index alone."""
    before = index(server)
    imap = server.imap(user)
    imap.must("SELECT INBOX")
    assert search(imap, "budget") == [number + 1 for number in holders("budget", numbers)]
    imap.logout()
    after = index(server)
    asked = after["asked"] - before["asked"]
    assert asked == after["decided"] - before["decided"] == len(numbers), (before, after)


@pytest.fixture
def node():
    with Server() as server:
        server.user = server.accounts("ann")[0]
        yield server


def test_mail_is_found_at_once_and_then_by_the_index(node):
    for first, last in ((0, 40), (40, 90)):
        deliver(node, node.user, range(first, last))
        assert_right(node, node.user, range(last))
        until_indexed(node, last)
        assert_right(node, node.user, range(last))
        assert_decides(node, node.user, range(last))
    status = node.cli_json("status")
    assert [it for it in status["extensions"] if it["name"] == "index" and it["connected"]], status["extensions"]
    shown = node.cli("index", "status").stdout
    assert "90 messages" in shown, shown


def test_it_survives_restarts_and_deletion(node):
    deliver(node, node.user, range(60))
    until_indexed(node, 60)
    node.stop()
    node.start()
    until_indexed(node, 60)
    assert_decides(node, node.user, range(60))
    assert index(node)["added"] == 0, "what was indexed is not indexed again"
    node.stop()
    shutil.rmtree(os.path.join(node.data, "index"))
    node.start()
    assert_right(node, node.user, range(60))
    until_indexed(node, 60)
    assert_decides(node, node.user, range(60))
    # Damage is found at the start.
    node.stop()
    for path, _, names in os.walk(os.path.join(node.data, "index")):
        for name in names:
            if name.endswith(".idx"):
                with open(os.path.join(path, name), "r+b") as file:
                    file.seek(3)
                    file.write(b"\xff\xfe")
    node.start()
    assert_right(node, node.user, range(60))
    until_indexed(node, 60)
    assert_right(node, node.user, range(60))


def test_a_start_looks_at_nothing_that_is_indexed(node):
    others = node.accounts("bob", "eve", add_domain=False)
    deliver(node, node.user, range(60))
    deliver(node, others[0], range(9))
    until_indexed(node, 69)
    # Events that are for no index: what is taken moves its place, too.
    imap = node.imap(node.user)
    imap.must("SELECT INBOX")
    imap.must("UID STORE 1:9 +FLAGS.SILENT (\\Seen)")
    imap.logout()
    until_at_rest(node, 3)
    node.stop()
    node.start()
    seen = until_at_rest(node, 3)
    assert (seen["resets"], seen["given"], index(node)["added"]) == (0, 0, 0), seen
    assert_decides(node, node.user, range(60))
    # Killed with mail that nobody has indexed: that is found, and nothing else is looked at.
    deliver(node, others[1], range(30))
    node.kill()
    node.start()
    until_at_rest(node, 3)
    until_indexed(node, 99)
    assert follower(node)["resets"] == 0
    assert index(node)["added"] <= 30, "what was indexed is not indexed again"
    assert_decides(node, others[1], range(30))


def test_a_disk_with_little_room_is_left_to_mail():
    with Small("256m") as place, Server(dir=place, store=SPACE) as server:
        user = server.accounts("ann")[0]
        deliver(server, user, range(60))
        until_indexed(server, 60)
        server.stop()
        shutil.rmtree(os.path.join(server.data, "index"))
        filler, state = os.path.join(place, "filler"), os.statvfs(place)
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - (30 << 20))
        server.start()
        eventually(lambda: "free space" in (index(server).get("error") or ""), 60, "an index that waits for room")
        assert index(server)["messages"] == 0
        assert_right(server, user, range(60))
        os.remove(filler)
        until_indexed(server, 60)
        assert_decides(server, user, range(60))
        assert not index(server).get("error")


def test_killed_while_it_indexes(node):
    # More than one step of the indexer: when the first is committed the second is under way.
    deliver(node, node.user, range(2500))
    for _ in range(2):
        node.cli_json("index", "rebuild")
        before = index(node)["added"]
        eventually(lambda: index(node)["added"] > before, 60, "some of the index")
        node.kill()
        node.start()
        assert_right(node, node.user, range(2500))
    until_indexed(node, 2500)
    assert_right(node, node.user, range(2500))


def test_dropped_and_rebuilt_online(node):
    deliver(node, node.user, range(50))
    until_indexed(node, 50)
    assert index(node, "drop")["off"]
    eventually(lambda: index(node)["messages"] == 0, 20, "an index that is gone")
    assert_right(node, node.user, range(50))
    before = until_at_rest(node, 1)
    deliver(node, node.user, range(50, 60))
    assert_right(node, node.user, range(60))
    assert until_at_rest(node, 1)["given"] == before["given"], "nobody is told of anything"
    node.stop()
    node.start()
    assert index(node)["off"], "it stays dropped"
    after = until_at_rest(node, 1)
    assert after["given"] == after["resets"] == 0, after
    index(node, "rebuild")
    until_indexed(node, 60)
    assert_right(node, node.user, range(60))
    assert_decides(node, node.user, range(60))


def test_what_was_expunged_is_not_found(node):
    deliver(node, node.user, range(256))
    until_indexed(node, 256)
    imap = node.imap(node.user)
    imap.must("SELECT INBOX")
    imap.must("UID STORE 1:200 +FLAGS.SILENT (\\Deleted)")
    imap.must("EXPUNGE")
    imap.logout()
    assert_right(node, node.user, range(200, 256))
    eventually(lambda: index(node)["messages"] == 56, 60, "an index without what was expunged")
    assert_right(node, node.user, range(200, 256))


def test_nobody_finds_the_mail_of_another(node):
    other = node.accounts("bob", add_domain=False)[0]
    deliver(node, node.user, range(0, 64))
    deliver(node, other, [1, 2, 3])
    until_indexed(node, 67)
    imap = node.imap(other)
    imap.must("SELECT INBOX")
    assert search(imap, "invoice") == [1, 3]
    assert search(imap, "привет") == []
    imap.logout()
    assert_right(node, node.user, range(64))


def test_it_moves_with_the_mailbox():
    with Cluster() as cluster:
        cluster.until_whole()
        first = next(iter(cluster.nodes.values()))
        user = first.accounts("ann")[0]
        deliver(first, user, range(60))
        master = cluster.master(user)
        eventually(lambda: index(master)["messages"] == 60, 60, "the index of the master")
        target = next(node for node in cluster.nodes.values() if node is not master)
        first.cli_json("move", user, "--to", target.name)
        eventually(lambda: cluster.master(user) is target, 30, "the new master")
        assert_right(first, user, range(60))
        eventually(lambda: index(target)["messages"] == 60, 60, "the index of the new master")
        eventually(lambda: index(master)["messages"] == 0, 60, "nothing of it at the old one")
        assert_decides(target, user, range(60))
        # The master dies: whoever comes after it has to index, and finds all meanwhile.
        target.kill()
        alive = next(node for node in cluster.nodes.values() if node is not target)
        eventually(lambda: cluster.master(user) is not target, 30, "another master")
        assert_right(alive, user, range(60))
