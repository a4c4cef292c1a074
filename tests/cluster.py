"""A cluster of several nodes on one machine: one file, a directory and a process for each node."""

import os
import shutil
import signal
import socket
import sys
import tempfile
import time

from harness import DOMAIN, SERVICES, Server, eventually

NAMES = ("a", "b", "c")
# Of the control plane, by count of nodes.
VOTERS = (0, 1, 1, 3, 3, 5)
SETTINGS = {"name": '"test"', "replicas": "3", "min_in_sync": "2", "partitions": "32"}


def free_ports(count):
    """Ports that the kernel has to give now. Somebody may take one before it is used; that is rare."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Node(Server):
    """One node of a cluster: a server whose file lists others, too."""

    def __init__(self, cluster, name):
        os.makedirs(os.path.join(cluster.dir, name), exist_ok=True)
        super().__init__(dir=os.path.join(cluster.dir, name))
        self.name = name
        self.config_path = cluster.config_path
        self.arguments = ["--config", cluster.config_path, "--node", name]
        self.network = cluster.network
        if self.network:
            self.wrapper = self.cli_wrapper = self.network.wrapper(name)

    def connect(self, service, timeout=30):
        if not self.network:
            return super().connect(service, timeout)
        with self.network.inside(self.name):
            return super().connect(service, timeout)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def wipe(self):
        """Its disk is replaced by an empty one."""
        shutil.rmtree(self.data)


class Cluster:
    """Nodes by name. Those in `names` are started by the `with` block. With a `network` each is on a host of its own."""

    def __init__(self, names=NAMES, settings=None, extra="", network=None, services=SERVICES):
        self.network = network
        self.services = services
        self.dir = tempfile.mkdtemp(prefix="hikyaku-cluster-")
        self.config_path = os.path.join(self.dir, "cluster.toml")
        self.settings = dict(SETTINGS, **(settings or {}))
        self.extra = extra
        self.addresses = {}
        self.nodes = {}
        self.list(names)

    def list(self, names):
        """Writes the file with these nodes; more may come behind those that are there."""
        for name, port in zip(names, free_ports(len(names))):
            if name not in self.nodes:
                host = self.network.address(name) if self.network else "127.0.0.1"
                self.addresses[name] = f"{host}:{port}"
                self.nodes[name] = Node(self, name)
        lines = ["[cluster]", *(f"{key} = {value}" for key, value in self.settings.items())]
        for name in names:
            lines += ["[[node]]", f'name = "{name}"', f'hostname = "{name}.{DOMAIN}"']
            lines += [f'address = "{self.addresses[name]}"', f'data = "{self.nodes[name].data}"']
        lines += ["[listen]", *(f'{service} = "127.0.0.1:auto"' for service in (*self.services, "admin"))]
        lines += ["[auth]", 'argon2_memory = "1 MiB"', "argon2_iterations = 1"]
        lines += ["[store]", 'space_low = "64 MiB"', 'space_exhausted = "32 MiB"', 'ballast = "8 MiB"', self.extra]
        with open(self.config_path, "w") as f:
            f.write("\n".join(lines) + "\n")

    def __enter__(self):
        try:
            self.start(*self.nodes)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, traceback):
        for node in self.nodes.values():
            node.__exit__(kind, value, traceback)
        if not os.environ.get("HIKYAKU_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def __getitem__(self, name):
        return self.nodes[name]

    def start(self, *names):
        """Starts nodes that may wait for each other."""
        began = time.monotonic()
        for name in names:
            self.nodes[name].start(wait=False)
        for name in names:
            self.nodes[name]._read_until_ready(began)

    def alive(self):
        return [node for node in self.nodes.values() if node.process and node.is_alive()]

    def status(self):
        """What a node that is alive says; it may be behind."""
        return self.alive()[0].cli_json("status", code=None)

    def until_whole(self, nodes=None, seconds=30):
        """Until every partition has all of its replicas on so many nodes, and all of them know it."""
        wanted = nodes or len(self.nodes)

        def up(status):
            return [node["name"] for node in status["nodes"] if node["state"] == "up" and not node["draining"]]

        def is_whole(status):
            partitions, cluster = status["partitions"], status["cluster_state"]
            settled = cluster["min_in_sync"] == cluster["min_in_sync_wanted"]
            troubles = partitions["under_replicated"] + partitions["unavailable"] + cluster["moves"]
            # The votes of a new disk count only when all know.
            votes = sum(node["voter"] for node in status["nodes"]) >= VOTERS[min(wanted, 5)]
            return len(up(status)) == wanted and settled and troubles == 0 and votes

        def whole():
            first = self.status()
            # Who has just started again hears a moment later than the others that it counts.
            return is_whole(first) and all(
                is_whole(self[name].cli_json("status", code=None)) for name in up(first)
            )

        eventually(whole, seconds, "that every partition has its replicas")

    def leader(self):
        """The node that leads the control plane."""
        leaders = [self.nodes[node["name"]] for node in self.status()["nodes"] if node["leader"]]
        return leaders[0] if leaders else None

    def master(self, address):
        """The node that is the master of a mailbox."""
        return self.nodes[self.alive()[0].cli_json("where", address)[0]["node"]]
