"""Mailboxes move to any node, work moves to nodes that have less of it, and full disks and lost connections are told as they are."""

import json
import os
import re
import shutil
import subprocess
import threading

import pytest

from cluster import Cluster
from harness import eventually, message, need
from test_cluster import Sender

USERS = ("ann", "bob", "carol", "dave")
FIVE = ("a", "b", "c", "d", "e")


@pytest.fixture
def five():
    with Cluster(names=FIVE) as cluster:
        cluster.until_whole()
        cluster.addresses_of_users = cluster["a"].accounts(*USERS)
        yield cluster


def two_mailboxes(cluster):
    """In two partitions: what is ordered for one of them must not move the other."""
    first, *others = cluster["a"].accounts("here", *[f"there{count}" for count in range(8)])
    partition = {it["account"]: it["partition"] for address in (first, *others) for it in cluster["a"].cli_json("where", address)}
    return first, next(it for it in others if partition[it] != partition[first])


def copies(cluster):
    """Replicas that are in sync, over all nodes."""
    return sum(node["in_sync"] for node in cluster.status()["nodes"])


def test_a_mailbox_moves_to_nodes_without_a_copy(five):
    address = five.addresses_of_users[0]
    first = five.master(address)
    watcher = next(node for node in five.nodes.values() if node is not first)
    imap = watcher.imap(address)
    for count in range(60):
        imap.append("INBOX", message(f"early-{count}", size=(600, 20_000, 120_000)[count % 3]))
    imap.must("SELECT INBOX")
    early = imap.bodies()
    tag = imap.send("IDLE")
    assert imap.response()[0] == "+"
    senders = [Sender(five[name], address) for name in "ab"]
    # Three of five nodes have a copy: two of these moves are to nodes without one.
    for target in [node for node in five.nodes.values() if node is not first] + [first]:
        moved = watcher.cli_json("move", address, "--to", target.name)
        assert moved["to"] == target.name
        assert eventually(lambda: five.master(address) is target, what="that every node knows")
    for sender in senders:
        sender.end()
        assert len(sender.acknowledged) > 5
        assert sender.longest < 10, f"a pause of {sender.longest} s"
    imap.line.send(b"DONE\r\n")
    kind, _, untagged = imap.finish(tag)
    assert kind == "OK"
    counts = [int(items[0]) for items in untagged if len(items) > 1 and items[1] == "EXISTS"]
    assert counts[-1] >= 60 + sum(len(sender.acknowledged) for sender in senders) // 2, counts
    after = imap.bodies()
    assert {uid: after[uid] for uid in early} == early
    imap.logout()
    # Surplus copies go, and it stays where it was put.
    five.until_whole()
    eventually(lambda: copies(five) == 3 * 32, 30, "the copies that are wanted, and no more")
    status = five.status()["cluster_state"]
    assert (status["placed"], status["moves"]) == (1, 0)
    eventually(lambda: five.master(address) is first, 30, "the master that was ordered")
    keys = {body.split(b"X-Key: ", 1)[1].split(b"\r\n", 1)[0].decode() for body in after.values()}
    assert len(keys) == len(after), "a message is there twice"
    for sender in senders:
        assert keys >= set(sender.acknowledged), "what was acknowledged is there"


def test_a_move_ends_with_its_target(five):
    address = five.addresses_of_users[1]
    assert five["a"].smtp().deliver(message("stays"), address)[0] == 250
    # Where nothing is ordered, it may go to whom leads less: at the start, too.
    eventually(lambda: copies(five) == 3 * 32, 30, "the copies that are wanted, and no more")
    held = five["a"].cli_json("where", address)[0]
    first, leader = five[held["node"]], five.leader()
    # Not the leader of the control plane either: without it nobody notices for a while that the target is down.
    node = next(it for it in five.nodes.values() if it.name not in held["in_sync"] and it is not leader)

    def asked_while_it_sleeps():
        node.pause()
        try:
            asked = first.cli("move", address, "--to", node.name, code=1, timeout=60)
        finally:
            node.go_on()
        five.until_whole()
        # On a slow machine it may be known to be down before the move is asked for.
        return None if "is not up" in asked.stderr else asked

    asked = eventually(asked_while_it_sleeps, 60, "a move to a node that falls silent")
    said = f'"{node.name}" ended before it led partition {held["partition"]}, .*the mailbox stays at [{"".join(held["in_sync"])}];'
    assert re.search(said, asked.stderr), asked.stderr
    eventually(lambda: copies(five) == 3 * 32, 30, "the copies that are wanted, and no more")
    # Once more, with the target alive; then the operator takes it back.
    assert first.cli_json("move", address, "--to", node.name)["to"] == node.name
    five.until_whole()
    eventually(lambda: five.master(address) is node, 30, "the master that was ordered")
    assert "placement decides" in node.cli("move", address, "--cancel").stdout
    assert five.status()["cluster_state"]["placed"] == 0
    five.until_whole()
    assert len(five["c"].imap(address).bodies()) == 1
    refused = first.cli("move", address, "--to", "nobody", code=1).stderr
    assert "nobody" in refused


def test_a_move_to_a_node_that_is_down_is_refused(five):
    address = five.addresses_of_users[2]
    master = five.master(address)
    down = next(node for node in five.nodes.values() if node is not master)
    down.kill()
    eventually(lambda: "down" in [node["state"] for node in master.cli_json("status", code=None)["nodes"]])
    assert "is not up" in master.cli("move", address, "--to", down.name, code=1).stderr
    down.start()
    five.until_whole()


def test_hot_partitions_move_to_nodes_with_less_work():
    settings = {"balance_load_min": "200", "balance_load_rest": '"4 s"'}
    with Cluster(settings=settings) as cluster:
        cluster.until_whole()
        addresses = cluster["a"].accounts(*[f"user{n}" for n in range(12)])
        for address in addresses:
            cluster["a"].cli("move", address, "--to", "a")
        done = threading.Event()

        def work(address):
            imap = cluster["b"].imap(address)
            imap.append("INBOX", message("hot"))
            imap.must("SELECT INBOX")
            while not done.is_set():
                # Refused for a moment when the mailbox moves.
                imap.command(r"STORE 1 +FLAGS.SILENT (\Flagged)")
                imap.command(r"STORE 1 -FLAGS.SILENT (\Flagged)")
            imap.logout()

        threads = [threading.Thread(target=work, args=(address,), daemon=True) for address in addresses[:6]]
        for thread in threads:
            thread.start()

        def loads():
            return {it["name"]: it["load"] or 0 for it in cluster["c"].cli_json("status", code=None)["nodes"]}

        eventually(lambda: loads()["a"] > loads()["b"] + 400, 60, "that the work is seen")
        assert cluster.status()["cluster_state"]["placed"] > 0
        for address in addresses:
            cluster["a"].cli("move", address, "--cancel")

        def relieved():
            logs = [node.log() for node in cluster.nodes.values()]
            return [line for log in logs for line in log.splitlines() if "hot partition moves" in line]

        lines = eventually(relieved, 90, "that a hot partition moves")
        assert re.search(r"partition=\d+", lines[0]) and "from=1" in lines[0], lines
        moved = {address for address in addresses[:6] if cluster.master(address).name != "a"}
        assert moved, "and is where it moved to"
        done.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        moves = 0
        for node in cluster.nodes.values():
            moves += node.metrics()["hikyaku_hot_partition_moves_total"]
        assert moves >= 1


def test_every_node_counts_the_accounts_of_the_cluster(five):
    for node in five.nodes.values():
        eventually(lambda: node.cli_json("status", code=None)["accounts"] == len(USERS), what=f"accounts on {node.name}")
    five["b"].cli("account", "remove", five.addresses_of_users[3])
    for node in five.nodes.values():
        eventually(lambda: node.cli_json("status", code=None)["accounts"] == 3, what=f"accounts on {node.name}")


def is_ended(imap):
    """Whether the server has closed the connection."""
    try:
        imap.line.sock.settimeout(0.2)
        return imap.line.sock.recv(65536) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_sessions_end_on_a_node_that_could_not_be_reached(five):
    address = five.addresses_of_users[0]
    directory = five["a"]
    away = five["e"]
    imap = away.imap(address)
    imap.must("SELECT INBOX")
    told = directory.cli_json("session", "kick", "--account", address)
    assert all(it["silent"] is None for it in told["answers"]), told
    eventually(lambda: is_ended(imap), what="the end of the session")
    imap = away.imap(address)
    imap.must("SELECT INBOX")
    away.pause()
    try:
        told = directory.cli("session", "kick", "--account", address, "--json", code=1, timeout=30)
        answers = json.loads(told.stdout)["answers"]
        assert [it["node"] for it in answers if it["silent"] is not None] == ["e"], told.stdout
    finally:
        away.go_on()
    eventually(lambda: is_ended(imap), 30, "the end of the session, once its node is reached")


def mounted(path, size):
    assert os.getuid() == 0, "mounting a tmpfs needs root"
    os.makedirs(path, exist_ok=True)
    subprocess.run([need("mount"), "-t", "tmpfs", "-o", f"size={size}", "hikyaku-test", path], check=True)


def test_what_a_node_without_space_led_is_led_by_others():
    names = ("a", "b", "c")
    cluster = Cluster(names=names)
    place = cluster["c"].dir
    mounted(place, "400m")
    try:
        with cluster:
            cluster.until_whole()
            here, there = two_mailboxes(cluster)
            cluster["a"].cli("move", here, "--to", "c")
            cluster["a"].cli("move", there, "--to", "b")
            for address in (here, there):
                assert cluster["a"].smtp().deliver(message("before", size=5_000), address)[0] == 250
            stat = os.statvfs(place)
            junk = os.path.join(place, "junk")
            with open(junk, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, stat.f_bavail * stat.f_frsize - (24 << 20))

            def exhausted():
                nodes = cluster["a"].cli_json("status", code=None)["nodes"]
                return [node["name"] for node in nodes if node["exhausted"]] == ["c"]

            eventually(exhausted, 30, "that the others know")
            # What it led goes on with those that have space, its order notwithstanding.
            eventually(lambda: cluster.master(here).name != "c", 30, "that another is the master")
            for address in (here, there):
                code, text = cluster["a"].smtp().deliver(message("taken", size=5_000), address)
                assert code == 250, f"{code} {text}"
            assert cluster.status()["partitions"]["under_replicated"] > 0
            refused = cluster["a"].cli("move", there, "--to", "c", code=1).stderr
            assert "has no space" in refused
            os.unlink(junk)
            cluster.until_whole()
            eventually(lambda: cluster.master(here).name == "c", 30, "that it is where it was ordered to be")
            for address in (here, there):
                assert len(cluster["c"].imap(address).bodies()) == 2
    finally:
        subprocess.run([need("umount"), "-l", place], check=False)
        shutil.rmtree(cluster.dir, ignore_errors=True)
