"""An unmodified Postfix of Debian in front: it takes mail by SMTP and hands it over by LMTP."""

import os
import re
import shutil
import smtplib
import socket
import subprocess
import tempfile
import time

import pytest

from harness import DOMAIN, digest, eventually, message, need

MAIN = """compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
daemon_directory = {daemons}
command_directory = {commands}
meta_directory = {meta}
shlib_directory = {shlib}
myhostname = front.{domain}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = {domain}
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_peername_lookup = no
disable_dns_lookups = yes
message_size_limit = 60000000
mailbox_size_limit = 0
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
maillog_file = {dir}/log
maillog_file_prefixes = {dir}
alternate_config_directories = {dir}/etc
"""


class Postfix:
    """A private instance: its own configuration, queue and log."""

    def __init__(self, lmtp):
        assert os.getuid() == 0, "Postfix drops privileges by itself: run this test as root"
        self.dir = tempfile.mkdtemp(prefix="hikyaku-postfix-")
        self.etc = os.path.join(self.dir, "etc")
        os.chmod(self.dir, 0o755)
        for name in ("etc", "spool", "data"):
            os.mkdir(os.path.join(self.dir, name), 0o755)
        shutil.chown(os.path.join(self.dir, "data"), "postfix")
        with socket.socket() as free:
            # Postfix can't let the kernel choose; the port is free until somebody else takes it.
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

        def default(name):
            return subprocess.check_output([need("postconf"), "-d", "-h", name], text=True).strip()

        meta = default("meta_directory")
        values = dict(dir=self.dir, domain=DOMAIN, lmtp=lmtp, daemons=default("daemon_directory"), meta=meta,
                      commands=default("command_directory"), shlib=default("shlib_directory"))
        with open(os.path.join(self.etc, "main.cf"), "w") as f:
            f.write(MAIN.format(**values))
        with open(self._master_template(), encoding="utf-8") as f:
            services = f.read()
        services = re.sub(r"(?m)^smtp\s+inet.*$", f"127.0.0.1:{self.port} inet n - n - - smtpd", services)
        # No chroot: the spool has none of the files that one needs.
        services = re.sub(r"(?m)^([^#\s]\S*\s+(?:unix|inet|unix-dgram|pass)\s+\S+\s+\S+\s+)y ", r"\1n ", services)
        if not re.search(r"(?m)^postlog ", services):
            services += "postlog unix-dgram n - n - 1 postlogd\n"
        with open(os.path.join(self.etc, "master.cf"), "w") as f:
            f.write(services)

    @staticmethod
    def _master_template():
        listed = subprocess.check_output(["dpkg", "-L", "postfix"], text=True).split("\n")
        return next(path for path in listed if path.endswith("master.cf.dist"))

    def __enter__(self):
        done = subprocess.run([need("postfix"), "-c", self.etc, "start"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + self.log()

        def is_open():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        eventually(is_open, what="Postfix on its port")
        return self

    def __exit__(self, *_):
        subprocess.run([need("postfix"), "-c", self.etc, "stop"], capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def log(self):
        path = os.path.join(self.dir, "log")
        if not os.path.exists(path):
            return ""
        with open(path, errors="replace") as f:
            return f.read()

    def queue(self):
        return [name for queue in ("incoming", "active", "deferred", "maildrop")
                for _, _, names in os.walk(os.path.join(self.dir, "spool", queue)) for name in names]

    def flush(self):
        subprocess.run([need("postqueue"), "-c", self.etc, "-f"], capture_output=True)


@pytest.mark.parametrize("count", [60])
def test_postfix_delivers_by_lmtp(fresh, count):
    accounts = fresh.accounts("ann", "bob", "cid")
    sent = {}
    with Postfix(fresh.ports["lmtp"]) as postfix:
        with smtplib.SMTP("127.0.0.1", postfix.port) as smtp:
            for number in range(count):
                recipients = [accounts[number % 3]] if number % 5 else accounts
                key = f"postfix-{number}"
                data = message(key, size=(500, 5_000, 200_000)[number % 3])
                sent[key] = (recipients, data)
                assert smtp.sendmail("someone@elsewhere.test", recipients, data) == {}
        eventually(lambda: not postfix.queue(), 60, "an empty queue of Postfix")
        assert "status=bounced" not in postfix.log() and "status=deferred" not in postfix.log()
        for account in accounts:
            check(fresh, account, {key: data for key, (to, data) in sent.items() if account in to})

        # An unknown user bounces at once, with our words in Postfix's log.
        with smtplib.SMTP("127.0.0.1", postfix.port) as smtp:
            smtp.sendmail("", [f"nobody@{DOMAIN}"], message("nobody"))
        eventually(lambda: "status=bounced" in postfix.log(), 30, "a bounce")
        assert re.search(r"dsn=5\.1\.1.*said: 550 5\.1\.1", postfix.log())

        # While the server is away mail waits; a restart brings it in, once.
        fresh.kill()
        with smtplib.SMTP("127.0.0.1", postfix.port) as smtp:
            data = message("postfix-late")
            smtp.sendmail("someone@elsewhere.test", [accounts[0]], data)
        eventually(lambda: "status=deferred" in postfix.log(), 30, "a deferral")
        keep_port(fresh, fresh.ports["lmtp"])
        fresh.start()
        end = time.monotonic() + 60
        while postfix.queue():
            assert time.monotonic() < end, postfix.log()[-2000:]
            postfix.flush()
            time.sleep(0.3)
        mine = {key: data for key, (to, data) in sent.items() if accounts[0] in to}
        check(fresh, accounts[0], {**mine, "postfix-late": data})


def keep_port(server, port):
    """The next start listens for LMTP where the last one did."""
    with open(server.config_path) as f:
        text = f.read()
    with open(server.config_path, "w") as f:
        f.write(text.replace('lmtp = "127.0.0.1:auto"', f'lmtp = "127.0.0.1:{port}"'))


def check(server, account, wanted):
    client = server.imap(account)
    bodies = client.bodies()
    client.logout()
    got = {}
    for body in bodies.values():
        key = re.search(rb"X-Key: (\S+)\r\n", body)[1].decode()
        assert key not in got, f"{key} is there twice"
        got[key] = body
        # Postfix puts its own Received on top of what it took; ours stands above it.
        assert body.startswith(b"Return-Path: <someone@elsewhere.test>\r\n"), body[:200]
        assert body.index(b"by mx." + DOMAIN.encode()) < body.index(b"by front." + DOMAIN.encode())
        assert digest(body[-len(wanted[key]):]) == digest(wanted[key]), f"{key} is damaged"
    assert sorted(got) == sorted(wanted)
