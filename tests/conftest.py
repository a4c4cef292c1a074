"""pytest's fixtures: one shared server for tests that only need accounts of their own, or a fresh one."""

import itertools
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

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
