"""What an operator sees and changes while the node runs: sessions, limits, imports, several workers, the admin API over TLS."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

from harness import DOMAIN, Closed, Server, binary, eventually, message


@pytest.fixture
def node():
    with Server() as server:
        server.users = server.accounts("ann", "bob")
        yield server


def session_of(server, **wanted):
    """The one session with these properties."""
    found = [it for it in server.cli_json("session", "list") if all(it[key] == value for key, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


# --- session list -------------------------------------------------------------------------------------------------------------


def test_a_session_tells_its_state_and_its_bytes(node):
    client = node.imap()
    assert session_of(node, protocol="imap")["activity"] == "not authenticated"
    client.must(f'LOGIN "{node.users[0]}" "right horse"')
    seen = session_of(node, protocol="imap")
    assert (seen["activity"], seen["account"], seen["tls"]) == ("authenticated", node.users[0], None)
    client.must("SELECT INBOX")
    client.append("INBOX", message("one", 3000))
    seen = session_of(node, protocol="imap")
    assert seen["activity"] == "selected INBOX"
    assert seen["bytes_in"] > 3000 and seen["bytes_out"] > 300, seen
    client.send("IDLE")
    assert client.response()[0] == "+"
    seen = session_of(node, protocol="imap")
    assert seen["activity"] == "selected INBOX, IDLE"
    assert seen["idle_seconds"] <= seen["connected_seconds"]
    shown = node.cli("session", "list").stdout.splitlines()
    assert "STATE" in shown[0] and "plain" in shown[1] and "selected INBOX, IDLE" in shown[1], shown
    client.close()
    smtp = node.smtp()
    assert session_of(node, protocol="smtp")["activity"] == "ready"
    smtp.command(f"MAIL FROM:<a@{DOMAIN}>")
    assert session_of(node, protocol="smtp")["activity"] == "envelope"
    pop3 = node.connect("pop3")
    pop3.line()
    assert session_of(node, protocol="pop3")["activity"] == "authorization"


@pytest.mark.parametrize("implicit", [True, False])
def test_a_session_tells_its_tls(node, implicit):
    from harness import Imap
    line = node.connect("imaps" if implicit else "imap")
    if implicit:
        line.starttls()
        client = Imap(line)
    else:
        client = Imap(line)
        client.must("STARTTLS")
        line.starttls()
    client.must("NOOP")
    version, cipher = session_of(node, protocol="imap")["tls"].split()
    assert (version, cipher) == (line.sock.version(), line.sock.cipher()[0]) and version == "TLSv1.3"


def test_status_and_metrics_agree(node):
    client = node.imap(node.users[0])
    client.append("INBOX", message("one"))
    status = node.cli_json("status")
    assert {it["name"] for it in status["stages"]} >= {"worker-0", "writer", "readers", "hash", "log"}
    writer = next(it for it in status["stages"] if it["name"] == "writer")
    assert writer["processed"] >= writer["batches"] > 0 and writer["wait"]["count"] == writer["processed"]
    imap = next(it for it in status["listeners"] if it["name"] == "imap")
    assert (imap["connections"], imap["accepted"], imap["refused"]) == (1, 1, 0)
    admission = status["admission"][0]
    assert admission["allowed_bytes"] > 0 and admission["waiting_max"] == 8192
    page = node.metrics()
    assert page['hikyaku_listener_connections{listener="imap"}'] == 1
    assert page['hikyaku_admission_waiting_max{stage="worker-0"}'] == 8192
    for stage in status["stages"]:
        assert f'hikyaku_stage_depth_max{{stage="{stage["name"]}"}}' in page
    shown = node.cli("status").stdout
    assert "ADMISSION" in shown and "OPEN" in shown and "HOPS" in shown


# --- SIGHUP -------------------------------------------------------------------------------------------------------------------


def reload(server, old, new, says="reloaded"):
    """Changes the file, sends SIGHUP, waits for what the log says."""
    with open(server.config_path) as f:
        text = f.read()
    assert text.count(old) == 1, text
    with open(server.config_path, "w") as f:
        f.write(text.replace(old, new))
    before = server.log().count(says)
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: server.log().count(says) > before, what=f"{says!r} in the log")


def advertised(smtp):
    return next(it for it in smtp.extensions if it.startswith("SIZE"))


def test_sighup_reloads_limits():
    with Server(limits='message_size = "1 MiB"\nimap_connections_per_user = 2') as server:
        ann, = server.accounts("ann")
        old = server.smtp()
        assert advertised(old) == f"SIZE {1 << 20}"
        reload(server, 'message_size = "1 MiB"', 'message_size = "64 KiB"')
        assert advertised(server.smtp()) == "SIZE 65536"
        assert old.deliver(message("large", 100_000), ann)[0] == 250, "a session keeps what it began with"
        assert server.smtp().deliver(message("large", 100_000), ann)[0] == 552
        # A limit that holds at once, for those who come from now on.
        held = [server.imap(ann) for _ in range(2)]
        eventually(lambda: len(server.cli_json("session", "list")) == 3)
        reload(server, "imap_connections_per_user = 2", "imap_connections_per_user = 3\nconnections = 4")
        held.append(server.imap(ann))
        refused = server.connect("imap")
        assert refused.line().startswith(b"* BYE [LIMIT]"), "more than `connections`"
        for client in (*held, old):
            assert (client.command("NOOP")[0]) in ("OK", 250)


def test_a_bad_file_changes_nothing_and_the_log_says_why():
    with Server(limits='message_size = "1 MiB"') as server:
        failed = "reload failed, the old stays in force"
        reload(server, 'message_size = "1 MiB"', 'message_size = "1 KiB"', failed)
        assert re.search(f"error {failed} part=configuration reason=.*limits.message_size", server.log())
        assert advertised(server.smtp()) == f"SIZE {1 << 20}"
        reload(server, 'message_size = "1 KiB"', 'message_size = "2 MiB"\nno_such_key = 1', failed)
        assert advertised(server.smtp()) == f"SIZE {1 << 20}"
        reload(server, "\nno_such_key = 1", "\n[tls]\ncertificate = \"none.pem\"\nkey = \"none.key\"", f"{failed} part=tls")
        assert advertised(server.smtp()) == f"SIZE {2 << 20}", "what can be used is used"
        assert server.is_alive()


# --- import -------------------------------------------------------------------------------------------------------------------


def test_an_import_keeps_order_and_refuses_what_is_too_large(tmp_path):
    with Server(limits='message_size = "64 KiB"') as server:
        ann, = server.accounts("ann")
        letters = [message(f"letter {n}", 70_000 if n in (3, 150) else 300 + n) for n in range(300)]
        mbox = b"".join(b"From a@b Tue Nov 17 10:00:00 2026\n" + it.replace(b"\r\n", b"\n") + b"\n" for it in letters)
        (tmp_path / "mail.mbox").write_bytes(mbox)
        done = server.cli("--json", "import", "--account", ann, str(tmp_path / "mail.mbox"), code=1)
        told = json.loads(done.stdout)
        assert (told["stored"], told["already_there"], len(told["refused"])) == (298, 0, 2)
        for refused in told["refused"]:
            assert re.search(r"has \d+ bytes, limits.message_size allows 65536", refused["reason"]), refused
        kept = [it for n, it in enumerate(letters) if n not in (3, 150)]
        assert list(server.imap(ann).bodies().values()) == kept
        again = server.cli("--json", "import", "--account", ann, str(tmp_path / "mail.mbox"), code=1)
        assert json.loads(again.stdout)["already_there"] == 298


# --- several workers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 5])
def test_several_workers_serve_one_mailbox(workers):
    """Connections go to all workers in turn, mailboxes live where their partition does: most of this crosses threads."""
    config = f"[stages]\nworkers = {workers}"
    with Server(config=config, limits="imap_connections_per_user = 4") as server:
        users = server.accounts(*(f"u{n}" for n in range(8)))
        names = {it["name"] for it in server.cli_json("status")["stages"]}
        assert {f"worker-{n}" for n in range(workers)} <= names
        watchers = {user: server.imap(user) for user in users}
        for client in watchers.values():
            client.must("SELECT INBOX")
            client.send("IDLE")
            assert client.response()[0] == "+"
        sent = {}
        failures = []

        def deliver(number):
            try:
                smtp = server.smtp()
                for n in range(10):
                    data = message(f"{number}-{n}", 500 + 200 * n)
                    to = users[number] if n % 2 else users
                    assert smtp.deliver(data, to)[0] == 250
                    for user in [to] if isinstance(to, str) else to:
                        sent.setdefault(user, []).append(data)
            except Exception as error:  # told by the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=deliver, args=(number,)) for number in range(len(users))]
        [it.start() for it in threads]
        [it.join() for it in threads]
        assert not failures, failures
        for user, client in watchers.items():
            while True:
                items = client.response()
                if items[2:3] == ["EXISTS"] and int(items[1]) == len(sent[user]):
                    break
            client.line.send(b"DONE\r\n")
        stored = {user: server.imap(user).bodies() for user in users}
        from harness import without_trace
        for user in users:
            assert sorted(map(without_trace, stored[user].values())) == sorted(sent[user])
        listed = server.cli_json("session", "list")
        assert len({it["session"] >> 40 & 0xFF for it in listed}) == workers, "every worker has sessions"
        # The limit of an account counts its sessions in all workers.
        mine = [server.imap(users[0]) for _ in range(3)]
        # Another worker counts them, and its word may come a moment after the log-in.
        with pytest.raises((Closed, AssertionError)):
            over = server.imap(users[0])
            for _ in range(100):
                over.must("NOOP")
                time.sleep(0.05)
        assert server.cli_json("session", "kick", "--account", users[0])["ended"] == 4
        eventually(lambda: not [it for it in server.cli_json("session", "list") if it["account"] == users[0]])
        del mine
        server.kill()
        server.start()
        assert {user: server.imap(user).bodies() for user in users} == stored
        server.cli("account", "remove", users[1])
        server.cli("check")
        assert server.stop() == 0


# --- the admin API over TLS -----------------------------------------------------------------------------------------------------


def test_off_loopback_the_admin_api_is_on_tls(off_loopback, tmp_path):
    server, address = off_loopback
    admin = f"{address}:{server.ports['admin']}"

    def run(*words, code=0, env=None):
        command = [binary(), "--config", server.config_path, "--admin", admin, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
        assert done.returncode == code, done
        return done

    run("domain", "add", DOMAIN)
    assert json.loads(run("--json", "status").stdout)["state"] == "ready"
    with socket.create_connection((address, server.ports["admin"])) as plain:
        plain.settimeout(10)
        plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            assert b"hikyaku_" not in plain.recv(4096), "plaintext is not served"
        except ConnectionError:
            pass
    # Another certificate than the node's is not trusted, whatever it says.
    pair = os.path.join(server.data, "tls", "self-signed.pem")
    os.rename(pair, tmp_path / "kept.pem")
    other = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", f"/CN=mx.{DOMAIN}", "-keyout", str(tmp_path / "other.key"), "-out", pair]
    subprocess.run(other, check=True, capture_output=True)
    assert "certificate" in run("status", code=1).stderr.lower()
    os.rename(tmp_path / "kept.pem", pair)
    run("status")
