"""Backup under load, a time that is lost, restore: no client's memory is wrong, nothing acknowledged before is missing."""

import poplib
import re
import shutil

from harness import PASSWORD, eventually, message
from survival.restored import Cache, Load, Mbsync, keys


def restore(server, place):
    server.kill()
    shutil.rmtree(server.data)
    server.ports = {}
    server.cli("restore", place)
    server.start()


def change(server, account, commands):
    client = server.imap(account)
    client.must("SELECT INBOX")
    for command in commands:
        client.must(command)
    client.logout()


def arrived(server, accounts, wanted):
    """Waits until all accounts have all of it: a message for several is accepted first and delivered then."""
    for account in accounts:
        eventually(lambda: set(wanted) <= set(keys(server, account)), what=f"{len(wanted)} messages for {account}")


def test_clients_converge(fresh, tmp_path):
    accounts = fresh.accounts("cached", "mirrored")
    cached, mirrored = accounts
    place = str(tmp_path / "backup")
    clients = [Cache(cached), Mbsync(fresh, mirrored, tmp_path / "mbsync")]
    with Load(fresh, accounts, "before") as load:
        eventually(lambda: len(load.done) >= 30, what="thirty deliveries")
        for client in clients:
            client.sync(fresh)
        change(fresh, cached, [r"UID STORE 1:4 +FLAGS (\Seen $Kept)"])
        promised = list(load.done)
        fresh.cli("backup", place)
        eventually(lambda: len(load.done) >= len(promised) + 10, what="deliveries behind the backup")
    arrived(fresh, accounts, load.done)
    # The time that will be lost: more mail, flags and expunges, and both clients see it.
    change(fresh, cached, [r"UID STORE 3:9 +FLAGS (\Flagged $Lost)", r"UID STORE 5:6 +FLAGS (\Deleted)", "EXPUNGE"])
    change(fresh, mirrored, [r"UID STORE 2:8 +FLAGS (\Flagged)"])
    for client in clients:
        client.sync(fresh)
        client.compare(fresh)
    last = max(clients[0].seen)

    restore(fresh, place)
    arrived(fresh, accounts, promised)
    smtp = fresh.smtp()
    for number in range(20):
        assert smtp.deliver(message(f"after-{number}"), accounts)[0] == 250
    arrived(fresh, accounts, [f"after-{number}" for number in range(20)])
    for client in clients:
        client.sync(fresh)
        client.compare(fresh)
    after = [uid for uid, (_, body) in clients[0].messages.items() if b"X-Key: after-" in body]
    assert len(after) == 20 and min(after) > last
    # Once more, and nothing is read again that is known.
    change(fresh, cached, [r"UID STORE 1 +FLAGS (\Answered)"])
    for client in clients:
        client.sync(fresh)
        client.compare(fresh)


def test_restoring_one_backup_twice(fresh, tmp_path):
    """Each restoration served a time of its own: UIDs and UIDLs of one are not those of another."""
    accounts = fresh.accounts("ann")
    (account,) = accounts
    smtp = fresh.smtp()
    assert smtp.deliver(message("kept"), accounts)[0] == 250
    place = str(tmp_path / "backup")
    fresh.cli("backup", place)
    cache, uidls = Cache(account), {}
    for life in range(3):
        if life:
            restore(fresh, place)
        smtp = fresh.smtp()
        for number in range(50):
            assert smtp.deliver(message(f"life-{life}-{number}"), accounts)[0] == 250
        before = max(cache.seen, default=0)
        cache.sync(fresh)
        cache.compare(fresh)
        assert len(cache.messages) == 51 and sum(uid > before for uid in cache.messages) >= 50
        for uidl, key in maildrop(fresh, account).items():
            assert uidls.setdefault(uidl, key) == key


def maildrop(server, account):
    """{UIDL: key} as POP3 shows it."""
    client = poplib.POP3("127.0.0.1", server.ports["pop3"])
    client.user(account)
    client.pass_(PASSWORD)
    found = {}
    for line in client.uidl()[1]:
        number, uidl = line.split()
        head = b"\r\n".join(client.top(int(number), 0)[1])
        found[uidl] = re.search(rb"X-Key: (\S+)", head)[1]
    client.quit()
    return found
