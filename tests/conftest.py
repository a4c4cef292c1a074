"""pytest's fixtures: one shared server for tests that only need accounts of their own, or a fresh one."""

import itertools
import os
import socket
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import browser  # noqa: E402
import harness  # noqa: E402

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared():
    """A server that many tests use, each with accounts of its own."""
    with harness.Server(config="") as server:
        server.cli("domain", "add", harness.DOMAIN)
        yield server
        assert server.is_alive(), "the shared server died"
        assert server.stop() == 0


@pytest.fixture
def account(shared):
    """A fresh account on the shared server."""
    return shared.accounts(f"user{next(_numbers)}", add_domain=False)[0]


@pytest.fixture
def fresh():
    """A server for one test."""
    with harness.Server() as server:
        yield server


def own_address():
    """An address of this machine that is not loopback; no packet leaves for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


@pytest.fixture
def off_loopback():
    """A server whose admin address is not on loopback, and that address."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has loopback only")
    with harness.Server() as server:
        server.stop()
        with open(server.config_path) as f:
            text = f.read()
        with open(server.config_path, "w") as f:
            f.write(text.replace('admin = "127.0.0.1:auto"', f'admin = "{address}:auto"'))
        server.start()
        yield server, address


# --- the webmail in a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def webmail():
    """A server with webmail that many tests use, each with accounts of its own."""
    with harness.Server(listen=(*harness.SERVICES, "http")) as server:
        server.cli("domain", "add", harness.DOMAIN)
        yield server
        assert server.is_alive(), "the webmail died"
        assert server.stop() == 0


@pytest.fixture(scope="session")
def steering():
    with browser.driver() as it:
        yield it


@pytest.fixture(scope="session")
def chromium(steering):
    with browser.Chromium(steering) as it:
        yield it


@pytest.fixture
def mailbox(webmail):
    """The address of a fresh account with the mail of the demonstration."""
    address = webmail.accounts(f"web{next(_numbers)}", add_domain=False)[0]
    browser.fill(webmail, address)
    return address


@pytest.fixture(scope="session")
def looked_at(webmail):
    """The address of an account like that, which tests only look at."""
    address = webmail.accounts("lookedat", add_domain=False)[0]
    browser.fill(webmail, address)
    return address


@pytest.fixture
def open_view(webmail, chromium):
    """Opens windows: `open_view(address, size, js, dark)`, signed in; without an address at the log-in. They have to behave."""
    views = []

    def open_one(address=None, size="wide", js=True, dark=False, **options):
        view = chromium.view(webmail, size, js, dark, **options)
        views.append(view)
        return view.login(address) if address else view

    yield open_one
    for view in views:
        view.close()


WAYS = [("wide", True), ("wide", False), ("phone", True), ("phone", False)]


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}-{'js' if way[1] else 'plain'}")
def view(request, open_view, mailbox):
    """A window on a fresh mailbox, on both sizes, with and without JavaScript."""
    size, js = request.param
    return open_view(mailbox, size, js)
