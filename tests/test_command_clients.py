"""swaks, curl, msmtp, fetchmail, getmail6, offlineimap3 and mutt: what people and scripts use."""

import os
import re
import subprocess
import time

import pytest

from harness import DOMAIN, PASSWORD, eventually, message, need, run_tool, without_trace


def inbox(server, account, folder="INBOX"):
    client = server.imap(account)
    bodies = client.bodies(folder)
    client.logout()
    return bodies


def put(server, account, *keys, **kwargs):
    """Delivers messages; the sent bytes by key."""
    client = server.lmtp()
    sent = {}
    for key in keys:
        sent[key] = message(key, to=account, **kwargs)
        code, text = client.deliver(sent[key], account)
        assert code == 250, text
    client.close()
    return sent


# --- swaks --------------------------------------------------------------------------------------------------------------------

SWAKS = {
    "smtp": ("smtp", ["--protocol", "ESMTP"]),
    "smtp-starttls": ("smtp", ["--tls"]),
    "lmtp": ("lmtp", ["--protocol", "LMTP"]),
    "submission-plain": ("submission", ["--tls", "--auth", "PLAIN"]),
    "submission-login": ("submission", ["--tls", "--auth", "LOGIN"]),
    "submissions": ("submissions", ["--tls-on-connect", "--auth", "PLAIN"]),
}


@pytest.mark.parametrize("how", SWAKS)
def test_swaks(shared, account, tmp_path, how):
    service, options = SWAKS[how]
    text = tmp_path / "attached.bin"
    text.write_bytes(bytes(range(256)) * 40)
    command = [need("swaks"), "--server", "127.0.0.1", "--port", str(shared.ports[service]), "--from", account,
               "--to", account, "--header", f"Subject: by swaks {how}", "--body", "first line\n.\n..dots\n",
               "--attach-type", "application/octet-stream", "--attach", f"@{text}", *options]
    if "--auth" in options:
        command += ["--auth-user", account, "--auth-password", PASSWORD]
    done = run_tool(command)
    assert b" 250 2.0.0 " in done.stdout or b" 250 2.1.5 " in done.stdout, done.stdout[-800:]
    (stored,) = inbox(shared, account).values()
    import email
    read = email.message_from_bytes(stored)
    assert read["Subject"] == f"by swaks {how}"
    parts = [it for it in read.walk() if not it.is_multipart()]
    assert parts[0].get_payload(decode=True).replace(b"\r\n", b"\n").startswith(b"first line\n.\n..dots\n")
    assert parts[1].get_payload(decode=True) == text.read_bytes()


def test_swaks_is_refused(shared, account):
    done = run_tool([need("swaks"), "--server", "127.0.0.1", "--port", str(shared.ports["smtp"]),
                     "--to", f"nobody@{DOMAIN}"], code=None)
    assert done.returncode != 0 and b"<** 550 5.1.1" in done.stdout
    done = run_tool([need("swaks"), "--server", "127.0.0.1", "--port", str(shared.ports["submission"]), "--tls",
                     "--auth", "PLAIN", "--auth-user", account, "--auth-password", "wrong", "--to", account], code=None)
    assert done.returncode != 0 and b"<~* 535 5.7.8" in done.stdout
    done = run_tool([need("swaks"), "--server", "127.0.0.1", "--port", str(shared.ports["smtp"]),
                     "--to", "someone@elsewhere.test"], code=None)
    assert done.returncode != 0 and b"<** 55" in done.stdout
    assert inbox(shared, account) == {}


# --- curl ---------------------------------------------------------------------------------------------------------------------


def curl(*args, code=0):
    return run_tool([need("curl"), "-sS", "--max-time", "30", "-k", *args], code=code).stdout


def test_curl_smtp_imap_pop3(shared, account, tmp_path):
    user = f"{account}:{PASSWORD}"
    sent = message("curl", size=30_000, sender=account, to=account)
    mail = tmp_path / "mail"
    mail.write_bytes(sent)
    ports = shared.ports
    for url, extra in [
        (f"smtp://127.0.0.1:{ports['smtp']}/client.test", []),
        (f"smtp://127.0.0.1:{ports['submission']}/client.test", ["--ssl-reqd", "--user", user]),
        (f"smtps://127.0.0.1:{ports['submissions']}/client.test", ["--user", user]),
    ]:
        curl(url, "--mail-from", account, "--mail-rcpt", account, "--upload-file", str(mail), *extra)
    for base, extra in [(f"imap://127.0.0.1:{ports['imap']}", []), (f"imap://127.0.0.1:{ports['imap']}", ["--ssl-reqd"]),
                        (f"imaps://127.0.0.1:{ports['imaps']}", [])]:
        login = ["--user", user, *extra]
        assert b'"INBOX"' in curl(f"{base}/", *login) or b" INBOX" in curl(f"{base}/", *login)
        for uid in (1, 2, 3):
            assert without_trace(curl(f"{base}/INBOX;UID={uid}", *login)) == sent
        assert curl(f"{base}/INBOX;UID=2;SECTION=TEXT", *login) == sent.split(b"\r\n\r\n", 1)[1]
        assert curl(f"{base}/INBOX?SUBJECT%20curl", *login).split() == [b"*", b"SEARCH", b"1", b"2", b"3"]
    base = f"imap://127.0.0.1:{ports['imap']}"
    curl(f"{base}/Drafts", "--user", user, "--upload-file", str(mail))
    assert list(inbox(shared, account, "Drafts").values()) == [sent]
    curl(f"{base}/INBOX", "--user", user, "-X", r"STORE 2 +FLAGS (\Deleted)")
    curl(f"{base}/INBOX", "--user", user, "-X", "EXPUNGE")
    assert sorted(inbox(shared, account)) == [1, 3]
    for base, extra in [(f"pop3://127.0.0.1:{ports['pop3']}", []), (f"pop3://127.0.0.1:{ports['pop3']}", ["--ssl-reqd"]),
                        (f"pop3s://127.0.0.1:{ports['pop3s']}", [])]:
        login = ["--user", user, *extra]
        assert len(curl(f"{base}/", *login).split(b"\r\n")) == 3
        assert without_trace(curl(f"{base}/2", *login)) == sent
    curl(f"pop3://127.0.0.1:{ports['pop3']}/1", "--user", user, "-X", "DELE", "-l")
    assert sorted(inbox(shared, account)) == [3]
    # 67: the log-in was denied.
    curl(f"imap://127.0.0.1:{ports['imap']}/", "--user", f"{account}:wrong", code=67)


# --- msmtp --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["submission", "submissions"])
def test_msmtp(shared, account, tmp_path, service):
    config = tmp_path / "msmtprc"
    config.write_text(
        f"account default\nhost 127.0.0.1\nport {shared.ports[service]}\nfrom {account}\nauth on\nuser {account}\n"
        f"password {PASSWORD}\ntls on\ntls_certcheck off\ntls_starttls {'on' if service == 'submission' else 'off'}\n"
    )
    config.chmod(0o600)
    sent = message(f"msmtp-{service}", sender=account, to=account)
    run_tool([need("msmtp"), "-C", str(config), account], input=sent.replace(b"\r\n", b"\n"))
    (stored,) = inbox(shared, account).values()
    assert without_trace(stored) == sent
    done = run_tool([need("msmtp"), "-C", str(config), "x@elsewhere.test"], input=sent, code=None)
    assert done.returncode != 0 and b"550" in done.stderr


# --- fetchmail, getmail6 ---------------------------------------------------------------------------------------------------------


def write_mda(directory):
    """A program that keeps what is piped into it as a file got-*."""
    (directory / "mda.py").write_text(
        f"import os, sys, tempfile\nf, n = tempfile.mkstemp(dir={str(directory)!r}, prefix='got-')\n"
        "os.write(f, sys.stdin.buffer.read())\n"
    )


@pytest.mark.parametrize("service", ["imap", "imaps", "pop3", "pop3s"])
def test_fetchmail(shared, account, tmp_path, service):
    sent = put(shared, account, *[f"fetchmail-{service}-{i}" for i in range(5)], size=4_000)
    protocol = service.rstrip("s")
    config = tmp_path / "fetchmailrc"
    tls = "ssl no sslcertck" if service.endswith("s") else "sslproto 'TLS1.2+' no sslcertck"
    config.write_text(
        f"set no bouncemail\npoll 127.0.0.1 port {shared.ports[service]} protocol {protocol}\n  user '{account}' "
        f"password '{PASSWORD}' {tls} nokeep\n  mda '{need('python3')} {tmp_path}/mda.py'\n"
    )
    config.chmod(0o600)
    write_mda(tmp_path)
    env = dict(os.environ, FETCHMAILHOME=str(tmp_path), HOME=str(tmp_path))
    run_tool([need("fetchmail"), "-f", str(config), "--nosyslog", "-v"], env=env)
    got = {}
    for path in tmp_path.glob("got-*"):
        data = path.read_bytes().replace(b"\r\n", b"\n")
        got[re.search(rb"X-Key: (\S+)", data)[1].decode()] = data
    assert sorted(got) == sorted(sent)
    for key, data in got.items():
        assert data.endswith(sent[key].split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n"))
    # Nothing is left, and a second run finds nothing (exit 1).
    assert inbox(shared, account) == {}
    run_tool([need("fetchmail"), "-f", str(config), "--nosyslog"], env=env, code=1)


def test_getmail(shared, account, tmp_path):
    sent = put(shared, account, *[f"getmail-{i}" for i in range(4)], size=2_000)
    write_mda(tmp_path)
    for retriever, service in [("SimplePOP3SSLRetriever", "pop3s"), ("SimpleIMAPSSLRetriever", "imaps")]:
        home = tmp_path / service
        home.mkdir()
        (home / "getmailrc").write_text(
            f"[retriever]\ntype = {retriever}\nserver = 127.0.0.1\nport = {shared.ports[service]}\nusername = {account}\n"
            f"password = {PASSWORD}\n[destination]\ntype = MDA_external\npath = {need('python3')}\n"
            f"arguments = ('{tmp_path}/mda.py',)\nallow_root_commands = true\n[options]\nread_all = false\n"
            f"delete = false\ndelivered_to = false\nreceived = false\nverbose = 2\n"
        )
        for wanted in (4, 0):
            run_tool([need("getmail"), "--getmaildir", str(home), "--rcfile", "getmailrc"])
            got = sorted(tmp_path.glob("got-*"))
            assert len(got) == wanted, f"{retriever}: {len(got)} messages"
            for path in got:
                data = path.read_bytes().replace(b"\r\n", b"\n")
                key = re.search(rb"X-Key: (\S+)", data)[1].decode()
                assert data.endswith(sent[key].split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n")), key
                path.unlink()


# --- offlineimap3 -----------------------------------------------------------------------------------------------------------------


def test_offlineimap(shared, account, tmp_path):
    sent = put(shared, account, *[f"offlineimap-{i}" for i in range(6)], size=1_500)
    local = tmp_path / "local"
    (tmp_path / "rc").write_text(
        f"[general]\naccounts = a\nmetadata = {tmp_path}/meta\nui = basic\n[Account a]\nlocalrepository = l\n"
        f"remoterepository = r\n[Repository l]\ntype = Maildir\nlocalfolders = {local}\n[Repository r]\ntype = IMAP\n"
        f"remotehost = 127.0.0.1\nremoteport = {shared.ports['imap']}\nremoteuser = {account}\nremotepass = {PASSWORD}\n"
        "ssl = no\nstarttls = no\nauth_mechanisms = LOGIN\n"
    )

    def sync():
        run_tool([need("offlineimap"), "-c", str(tmp_path / "rc"), "-o"], env=dict(os.environ, HOME=str(tmp_path)))

    def local_messages(folder="INBOX"):
        out = {}
        for path in (local / folder).glob("*/*"):
            data = path.read_bytes()
            out[re.search(rb"X-Key: (\S+)", data)[1].decode()] = (path, data.replace(b"\r\n", b"\n"))
        return out

    sync()
    got = local_messages()
    assert sorted(got) == sorted(sent)
    for key, (_, data) in got.items():
        assert data.endswith(sent[key].split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n"))
    # Both sides change: here one is deleted and one is marked, there one is marked and one is new.
    got["offlineimap-0"][0].unlink()
    path = got["offlineimap-1"][0]
    (path.parent.parent / "cur").mkdir(exist_ok=True)
    path.rename(path.parent.parent / "cur" / (path.name.split(":")[0] + ":2,FS"))
    new = message("offlineimap-local", to=account)
    (local / "INBOX" / "new" / "1234567.local").write_bytes(new.replace(b"\r\n", b"\n"))
    client = shared.imap(account)
    client.must("SELECT INBOX")
    (uid,) = client.search('HEADER X-Key "offlineimap-2"')
    client.must(rf"UID STORE {uid} +FLAGS (\Answered)")
    client.logout()
    put(shared, account, "offlineimap-late")
    sync()
    sync()
    wanted = sorted([*(k for k in sent if k != "offlineimap-0"), "offlineimap-local", "offlineimap-late"])
    got = local_messages()
    assert sorted(got) == wanted
    assert re.search(r"2,[A-Z]*R", got["offlineimap-2"][0].name)
    client = shared.imap(account)
    bodies = client.bodies()
    keys = {re.search(rb"X-Key: (\S+)", data)[1].decode(): uid for uid, data in bodies.items()}
    assert sorted(keys) == wanted and len(bodies) == len(wanted)
    flags = client.fetch(str(keys["offlineimap-1"]), "(FLAGS)")[keys["offlineimap-1"]]["FLAGS"]
    assert {"\\Seen", "\\Flagged"} <= set(flags)
    client.logout()


# --- mutt -----------------------------------------------------------------------------------------------------------------------


class Screen:
    """A program in a tmux session of its own server."""

    def __init__(self, socket, command):
        self.socket = str(socket)
        self.tmux("new-session", "-d", "-x", "120", "-y", "40", command)

    def tmux(self, *args):
        env = dict(os.environ, LC_ALL="C.UTF-8", TERM="screen")
        done = subprocess.run([need("tmux"), "-f", "/dev/null", "-S", self.socket, *args], capture_output=True, env=env)
        return done.stdout.decode(errors="replace")

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def shows(self, text, seconds=20):
        def look():
            return text in self.tmux("capture-pane", "-p")
        try:
            eventually(look, seconds, f"{text!r} on the screen")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.tmux('capture-pane', '-p')}") from None

    def end(self):
        self.tmux("kill-server")


def test_mutt(shared, account, tmp_path):
    put(shared, account, "mutt-1", subject="first of mutt", size=500)
    put(shared, account, "mutt-2", subject="second of mutt", size=500)
    put(shared, account, "mutt-3", subject="third of mutt", size=500)
    user = account.replace("@", "%40")
    (tmp_path / "muttrc").write_text(
        f'set folder="imap://{user}@127.0.0.1:{shared.ports["imap"]}/"\nset spoolfile="+INBOX"\nset imap_pass="{PASSWORD}"\n'
        f'set imap_user="{account}"\nset ssl_starttls=no\nset ssl_force_tls=no\nset header_cache=""\nset sort=mailbox-order\n'
        f'set smtp_url="smtp://{user}@127.0.0.1:{shared.ports["submission"]}"\nset smtp_pass="{PASSWORD}"\nset from="{account}"\n'
        "set delete=yes\nset quit=yes\nset confirmappend=no\nset wait_key=no\nset mark_old=no\nset copy=no\n"
        f'set editor="true"\nset tmpdir="{tmp_path}"\n'
    )
    screen = Screen(tmp_path / "tmux", f"HOME={tmp_path} {need('mutt')} -F {tmp_path}/muttrc")
    try:
        for text in ("first of mutt", "second of mutt", "third of mutt"):
            screen.shows(text)
        screen.keys("1", "Enter", "Enter")
        screen.shows("This is mutt-1.")
        screen.keys("q")
        screen.shows("third of mutt")
        screen.keys("2", "Enter")
        screen.keys("d")
        screen.keys("$")
        eventually(lambda: len(inbox(shared, account)) == 2, what="the deletion by mutt")
        # New mail shows while mutt runs, and a message is saved to another folder.
        put(shared, account, "mutt-4", subject="fourth of mutt")
        screen.keys("c", "!", "Enter")
        screen.shows("fourth of mutt")
        screen.keys("=")
        screen.keys("s", "C-u")
        time.sleep(0.3)
        screen.tmux("send-keys", "-l", "=Archive")
        screen.keys("Enter")
        time.sleep(0.5)
        screen.keys("$")
        eventually(lambda: "Archive" in folders(shared, account) and len(inbox(shared, account, "Archive")) == 1,
                   what="the message in Archive")
        screen.keys("q")
    finally:
        screen.end()
    left = inbox(shared, account)
    keys = [re.search(rb"X-Key: (\S+)", it)[1] for it in left.values()]
    assert keys == [b"mutt-3", b"mutt-4"]
    (saved,) = inbox(shared, account, "Archive").values()
    assert b"X-Key: mutt-1\r\n" in saved


def folders(server, account):
    client = server.imap(account)
    names = [it[3] if isinstance(it[3], str) else it[3].decode() for it in client.must('LIST "" "*"') if it[0] == "LIST"]
    client.logout()
    return names
