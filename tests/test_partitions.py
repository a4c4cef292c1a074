"""The network between nodes fails, for some of them or one way only; nothing is lost, doubled, or different afterwards."""

import os
import time

import pytest

import network
from cluster import NAMES, Cluster
from cluster_load import Appender, Sender, check_mail, check_replicas, go_on, through
from harness import soak

USERS = ("ann", "bob", "carol", "dave")


@pytest.fixture(scope="module")
def hosts():
    """Three nodes on three hosts, with TLS between them. Every test leaves them whole."""
    reason = network.why_not()
    if reason:
        pytest.skip(reason)
    with network.Network(NAMES) as wires:
        cluster = Cluster(network=wires, settings={"secret_file": '"secret"'})
        with open(os.path.join(cluster.dir, "secret"), "w") as secret:
            secret.write("nobody else knows this")
        with cluster:
            cluster.until_whole()
            cluster.addresses_of_users = cluster["a"].accounts(*USERS)
            yield cluster


@pytest.fixture
def load(hosts):
    """Starts load on every node; when the test is over all is healed, and everything is scanned on every node."""
    loads = []

    def start():
        for index, name in enumerate(NAMES):
            users = hosts.addresses_of_users
            loads.append(Sender(hosts[name], users[index]))
            loads.append(Appender(hosts[name], users[(index + 1) % len(users)]))
        return loads

    yield start
    hosts.network.heal()
    for each in loads:
        each.end()
    hosts.until_whole(seconds=60)
    for name in NAMES:
        check_mail(hosts[name], loads)
    check_replicas(hosts, hosts.addresses_of_users)
    for name in NAMES:
        assert hosts[name].is_alive(), f"node {name} has ended"


@pytest.mark.parametrize("role", ["leader", "master"])
def test_one_node_is_cut_off(hosts, load, role):
    victim = hosts.leader() if role == "leader" else hosts.master(hosts.addresses_of_users[0])
    loads = load()
    go_on(loads, 20)
    hosts.network.isolate(victim.name)
    others = through(loads, *(name for name in NAMES if name != victim.name))
    time.sleep(3)
    go_on(others, 20)
    told = [len(load.acknowledged) for load in through(loads, victim.name)]
    go_on(others, 20)
    time.sleep(30 if soak() else 2)
    assert told == [len(load.acknowledged) for load in through(loads, victim.name)], "alone it acknowledges nothing"
    hosts.network.heal()
    go_on(loads, 30)


def test_what_one_node_sends_is_lost(hosts, load):
    victim = hosts.master(hosts.addresses_of_users[0]).name
    loads = load()
    go_on(loads, 20)
    for name in NAMES:
        if name != victim:
            hosts.network.cut(victim, name)
    time.sleep(3)
    go_on(through(loads, *(name for name in NAMES if name != victim)), 20)
    hosts.network.heal()
    go_on(loads, 30)


def test_two_nodes_reach_only_the_third(hosts, load):
    """Every pair in turn: whoever leads, all three go on."""
    loads = load()
    go_on(loads, 20)
    for one, other in (("a", "b"), ("b", "c"), ("a", "c")):
        hosts.network.cut_both(one, other)
        time.sleep(10 if soak() else 1)
        go_on(loads, 30)
        hosts.network.heal()
        go_on(loads, 30)


def test_the_network_flaps(hosts, load):
    loads = load()
    for round in range(60 if soak() else 6):
        name = NAMES[round % len(NAMES)]
        hosts.network.isolate(name)
        time.sleep((0.3, 0.9, 1.6)[round // 3 % 3])
        hosts.network.heal()
        time.sleep(0.3)
    go_on(loads, 30)
