"""Three nodes are one service, and go on when one of them ends."""

import json
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster import Cluster, free_ports
from cluster_load import Sender, check_mail
from harness import DOMAIN, PASSWORD, Closed, Line, Server, eventually, message, soak

USERS = ("ann", "bob", "carol", "dave")


@pytest.fixture
def three():
    with Cluster() as cluster:
        cluster.until_whole()
        cluster.addresses_of_users = cluster["a"].accounts(*USERS)
        yield cluster


def test_mail_sent_to_one_node_is_read_on_every_other(three):
    for name, to in zip("abc", three.addresses_of_users):
        assert three[name].smtp().deliver(message(f"one-{name}"), to)[0] == 250
        assert three[name].smtp().deliver(message(f"all-{name}"), list(three.addresses_of_users))[0] == 250
    for name in "abc":
        for index, address in enumerate(three.addresses_of_users):
            wanted = {f"all-{other}" for other in "abc"} | ({f"one-{'abc'[index]}"} if index < 3 else set())

            def keys():
                imap = three[name].imap(address)
                found = {b.split(b"X-Key: ", 1)[1].split(b"\r\n")[0].decode() for b in imap.bodies().values()}
                imap.logout()
                return found == wanted

            eventually(keys, what=f"all mail of {address} on node {name}")


@pytest.mark.parametrize("round", range(12 if soak() else 2))
def test_nothing_is_lost_when_a_node_dies_under_load(three, round):
    """The master of a mailbox is killed while senders send and a session idles; then it comes back."""
    watched = three.addresses_of_users[0]
    victim = three.master(watched)
    others = [three[name] for name in "abc" if name != victim.name]
    imap = others[0].imap(watched)
    imap.must("SELECT INBOX")
    before = imap.search("ALL")
    tag = imap.send("IDLE")
    assert imap.response()[0] == "+"
    senders = [Sender(others[i % 2], to) for i, to in enumerate(three.addresses_of_users)]
    time.sleep(1 + round % 3 / 3)
    victim.kill()
    time.sleep(6)
    for other in others:
        assert re.search(rf"node lost.*\bnode\W+{victim.name}\b", other.log()), "by its name"
    # It still is told: by the new master.
    told = len(senders[0].acknowledged)
    for sender in senders:
        sender.end()
    imap.line.send(b"DONE\r\n")
    kind, _, untagged = imap.finish(tag)
    assert kind == "OK"
    counts = [int(items[0]) for items in untagged if len(items) > 1 and items[1] == "EXISTS"]
    assert counts and counts[-1] >= len(before) + told // 2, (counts, told)
    assert imap.search("ALL") == sorted(imap.search("ALL"))
    imap.logout()
    assert all(len(sender.acknowledged) > 20 for sender in senders), [len(s.acknowledged) for s in senders]
    check_mail(others[1], senders)
    victim.start()
    three.until_whole()
    check_mail(victim, senders)


def test_a_node_that_stood_still_takes_nothing_back(three):
    """A master is stopped for longer than every lease; what others acknowledged meanwhile stays."""
    address = three.addresses_of_users[0]
    master = three.master(address)
    other = next(three[name] for name in "abc" if name != master.name)
    assert other.smtp().deliver(message("before"), address)[0] == 250
    master.pause()
    try:
        sender = Sender(other, address)
        time.sleep(6)
        assert len(sender.acknowledged) > 10, "the others go on without it"
    finally:
        master.go_on()
    sender.end()
    three.until_whole()
    check_mail(master, [sender])
    check_mail(other, [sender])


def test_a_mailbox_moves_under_an_open_session(three):
    address = three.addresses_of_users[1]
    imap = three["a"].imap(address)
    imap.must("SELECT INBOX")
    for count, name in enumerate(["b", "c", "a", "b"], start=1):
        moved = three["c"].cli_json("move", address, "--to", name)
        assert moved["to"] == name
        assert three.master(address).name == name
        imap.append("INBOX", message(f"on-{name}-{count}"))
        assert len(imap.search("ALL")) == count
    imap.logout()
    assert three["a"].cli("move", address, "--to", "nobody", code=1).stderr.count("nobody") == 1


def test_a_node_that_lost_its_disk_is_filled_again(three):
    senders = [Sender(three["a"], to) for to in three.addresses_of_users]
    time.sleep(1)
    three["c"].kill()
    three["c"].wipe()
    time.sleep(2)
    three["c"].start()
    for sender in senders:
        sender.end()
    three.until_whole()
    # Now the copies of the new disk have to serve.
    three["a"].kill()
    three["b"].kill()
    three["b"].start()
    check_mail(three["c"], senders)


def test_a_node_is_drained_and_removed(three):
    assert three["a"].smtp().deliver(message("one"), three.addresses_of_users[0])[0] == 250
    refused = three["a"].cli("node", "remove", "c", code=1).stderr
    assert "still holds partitions" in refused
    three["a"].cli("node", "drain", "c")
    three["a"].cli("node", "remove", "c")
    assert eventually(lambda: not three["c"].is_alive(), 30, "a removed node stops")
    assert [node["name"] for node in three.status()["nodes"]] == ["a", "b"]
    imap = three["b"].imap(three.addresses_of_users[0])
    assert len(imap.bodies()) == 1


def test_a_single_node_grows_without_export_and_import():
    with Cluster(names=("a",)) as cluster:
        addresses = cluster["a"].accounts(*USERS)
        imap = cluster["a"].imap(addresses[0])
        for count in range(50):
            imap.append("INBOX", message(f"early-{count}", size=5_000))
        cluster["a"].stop()
        cluster.list(("a", "b", "c"))
        cluster.start("a", "b", "c")
        cluster["a"].cli("node", "join", "b")
        cluster["a"].cli("node", "join", "c")
        cluster.until_whole()
        cluster["a"].kill()

        def readable():
            try:
                return len(cluster["b"].imap(addresses[0], PASSWORD).bodies()) == 50
            except (Closed, OSError, AssertionError):
                return False

        eventually(readable, 20, "that the others serve what the first node had")


def test_a_rolling_restart_refuses_no_delivery(three):
    senders = [Sender(three["a"], to) for to in three.addresses_of_users]
    time.sleep(0.5)
    for name in "bc":
        assert three[name].stop() == 0
        three[name].start()
        three.until_whole()
    for sender in senders:
        sender.end()
        assert not sender.refused, sender.refused
    check_mail(three["b"], senders)


def netstring(line, text):
    line.send(b"%d:%s," % (len(text), text))
    size = b""
    while not size.endswith(b":"):
        size += line.exactly(1)
    answer = line.exactly(int(size[:-1]))
    assert line.exactly(1) == b","
    return answer.decode()


def test_postfix_is_told_who_exists_and_which_node_has_the_mail():
    ports = free_ports(1)
    listen = f'socketmap = "127.0.0.1:{ports[0]}"'
    with Server(extra_listen=listen) as server:
        (ann,) = server.accounts("ann")
        server.cli("alias", "add", f"sales@{DOMAIN}", ann)
        line = Line(socket.create_connection(("127.0.0.1", ports[0])))
        assert netstring(line, b"recipient " + ann.encode()) == f"OK {ann}"
        assert netstring(line, f"recipient sales@{DOMAIN}".encode()) == f"OK sales@{DOMAIN}"
        for key in (f"nobody@{DOMAIN}", DOMAIN, f"@{DOMAIN}", "ann", "ann@elsewhere.test"):
            assert netstring(line, b"recipient " + key.encode()) == "NOTFOUND ", key
        assert netstring(line, b"transport " + ann.encode()) == f"OK lmtp:inet:127.0.0.1:{server.ports['lmtp']}"
        assert netstring(line, b"other " + ann.encode()).startswith("PERM ")
        # What is no request ends that connection, and no other.
        rude = Line(socket.create_connection(("127.0.0.1", ports[0])))
        rude.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(Closed):
            rude.line()
        assert netstring(line, b"recipient " + ann.encode()) == f"OK {ann}"


def spoil_bodies(node, pattern):
    """Changes one byte of each body with `pattern` in the files of a stopped node. How many."""
    spoiled = 0
    for at, _, names in os.walk(os.path.join(node.data, "store")):
        for name in names:
            if not name.endswith(".blob"):
                continue
            with open(os.path.join(at, name), "r+b") as f:
                for found in re.finditer(pattern, f.read()):
                    f.seek(found.end())
                    byte = f.read(1)
                    f.seek(found.end())
                    f.write(bytes([byte[0] ^ 0x40]))
                    spoiled += 1
    return spoiled


def scrub_everything(cluster, name):
    """Rounds, until one missed no partition: the sums of what they found, and what the last one looked at."""
    found = {"differences": 0, "repaired": 0, "undecided": 0}
    for _ in range(6):
        cluster.until_whole()
        done = cluster[name].cli("--json", "scrub", code=None)
        reply = json.loads(done.stdout)
        assert reply["missed_nodes"] == []
        clean = reply["round"]["differences"] == reply["round"]["unfinished"] == 0
        assert done.returncode == (0 if clean else 1), reply
        for what in found:
            found[what] += reply["round"][what]
        if reply["round"]["unfinished"] == 0:
            return found, reply["round"]
    raise AssertionError(f"no round came to its end; the last: {reply}")


def test_a_scrub_says_that_a_partition_has_changed_hands():
    # Slow enough for a move meanwhile.
    with Cluster(extra='scrub_rate = "128 KiB"') as cluster:
        cluster.until_whole()
        (ann,) = cluster["a"].accounts("ann")
        for number in range(6):
            assert cluster["a"].smtp().deliver(message(f"large-{number}", size=100_000), ann)[0] == 250
        cluster.until_whole()
        with ThreadPoolExecutor() as pool:
            round = pool.submit(cluster["a"].cli, "scrub", code=1)
            time.sleep(1)
            target = next(node for node in cluster.nodes.values() if node is not cluster.master(ann))
            cluster["b"].cli("move", ann, "--to", target.name)
            assert not round.done()
            told = round.result().stdout
        assert re.search(r" 0 differences, 0 repaired, [0-9]+ partitions not compared to their end", told), told
        assert "scrub again" in told
        scrub_everything(cluster, "a")


def test_a_scrub_finds_what_a_disk_has_changed_and_has_it_built_anew(three):
    senders = [Sender(three["a"], to) for to in three.addresses_of_users]
    eventually(lambda: all(len(sender.acknowledged) > 20 for sender in senders), 60, "twenty messages each")
    for sender in senders:
        sender.end()
    found, last = scrub_everything(three, "b")
    # One after the other: 32 partitions have one primary each.
    assert found["differences"] == 0 and last["partitions"] == 32 and last["bytes"] > 1_000_000
    three["c"].stop()
    assert spoil_bodies(three["c"], rb"This is Sender-[0-9]+-a-[0-9]*7\.") >= len(USERS)
    three["c"].start()
    found, _ = scrub_everything(three, "a")
    assert found["differences"] > 0 and found["repaired"] > 0 and found["undecided"] == 0
    assert sum(three[name].cli_json("status")["scrub"]["all"]["repaired"] for name in three.nodes) == found["repaired"]
    told = [line for name in three.nodes for line in three[name].cli_json("status")["scrub"]["findings"]]
    assert any("on node 3" in line and "a checksum is wrong" in line for line in told), told
    assert scrub_everything(three, "a")[0]["differences"] == 0
    assert all(three[name].cli_json("check")["findings"] == [] for name in three.nodes)
    # The copies of that node have to serve.
    three["a"].kill()
    three["b"].kill()
    three["b"].start()
    check_mail(three["c"], senders)
