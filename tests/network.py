"""Hosts on one machine: network namespaces on one bridge, whose ways to each other can be cut, each direction for itself.

A way is cut by a wrong hardware address of the neighbour: what is sent leaves, and nobody takes it. Connections that stand are
not told, as when a switch fails. Nothing outside of the namespaces is changed; they go when the `with` block ends.

`SlowWay` is for links that are slow instead: kernels without netem have nothing for it.
"""

import contextlib
import ctypes
import itertools
import os
import queue
import shutil
import socket
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
NOBODY = "02:00:00:00:00:ee"
_numbers = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)


def _ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def why_not():
    """Why hosts can't be made here; nothing when they can."""
    if not shutil.which("ip") or not shutil.which("nsenter"):
        return "the programs ip and nsenter are needed for network namespaces"
    try:
        with Network(("a", "b")) as network, network.inside("a"):
            pass
    except OSError as error:
        return f"network namespaces are not permitted here: {error}"
    return None


class Network:
    """Hosts by name, all connected until something is cut."""

    def __init__(self, names):
        self.names = list(names)
        self.prefix = f"hkp{os.getpid()}x{next(_numbers)}"
        self.made = []

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for namespace in self.made:
            with contextlib.suppress(OSError):
                _ip("netns", "del", namespace)

    def _make(self):
        hub = self._namespace(self.prefix)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        for name in self.names:
            host = self._namespace(self.prefix + name)
            _ip("-n", hub, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", host)
            _ip("-n", hub, "link", "set", f"to-{name}", "master", "bridge", "up")
            _ip("-n", host, "link", "set", "eth0", "address", self._hardware(name))
            _ip("-n", host, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "lo", "up")
            _ip("-n", host, "link", "set", "eth0", "up")
        self.heal()

    def _namespace(self, name):
        _ip("netns", "add", name)
        self.made.append(name)
        return name

    def _hardware(self, name):
        return f"02:00:00:00:00:{self.names.index(name) + 1:02x}"

    def address(self, name):
        return f"10.83.0.{self.names.index(name) + 1}"

    def wrapper(self, name):
        """What stands before a command that shall run on a host."""
        return ["nsenter", f"--net=/run/netns/{self.prefix}{name}"]

    @contextlib.contextmanager
    def inside(self, name):
        """This thread is on the host meanwhile: sockets that it makes stay there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(f"/run/netns/{self.prefix}{name}", os.O_RDONLY)
            try:
                _enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(home)

    def cut(self, sender, receiver):
        """What one host sends to the other is lost."""
        self._neighbour(sender, receiver, NOBODY)

    def cut_both(self, one, other):
        self.cut(one, other)
        self.cut(other, one)

    def isolate(self, name):
        for other in self.names:
            if other != name:
                self.cut_both(name, other)

    def heal(self):
        for one, other in itertools.permutations(self.names, 2):
            self._neighbour(one, other, self._hardware(other))

    def _neighbour(self, at, other, hardware):
        way = [self.address(other), "lladdr", hardware, "nud", "permanent", "dev", "eth0"]
        _ip("-n", self.prefix + at, "neigh", "replace", *way)


def _enter(namespace):
    if _libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns: " + os.strerror(ctypes.get_errno()))


class SlowWay:
    """A port that stands for another one, behind a line of so many bytes a second and so many seconds, each way."""

    CHUNK = 16_384

    def __init__(self, target, bytes_per_second, delay):
        self.target, self.rate, self.delay = target, bytes_per_second, delay
        self.carried = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def end(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self.target, timeout=3)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # What is on the line: as much as it holds, and a little that waits before it.
                line = queue.Queue(max(4, int(self.rate * self.delay / self.CHUNK)))
                threading.Thread(target=self._take, args=(one, line), daemon=True).start()
                threading.Thread(target=self._give, args=(other, line), daemon=True).start()

    def _take(self, source, line):
        free_at = time.monotonic()
        data = b"-"
        while data:
            try:
                data = source.recv(self.CHUNK)
            except OSError:
                data = b""
            free_at = max(free_at, time.monotonic()) + len(data) / self.rate
            time.sleep(max(0, free_at - time.monotonic()))
            line.put((free_at + self.delay, data))
            self.carried += len(data)

    @staticmethod
    def _give(sink, line):
        while True:
            due, data = line.get()
            time.sleep(max(0, due - time.monotonic()))
            try:
                if not data:
                    # The end of either direction is the end of both: nodes close whole connections.
                    sink.shutdown(socket.SHUT_RDWR)
                    sink.close()
                    return
                sink.sendall(data)
            except OSError:
                data = b""
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_RDWR)
                # Whoever puts more must not wait.
                while line.get()[1]:
                    pass
                return
