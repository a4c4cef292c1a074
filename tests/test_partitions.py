"""The network between nodes fails, for some of them or one way only; nothing is lost, doubled, or different afterwards."""

import contextlib
import os
import socket
import time

import pytest

import network
from cluster import NAMES, Cluster
from cluster_load import Appender, Sender, check_mail, check_replicas, go_on, through
from harness import Line, eventually, message, soak, trusting_tls

# What a node says when it has found one.
DETOUR = "reached through another one only"
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
            check_replicas(cluster, cluster.addresses_of_users)


@pytest.fixture
def load(hosts):
    """Starts load on every node; when the test is over all is healed, and everything is scanned through every node."""
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
    if soak():
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
    """One pair after the other: whoever leads, all three go on."""
    loads = load()
    go_on(loads, 20)
    for one, other in (("a", "b"), ("b", "c"), ("a", "c"))[:: 1 if soak() else 2]:
        # The later one of the file calls.
        said = hosts[other].log().count(DETOUR)
        hosts.network.cut_both(one, other)
        eventually(lambda: hosts[other].log().count(DETOUR) > said, 30, "that they find the way through the third")
        go_on(loads, 30)
        time.sleep(20 if soak() else 0)
        hosts.network.heal()
        go_on(loads, 30)


def test_the_network_flaps(hosts, load):
    loads = load()
    for round in range(60 if soak() else 4):
        name = NAMES[round % len(NAMES)]
        hosts.network.isolate(name)
        time.sleep((0.3, 1.6, 0.9, 2.5)[round % 4])
        hosts.network.heal()
        time.sleep(0.3)
    go_on(loads, 30)


def state(cluster, name):
    return next(node["state"] for node in cluster.status()["nodes"] if node["name"] == name)


def test_nodes_speak_tls_and_only_with_who_knows_the_secret(hosts, load):
    address, port = hosts.addresses["a"].rsplit(":", 1)
    with hosts.network.inside("b"):
        plain = Line(socket.create_connection((address, int(port)), timeout=10))
        secure = socket.create_connection((address, int(port)), timeout=10)
    with trusting_tls().wrap_socket(secure, server_hostname=address) as stream:
        assert stream.version() == "TLSv1.3"
    plain.send(b"\0\1?")
    plain.sock.settimeout(10)
    assert plain.sock.recv(1)[:1] in (b"", b"\x15"), "without TLS there is nothing but an alert"
    plain.close()

    stranger = hosts["c"]
    stranger.stop()
    with open(hosts.config_path) as file:
        config = file.read()
    stranger.arguments[1] = os.path.join(stranger.dir, "other.toml")
    with open(os.path.join(stranger.dir, "wrong"), "w") as secret:
        secret.write("what somebody may have guessed")
    with open(stranger.arguments[1], "w") as file:
        file.write(config.replace('secret_file = "secret"', 'secret_file = "wrong"'))
    stranger.start(wait=False)
    said = "does not know the secret of the cluster"
    eventually(lambda: any(said in hosts[name].log() for name in "ab"), 30, "that it is told why it is refused")
    eventually(lambda: state(hosts, "c") == "down", 30, "that it does not count")
    assert hosts["a"].smtp().deliver(message("without it"), hosts.addresses_of_users[0])[0] == 250
    stranger.kill()
    stranger.arguments[1] = hosts.config_path
    stranger.start()


@pytest.mark.skipif(not soak(), reason="a slow line takes its time")
def test_one_node_is_behind_a_slow_line():
    """Whether it keeps up or not: what is acknowledged is kept, and the others do not stand still."""
    with contextlib.ExitStack() as stack:
        cluster = Cluster()
        ways = {}
        for name in "ab":
            host, port = cluster.addresses[name].rsplit(":", 1)
            ways[name] = network.SlowWay((host, int(port)), bytes_per_second=4_000_000, delay=0.04)
            stack.callback(ways[name].end)
        with open(cluster.config_path) as file:
            config = file.read()
        for name, way in ways.items():
            config = config.replace(cluster.addresses[name], f"127.0.0.1:{way.port}")
        cluster["c"].arguments[1] = os.path.join(cluster["c"].dir, "slow.toml")
        with open(cluster["c"].arguments[1], "w") as file:
            file.write(config)
        stack.enter_context(cluster)
        cluster.until_whole(seconds=60)
        users = cluster["a"].accounts(*USERS)
        loads = [kind(cluster[name], to) for name, to in zip(NAMES, users) for kind in (Sender, Appender)]
        go_on(loads, 60)
        time.sleep(60)
        go_on(loads, 60)
        for each in loads:
            each.end()
        cluster.until_whole(seconds=60)
        assert all(way.carried > 1_000_000 for way in ways.values()), "nothing came by the slow line"
        check_mail(cluster["c"], loads)
        check_replicas(cluster, users)
