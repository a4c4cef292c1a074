"""Five nodes with three replicas of everything: two at once die, stand still, lose their disk or fill it, under load."""

import contextlib
import os
import subprocess
import time

import pytest

from cluster import Cluster
from cluster_load import Appender, Sender, check_mail, check_replicas, go_on
from harness import eventually, need, soak
from test_disk_full import fill_up

NAMES = ("a", "b", "c", "d", "e")
USERS = ("ann", "bob", "carol", "dave", "erin", "frank")
# Its data lies on a file system of its own, if that is permitted.
SMALL = "e"
MIB = 1 << 20


@pytest.fixture(scope="module")
def five():
    """Every test leaves them whole."""
    cluster = Cluster(names=NAMES)
    with contextlib.ExitStack() as stack:
        cluster.why_no_small_disk = mount(cluster[SMALL].dir, stack)
        stack.enter_context(cluster)
        cluster.until_whole(seconds=60)
        cluster.addresses_of_users = cluster["a"].accounts(*USERS)
        yield cluster
        check_replicas(cluster, cluster.addresses_of_users)


def mount(place, stack):
    """A file system in memory; why not, if not."""
    command = [need("mount"), "-t", "tmpfs", "-o", "size=512m", "hikyaku-test", place]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return f"a file system for one node can't be mounted: {done.stderr.strip()}"
    stack.callback(subprocess.run, [need("umount"), "-l", place], check=True)
    return None


@pytest.fixture
def load(five):
    """Starts load through some nodes; when the test is over the cluster gets whole, and everything is scanned through others."""
    loads = []

    def start(*names):
        for index, name in enumerate(names):
            users = five.addresses_of_users
            loads.append(Sender(five[name], users[index % len(users)]))
            loads.append(Appender(five[name], users[(index + 3) % len(users)]))
        go_on(loads, 20)
        return loads

    yield start
    for each in loads:
        each.end()
    five.until_whole(seconds=90)
    for name in NAMES[:: 1 if soak() else 2]:
        check_mail(five[name], loads)
    if soak():
        check_replicas(five, five.addresses_of_users)


@pytest.mark.parametrize("pair", ["ab", "cd", "ea", "bc", "de"] if soak() else ["ab", "cd"])
def test_two_nodes_die_at_once(five, load, pair):
    loads = load(*(name for name in NAMES if name not in pair))
    for name in pair:
        five[name].process.kill()
    for name in pair:
        five[name].process.wait()
    time.sleep(5 if soak() else 2)
    five.start(*pair)
    go_on(loads, 30)


@pytest.mark.parametrize("seconds", [10, 40] if soak() else [6])
def test_the_leader_stands_still(five, load, seconds):
    """For longer than every lease: nobody knows whether it is dead."""
    victim = five.leader()
    others = [name for name in NAMES if name != victim.name]
    loads = load(*others)
    victim.pause()
    try:
        time.sleep(2)
        go_on(loads, 20)
        time.sleep(seconds - 2)
    finally:
        victim.go_on()
    go_on(loads, 30)


def in_sync(cluster, name):
    """Partitions of which a node has a copy that counts."""
    return next(node["in_sync"] for node in cluster.status()["nodes"] if node["name"] == name)


def test_a_disk_is_full(five, load):
    """What is kept on that node is kept by the others meanwhile."""
    if five.why_no_small_disk:
        pytest.skip(five.why_no_small_disk)
    loads = load("a", "b", "c", "d")
    before = in_sync(five, SMALL)
    fill_up(five[SMALL].dir, 4 * MIB)
    try:
        eventually(lambda: in_sync(five, SMALL) < before, 30, "that what is written counts elsewhere")
        time.sleep(20 if soak() else 0)
        go_on(loads, 30)
        assert five[SMALL].is_alive(), "a full disk is no reason to end"
    finally:
        os.unlink(os.path.join(five[SMALL].dir, "junk"))
    go_on(loads, 30)


def test_a_disk_is_replaced(five, load):
    loads = load("a", "b", "c")
    five["d"].kill()
    five["d"].wipe()
    time.sleep(2)
    five["d"].start()
    go_on(loads, 30)


def test_all_are_restarted_one_by_one(five, load):
    """As the manual says; who sends to a node that runs is refused nothing."""
    for name in NAMES if soak() else "be":
        loads = load("a" if name != "a" else "c")
        assert five[name].stop() == 0
        five[name].start()
        five.until_whole(seconds=60)
        go_on(loads, 20)
        assert not loads[-2].refused, loads[-2].refused
