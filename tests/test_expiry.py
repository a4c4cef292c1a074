"""Mail goes from Trash and Junk in a mailbox that nobody opens, by the time it was there: the real program, with its wall clock set on
between starts."""

import pytest

from harness import SERVICES, Server, eventually, message
from plain_browser import Browser
from survival.disk import build

DAY = 86_400


@pytest.fixture
def server(tmp_path):
    with Server(listen=(*SERVICES, "http"), env={"LD_PRELOAD": build(str(tmp_path), "clock"), "CLOCK_AHEAD": "0"}) as server:
        yield server


def set_on(server, seconds):
    """The server starts again, in another time."""
    server.stop()
    server.env["CLOCK_AHEAD"] = str(int(seconds))
    server.start()


def kept(server):
    """Messages in the store; nothing is wrong with it."""
    found = server.cli_json("check")
    assert found["findings"] == [], found
    return found["messages"]


def subjects(server, user, folder):
    return sorted(body.split(b"Subject: ")[1].split(b"\r\n")[0].decode() for body in server.imap(user).bodies(folder).values())


def test_mail_expires_in_a_mailbox_that_sleeps(server):
    (ann,) = server.accounts("ann")
    browser = Browser(server)
    browser.login(ann)
    # A week, for Trash alone.
    browser.submit(browser.get("/settings").form("/settings", "save"), "save", {"trash_days": "7", "junk_days": "0"})
    put = server.imap(ann)
    years_ago = "01-Feb-2020 10:00:00 +0000"
    for folder in ("Trash", "Junk", "Archive"):
        put.append(folder, message("first", subject="first"), date=years_ago)
    put.append("Trash", message("second", subject="taken out"))
    set_on(server, 4 * DAY)
    client = server.imap(ann)
    # Its own date does not count, nor when it came into the mailbox: only how long it has been in Trash.
    client.append("Trash", message("third", subject="younger"), date=years_ago)
    client.must("SELECT Trash")
    (uid,) = client.search('SUBJECT "taken out"')
    client.must(f"UID MOVE {uid} Archive")
    set_on(server, 8 * DAY)
    # No client comes; `check` reads what is on the disk, and opens no mailbox.
    assert kept(server) == 5
    eventually(lambda: kept(server) == 4, 120, "that it expires")
    assert subjects(server, ann, "Trash") == ["younger"]
    assert subjects(server, ann, "Junk") == ["first"], "never is never"
    assert subjects(server, ann, "Archive") == ["first", "taken out"]
    assert kept(server) == 4
