"""Operating a whole cluster: backup and restore, a lost majority, checks, sessions and status of all nodes, body search."""

import re
import socket
import time

import pytest

from cluster import Cluster
from harness import PASSWORD, Closed, eventually, message
from survival.restored import Cache
from cluster_load import Sender, check_mail
from test_cluster import USERS, three  # noqa: F401
from test_command_line import spoil


def crash(cluster, names, wipe=True):
    for name in names:
        if cluster[name].process and cluster[name].is_alive():
            cluster[name].kill()
        cluster[name].ports = {}
        if wipe:
            cluster[name].wipe()


def copies_of(cluster, name):
    """Partitions of which a node has a replica in sync."""
    return next(node["in_sync"] for node in cluster.status()["nodes"] if node["name"] == name)


def senders_for(cluster, names):
    """One for each mailbox, through these nodes."""
    return [Sender(cluster[names[i % len(names)]], to) for i, to in enumerate(cluster.addresses_of_users)]


def end_after(senders, least):
    eventually(lambda: all(len(it.acknowledged) >= least for it in senders), 60, f"{least} deliveries each")
    for sender in senders:
        sender.end()


class Promised:
    """What was acknowledged up to now."""

    def __init__(self, sender):
        self.to, self.folder, self.stored = sender.to, sender.folder, sender.stored
        self.acknowledged = dict(sender.acknowledged)


# --- backup and restore -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alone", [False, True], ids=["on every host", "on one host"])
def test_a_backup_of_the_cluster_is_a_valid_store_and_clients_converge(three, tmp_path, alone):  # noqa: F811
    place = str(tmp_path / "backup")
    cached = three.addresses_of_users[0]
    senders = senders_for(three, "abc")
    cache = Cache(cached)
    eventually(lambda: all(len(it.acknowledged) >= 10 for it in senders), 60, "ten deliveries each")
    cache.sync(three["b"])
    promised = [Promised(sender) for sender in senders]
    report = three["b"].cli_json("backup", place)
    assert report["findings"] == []
    assert sorted(it["answer"]["node"] for it in report["nodes"]) == ["a", "b", "c"]
    assert all(it["answer"]["silent"] is None and it["files"] for it in report["nodes"])
    three["b"].cli("backup", place, code=1)
    # The time that will be lost: clients see it.
    end_after(senders, len(senders[0].acknowledged) + 5)
    for name in "abc":
        assert three[name].cli("check", "--offline", "--data", f"{place}/{name}").stdout
    cache.sync(three["c"])
    lost = max(cache.seen)
    crash(three, "abc")
    if alone:
        three["b"].cli("restore", place, "--alone")
        three.start("b")
    else:
        for name in "abc":
            three[name].cli("restore", place)
        three.start("a", "b", "c")
        three.until_whole(seconds=60)
    check_mail(three["b"], promised)
    later = senders_for(three, "b" if alone else "abc")
    end_after(later, 5)
    cache.sync(three["b"])
    cache.compare(three["b"])
    new = {key for sender in later if sender.to == cached for key in sender.acknowledged}
    after = [uid for uid, (_, body) in cache.messages.items() if body.split(b"X-Key: ", 1)[1].split(b"\r\n")[0].decode() in new]
    assert len(after) == len(new) and min(after) > lost
    if alone:
        # The others join with empty data directories, and hold everything then.
        three.start("a", "c")
        three.until_whole(seconds=60)
        crash(three, "b", wipe=False)
        eventually(lambda: readable(three["c"], cached), 30, "the joined nodes serve")
        cache.sync(three["c"])
        cache.compare(three["c"])
    check_mail(three["c"], promised + later)


def readable(node, address):
    try:
        node.imap(address, PASSWORD).must("EXAMINE INBOX")
        return True
    except (Closed, OSError, AssertionError):
        return False


def test_a_restored_cluster_does_not_begin_beside_the_one_it_came_from(three, tmp_path):  # noqa: F811
    place = str(tmp_path / "backup")
    three["a"].cli("backup", place)
    founder = "a"
    crash(three, founder)
    three[founder].cli("restore", place, "--alone")
    three[founder].start(wait=False)
    assert three[founder].process.wait(30) == 1
    assert "the backup was taken of" in three[founder].log()
    others = [three[name] for name in "bc"]
    assert all(node.is_alive() for node in others)
    assert others[0].smtp().deliver(message("still here"), three.addresses_of_users[0])[0] == 250
    # Emptied it joins what there is.
    three[founder].wipe()
    three[founder].start()
    three.until_whole()


# --- a lost majority ----------------------------------------------------------------------------------------------------


def test_nothing_acknowledged_is_lost_with_two_of_three_disks(three):  # noqa: F811
    senders = senders_for(three, "a")
    eventually(lambda: all(len(it.acknowledged) >= 15 for it in senders), 60, "fifteen deliveries each")
    for name in "bc":
        three[name].process.kill()
    crash(three, "bc")
    three["a"].kill()
    for sender in senders:
        sender.stop()
    promised = [Promised(sender) for sender in senders]
    three["a"].ports = {}
    told = three["a"].cli("node", "unsafe-recover", code=1).stdout
    assert "nothing was changed" in told and "without b, c" in told and "0 of 32 partitions" in told
    done = three["a"].cli_json("node", "unsafe-recover", "--yes-i-lose-what-only-the-others-had")
    assert done["done"] and done["dropped"] == ["b", "c"] and done["lost"] == []
    three["a"].start()
    check_mail(three["a"], promised)
    alone = senders_for(three, "a")
    end_after(alone, 5)
    # It grows to three again.
    three.start("b", "c")
    three["a"].cli("node", "join", "b")
    three["a"].cli("node", "join", "c")
    three.until_whole()
    grown = senders_for(three, "abc")
    end_after(grown, 5)
    crash(three, "a", wipe=False)
    eventually(lambda: readable(three["b"], three.addresses_of_users[0]), 30, "the others serve without the first")
    check_mail(three["c"], promised + alone + grown)


def test_nodes_of_before_are_refused_after_a_recovery(three):  # noqa: F811
    assert three["a"].smtp().deliver(message("one"), three.addresses_of_users[0])[0] == 250
    crash(three, "abc", wipe=False)
    three["c"].cli("node", "unsafe-recover", "--yes-i-lose-what-only-the-others-had")
    three["c"].start()
    for name in "ab":
        three[name].start(wait=False)
    for name in "ab":
        assert three[name].process.wait(30) == 1
        assert "recovered without this node" in three[name].log()
    assert three["c"].is_alive()
    assert len(three["c"].imap(three.addresses_of_users[0]).bodies()) == 1


def answers(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
        return True
    except OSError:
        return False


def test_two_of_five_go_on_with_what_they_hold():
    """Three voters of five are lost, and of every partition a copy is left: those that are kept come in with theirs."""
    with Cluster(names=("a", "b", "c", "d", "e"), settings={"replicas": "4"}) as five:
        five.until_whole(seconds=60)
        five.addresses_of_users = five["a"].accounts(*USERS)
        senders = senders_for(five, "abcde")
        end_after(senders, 8)
        crash(five, "bcd")
        crash(five, "ae", wipe=False)
        done = five["e"].cli_json("node", "unsafe-recover", "--with", "a", "--yes-i-lose-what-only-the-others-had")
        assert done["lost"] == [] and done["kept"] == ["a", "e"]
        # The recovered node first: a node that is kept must find it when it starts.
        five["e"].start(wait=False)
        eventually(lambda: answers(five.addresses["e"]), 30, "the recovered node answers others")
        five["a"].start(wait=False)
        for name in "ea":
            five[name]._read_until_ready(time.monotonic())
        eventually(lambda: five["e"].cli_json("status", code=None)["partitions"]["unavailable"] == 0, 30, "both serve")
        check_mail(five["a"], senders)
        five.start("b", "c", "d")
        five.until_whole(seconds=90)
        more = senders_for(five, "bcd")
        end_after(more, 5)
        check_mail(five["c"], senders + more)


def test_partitions_without_an_intact_copy_are_told_and_begin_empty():
    with Cluster(names=("a", "b", "c", "d"), settings={"replicas": "2", "min_in_sync": "2"}) as four:
        four.until_whole(seconds=60)
        four.addresses_of_users = four["a"].accounts(*USERS)
        # The founder has a copy of everything at first.
        eventually(lambda: copies_of(four, "a") < 32, 60, "that the founder keeps its share")
        four.until_whole(seconds=60)
        crash(four, "bcd")
        crash(four, "a", wipe=False)
        told = four["a"].cli_json("node", "unsafe-recover", code=1)
        assert not told["done"] and 0 < len(told["lost"]) < 32
        four["a"].cli("node", "unsafe-recover", "--yes-i-lose-what-only-the-others-had")
        four["a"].start()
        status = four["a"].cli_json("status")
        assert status["partitions"]["unavailable"] == 0 and status["cluster_state"]["leaderless"] == 0


def test_a_node_that_was_founded_apart_gives_way(three):  # noqa: F811
    """Its disk was lost while all others were down, and somebody founded a second cluster."""
    crash(three, "bc", wipe=False)
    crash(three, "a")
    apart = three["a"]
    apart.start(more=["--found"])
    three["b"].start(wait=False)
    assert eventually(lambda: not apart.is_alive(), 30, "the node apart ends") is True
    assert "founded apart" in apart.log()
    three["c"].start(wait=False)
    for name in "bc":
        three[name]._read_until_ready(time.monotonic())
    apart.start(wait=False)
    assert apart.process.wait(30) == 1
    apart.wipe()
    apart.start()
    three.until_whole()


# --- looking at all of it -----------------------------------------------------------------------------------------------


def test_check_looks_at_every_node_and_names_what_is_wrong(three):  # noqa: F811
    senders = senders_for(three, "abc")
    eventually(lambda: all(len(it.acknowledged) >= 6 for it in senders), 60, "six deliveries each")
    busy = three["b"].cli_json("check")
    assert busy["findings"] == [], "under load"
    for sender in senders:
        sender.end()
    assert three["a"].smtp().deliver(message("planted-1", size=4_000), three.addresses_of_users[0])[0] == 250

    def quiet():
        report = three["b"].cli_json("check")
        assert report["findings"] == []
        return report if report["copies_moving"] == 0 else None

    report = eventually(quiet, 60, "that all copies can be compared")
    assert report["copies_compared"] == 3 * 32
    assert [it["answer"]["node"] for it in report["nodes"]] == ["b", "a", "c"]
    assert all(it["messages"] >= 24 and it["findings"] == 0 for it in report["nodes"])
    # One node's disk rots.
    three["c"].stop()
    spoil(three["c"], rb"X-Key: planted-1\r\n")
    down = three["b"].cli_json("check", code=1)
    (finding,) = [it for it in down["findings"] if it["thing"].startswith("node c")]
    assert "did not answer" in finding["reason"]
    assert [it["answer"]["silent"] is None for it in down["nodes"]] == [True, True, False]
    assert "node c: did not answer" in three["b"].cli("check", code=1).stdout
    three["c"].start()
    three.until_whole()
    bad = three["a"].cli_json("check", code=1)
    things = {it["thing"] for it in bad["findings"]}
    assert any(re.match(r"node c: ann@example.test INBOX UID \d+$", thing) for thing in things), things
    assert not any(thing.startswith(("node a:", "node b:")) for thing in things), things
    assert three["a"].cli_json("check", "--this-node")["nodes"] == []


def test_sessions_and_status_are_of_the_whole_cluster(three):  # noqa: F811
    ann, bob = three.addresses_of_users[:2]
    clients = {name: three[name].imap(ann) for name in "abc"}
    other = three["c"].imap(bob)

    def listed(node, *more):
        return {(it["node"], it["account"]) for it in three[node].cli_json("session", "list", *more)}

    assert listed("b") == {("a", ann), ("b", ann), ("c", ann), ("c", bob)}
    assert listed("b", "--this-node") == {("b", ann)}
    eventually(lambda: three["a"].cli_json("status")["sums"]["accounts"] == len(USERS), what="all accounts in the sums")
    status = three["a"].cli_json("status")
    assert status["sums"]["sessions"] == 4
    assert [it["sessions"] for it in status["nodes"]] == [1, 1, 2]
    users = {it["name"]: it["users"] for it in status["nodes"]}
    masters = [three.master(address).name for address in three.addresses_of_users]
    assert users == {name: masters.count(name) for name in "abc"}
    state = status["cluster_state"]
    assert (state["whole"], state["few"], state["too_few"], state["leaderless"]) == (32, 0, 0, 0)
    assert state["copies_in_sync"] == state["copies_wanted"] == 96
    assert three["b"].cli_json("session", "kick", "--account", ann)["ended"] == 3
    for client in clients.values():
        with pytest.raises((Closed, OSError)):
            while True:
                client.must("NOOP")
    assert listed("a") == {("c", bob)}
    other.must("NOOP")
    three["a"].kill()
    eventually(lambda: three["b"].cli_json("status", code=None)["nodes"][0]["state"] == "down", 20, "a is given up")
    done = three["b"].cli("session", "list", code=1)
    assert "node a did not answer" in done.stderr and bob in done.stdout
    few = eventually(
        lambda: (it := three["b"].cli_json("status", code=None))["cluster_state"]["few"] == 32 and it, 20, "that the others serve"
    )
    assert [it["sessions"] for it in few["nodes"]] == [None, 0, 1]


def test_a_body_search_misses_nothing_that_is_on_other_nodes():
    """Five nodes with three copies each: large bodies lie in partitions that the master of the mailbox does not hold."""
    with Cluster(names=("a", "b", "c", "d", "e")) as five:
        five.until_whole(seconds=60)
        (ann,) = five["a"].accounts("ann")
        words = [f"heron{number}egret" for number in range(24)]
        smtp = five["b"].smtp()
        for number, word in enumerate(words):
            data = message(f"large-{number}", size=400_000 if number % 6 == 0 else 70_000)
            assert smtp.deliver(data + f"the word is {word} and no other\r\n".encode(), ann)[0] == 250
        for node in (five["d"], five.master(ann)):
            imap = node.imap(ann)
            imap.must("SELECT INBOX")
            assert imap.search('BODY "the word is heron"') == imap.search("ALL")
            for number, word in enumerate(words):
                (uid,) = imap.search(f'BODY "{word}"')
                (header,) = imap.fetch(str(uid), "(BODY.PEEK[HEADER])").values()
                assert f"X-Key: large-{number}\r\n".encode() in header["BODY[HEADER]"]
            imap.logout()
