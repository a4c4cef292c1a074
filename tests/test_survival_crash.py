"""kill -9 at random moments under load: nothing acknowledged is lost."""

import pytest

from harness import Server, soak
from survival import crash, disk


def test_kill_9():
    crash.run(rounds=50 if soak() else 5)


def test_kill_9_with_several_workers():
    """Mailboxes, sessions and the delivery queue live in different threads."""
    server = Server(store=crash.SMALL_BUFFERS, config="[stages]\nworkers = 3")
    crash.run(rounds=50 if soak() else 4, server=server)


@pytest.mark.parametrize("leak", [0, 20])
def test_power_failure(leak):
    """The same, and all that was not synced is lost; with `leak`, some of it is kept, in any order."""
    server = disk.ForgetfulServer(leak=leak, store=crash.SMALL_BUFFERS)
    crash.run(rounds=50 if soak() else 4, server=server, crash=disk.ForgetfulServer.power_failure)


def test_power_failure_bites():
    """Without syncs the test above fails: it can."""
    server = disk.ForgetfulServer(store="sync = false\n" + crash.SMALL_BUFFERS)
    with pytest.raises(crash.Lost) as lost:
        crash.run(rounds=4, server=server, crash=disk.ForgetfulServer.power_failure)
    print(f"as it must: {lost.value}")
