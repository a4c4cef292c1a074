"""Clients that mean harm: memory stays bounded, others are served, the answer is a protocol error, the server lives."""

import contextlib
import random
import re
import resource
import select
import socket
import time

import pytest

from harness import Closed, ImapError, Server, Smtp, message, soak, without_trace

MIB = 1024
GROWTH_KIB_MAX = 96 * MIB


@pytest.fixture(scope="module")
def server():
    with Server(limits='login_time = "1 min"') as it:
        it.address = it.accounts("victim", "other")
        it.probes = 0
        yield it
        assert it.is_alive(), "the server died"
        assert "panicked" not in it.log()


@contextlib.contextmanager
def bounded(server, growth=GROWTH_KIB_MAX):
    """Resident memory may not grow beyond this while the block runs, nor may others starve."""
    probe(server)
    before = server.rss_kib()
    peak = [before]
    yield lambda: peak.append(server.rss_kib())
    assert server.is_alive(), "the server died:\n" + server.log()[-2000:]
    peak.append(server.rss_kib())
    assert max(peak) - before < growth, f"resident memory went from {before} to {max(peak)} KiB"
    probe(server)


def probe(server, seconds_max=5):
    """Somebody else delivers and reads."""
    began = time.monotonic()
    other = server.address[1]
    server.probes += 1
    sent = message(f"probe-{server.probes}")
    smtp = server.smtp(timeout=seconds_max)
    code, text = smtp.deliver(sent, other)
    assert code == 250, text
    smtp.close()
    client = server.imap(other, timeout=seconds_max)
    client.must("SELECT INBOX")
    (data,) = client.fetch("*", "(BODY.PEEK[])").values()
    assert without_trace(data["BODY[]"]) == sent
    client.logout()
    assert time.monotonic() - began < seconds_max, "others wait"


def feed(line, data, total, look=lambda: None):
    """Sends `data` over and over up to `total` bytes, or until the server closes or stops reading; all it said."""
    said = bytearray()
    line.sock.setblocking(False)
    sent = 0
    quiet_since = time.monotonic()
    while sent < total and time.monotonic() - quiet_since < 5:
        readable, writable, _ = select.select([line.sock], [line.sock], [], 1)
        try:
            if readable:
                got = line.sock.recv(65536)
                if not got:
                    return bytes(said), "closed"
                said += got
            if writable:
                sent += line.sock.send(data)
                quiet_since = time.monotonic()
        except (ConnectionError, BrokenPipeError):
            return bytes(said), "closed"
        if sent % (64 * len(data)) == 0:
            look()
    return bytes(said), "stuck" if sent < total else "sent"


# --- slow clients -----------------------------------------------------------------------------------------------------------------


def test_thousands_of_slow_connections():
    count = 10_000 if soak() else 2_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 500
    if hard != resource.RLIM_INFINITY:
        assert hard >= wanted, f"raise the limit of open files above {wanted}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    texts = {"smtp": b"EHLO slow.client.example\r\n", "imap": b"a LOGIN {5}\r\n", "pop3": b"USER somebody@example.test\r\n",
             "lmtp": b"LHLO slow.client.example\r\n"}
    try:
        with Server() as server:
            server.address = server.accounts("victim", "other")
            server.probes = 0
            before = server.rss_kib()
            clients = []
            for index in range(count):
                service = list(texts)[index % len(texts)]
                sock = socket.create_connection(("127.0.0.1", server.ports[service]), timeout=30)
                sock.setblocking(False)
                clients.append((sock, texts[service]))
            for second in range(20 if soak() else 6):
                began = time.monotonic()
                for sock, text in clients:
                    with contextlib.suppress(OSError):
                        sock.send(text[second % len(text): second % len(text) + 1])
                probe(server)
                time.sleep(max(0, 1 - (time.monotonic() - began)))
            grown = server.rss_kib() - before
            assert grown < count * 16, f"{grown / count:.1f} KiB a connection"
            print(f"{count} slow connections: {grown / count:.1f} KiB each")
            for sock, _ in clients:
                sock.close()
            probe(server)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_client_that_never_reads_its_fetch(server):
    user = server.address[0]
    client = server.imap(user)
    body = message("big", size=8 << 20)
    for _ in range(10):
        client.append("INBOX", body)
    client.logout()
    deaf = []
    with bounded(server) as look:
        for _ in range(8):
            it = server.imap(user)
            it.must("SELECT INBOX")
            it.line.send(b"".join(b"f%d FETCH 1:* (BODY.PEEK[] BODYSTRUCTURE ENVELOPE)\r\n" % n for n in range(50)))
            deaf.append(it)
            pop = server.connect("pop3")
            assert pop.line().startswith(b"+OK")
            deaf.append(pop)
        for _ in range(20):
            look()
            time.sleep(0.1)
        probe(server)
    for it in deaf:
        it.close()
    client = server.imap(user)
    client.must("SELECT INBOX")
    (data,) = client.fetch("1", "(BODY.PEEK[])").values()
    assert data["BODY[]"] == body
    client.logout()


# --- endless input ------------------------------------------------------------------------------------------------------------------

ENDLESS = 1 << 30 if soak() else 1 << 28


@pytest.mark.parametrize("state", ["smtp", "smtp-mail", "lmtp", "submission", "imap", "imap-login", "imap-literal-list", "pop3",
                                   "pop3-login"])
def test_an_endless_line(server, state):
    user = server.address[0]
    service = state.split("-")[0]
    line = server.connect(service)
    line.line()
    greet = {
        "smtp-mail": b"EHLO x\r\nMAIL FROM:<a@b.test>\r\n",
        "imap-login": b'a LOGIN "%s" "right horse"\r\n' % user.encode(),
        "imap-literal-list": b'a LOGIN "%s" "right horse"\r\nb SEARCH ' % user.encode(),
        "pop3-login": b"USER %s\r\nPASS right horse\r\n" % user.encode(),
    }.get(state, b"")
    line.send(greet)
    with bounded(server) as look:
        said, how = feed(line, b"x" * 65536, ENDLESS, look)
        assert how != "stuck", f"neither read nor closed after {said[-200:]!r}"
        errors = (b"500 ", b"501 ", b"554 ", b"421 ", b" BAD ", b" NO [TOOBIG]", b"* BYE", b"-ERR")
        if how == "sent" and not any(it in said for it in errors):
            line.sock.settimeout(10)
            with contextlib.suppress(Closed, OSError):
                line.send(b"\r\n")
                said += line.line()
        # A close with bytes of ours unread may reset the connection and take the reply along.
        assert how == "closed" or any(it in said for it in errors), said[-300:]
    line.close()


def test_an_endless_header_and_message(server):
    """A header line of a gigabyte, and text without an end: one refusal after the true end, or a close."""
    for start in (b"Subject: ", b"Subject: x\r\n\r\n"):
        smtp = server.smtp()
        smtp.line.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<%s>\r\nDATA\r\n" % server.address[0].encode())
        assert [smtp.reply()[0] for _ in range(3)] == [250, 250, 354]
        with bounded(server, growth=160 * MIB) as look:
            smtp.line.send(start)
            said, how = feed(smtp.line, b"y" * 65536, ENDLESS, look)
            if how == "sent":
                smtp.line.sock.settimeout(10)
                smtp.line.send(b"\r\n.\r\n")
                assert smtp.reply()[0] in (500, 552, 554), "too large"
            else:
                assert how == "closed", "neither read nor closed"
        smtp.close()


@pytest.mark.parametrize("command", ["LOGIN", "APPEND", "SEARCH", "LIST"])
def test_announced_literals_of_4_gib(server, command):
    user = server.address[0]
    with bounded(server):
        for plus in ("", "+"):
            client = server.imap(None if command == "LOGIN" else user)
            text = {"LOGIN": "x LOGIN", "APPEND": "x APPEND INBOX", "SEARCH": "x SEARCH BODY", "LIST": 'x LIST ""'}[command]
            client.line.send(f"{text} {{4294967296{plus}}}\r\n".encode())
            try:
                items = client.response()
            except Closed:
                continue
            assert items[0] in ("x", "*") and items[1] in ("NO", "BAD", "BYE"), items
            if command == "APPEND" and not plus:
                assert items[1] == "NO" and "TOOBIG" in items[2]
                client.must("NOOP")
            client.close()


# --- deep and many ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opening", ["SEARCH ", "FETCH 1 ", "FETCH 1 BODY[", "STATUS INBOX ", "LIST ", "ID ", "STORE 1 FLAGS "])
def test_a_million_parentheses(server, opening):
    client = server.imap(server.address[0])
    client.must("SELECT INBOX")
    with bounded(server) as look:
        client.line.send(b"x " + opening.encode())
        said, how = feed(client.line, b"(" * 1000, 1_000_000, look)
        if how == "sent" and not re.search(rb"BAD|BYE|NO", said):
            client.line.sock.settimeout(10)
            with contextlib.suppress(OSError):
                client.line.send(b")" * 1_000_000 + b"\r\n")
            with contextlib.suppress(Closed, OSError):
                said += client.line.line()
        assert how == "closed" or re.search(rb"BAD|BYE|NO", said), said[-200:]
    client.close()


def nested(depth):
    head = "".join(f'Content-Type: multipart/mixed; boundary="{i:x}"\r\n\r\n--{i:x}\r\n' for i in range(depth))
    return (f"Subject: deep\r\nMIME-Version: 1.0\r\n{head}Content-Type: text/plain\r\n\r\nbottom\r\n").encode()


def rfc822(depth):
    return (b"Subject: letters in letters\r\nMIME-Version: 1.0\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * depth + b"x\r\n")


def wide(count):
    return (b'Subject: wide\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
            + b"--b\r\n\r\nx\r\n" * count + b"--b--\r\n")


def many_headers(count):
    return b"Subject: headers\r\n" + b"X-A: b\r\n" * count + b"\r\nx\r\n"


def parameters(count):
    return b'Content-Type: text/plain' + b"".join(b";\r\n a*%d*=x" % i for i in range(count)) + b"\r\n\r\nx\r\n"


def addresses(count):
    return b"From: a@b.test\r\nTo: " + b",\r\n ".join(b"g%d:a@b.test,c@d.test;" % i for i in range(count)) + b"\r\n\r\nx\r\n"


MILLION = 1_000_000


@pytest.mark.parametrize("make, count", [(nested, MILLION // 2), (rfc822, MILLION), (wide, MILLION), (many_headers, MILLION),
                                         (parameters, MILLION), (addresses, MILLION)])
def test_monstrous_messages(server, make, count):
    data = make(count)
    user = server.address[0]
    client = server.imap(user)
    client.must("CREATE Monsters")
    try:
        with bounded(server, growth=400 * MIB) as look:
            smtp = server.smtp(timeout=60)
            smtp.line.send(f"MAIL FROM:<a@b.test>\r\nRCPT TO:<{user}>\r\nDATA\r\n".encode())
            assert [smtp.reply()[0] for _ in range(3)] == [250, 250, 354]
            smtp.line.send(Smtp.dot_stuffed(data))
            code, text = smtp.reply()
            assert code in (250, 552, 554), text
            smtp.close()
            look()
            with contextlib.suppress(ImapError):
                client.append("Monsters", data)
            look()
            client.must("SELECT Monsters")
            if client.search("ALL"):
                began = time.monotonic()
                got = client.fetch("1:*", "(ENVELOPE BODYSTRUCTURE RFC822.SIZE BODY.PEEK[])")
                assert next(iter(got.values()))["BODY[]"] == data
                client.search('BODY "bottom"')
                client.search('HEADER X-A "b"')
                took = time.monotonic() - began
                assert took < 30, f"{took:.1f} s"
                print(f"{make.__name__}: {took:.2f} s")
            look()
    finally:
        client.close()
        client = server.imap(user)
        client.must("DELETE Monsters")
        client.logout()


def test_100_000_recipients(server):
    smtp = server.smtp(timeout=60)
    codes = {}
    with bounded(server) as look:
        smtp.line.send(b"MAIL FROM:<a@b.test>\r\n")
        assert smtp.reply()[0] == 250
        sent = 0
        try:
            for _ in range(100):
                smtp.line.send(b"".join(b"RCPT TO:<victim+%d@example.test>\r\n" % (sent + i) for i in range(1000)))
                sent += 1000
                for _ in range(1000):
                    code = smtp.reply()[0]
                    codes[code] = codes.get(code, 0) + 1
                look()
        except (Closed, OSError):
            pass
        assert codes.get(250, 0) <= 1000 and (codes.get(452, 0) or codes.get(421, 0)), codes
    smtp.close()


# --- garbage ----------------------------------------------------------------------------------------------------------------------


def words_of(service):
    return {
        "smtp": [b"EHLO x", b"MAIL FROM:<>", b"RCPT TO:<victim@example.test>", b"DATA", b"BDAT 3 LAST", b"BDAT 99999999999", b".",
                 b"RSET", b"STARTTLS x", b"AUTH PLAIN", b"VRFY x", b"NOOP", b"HELP", b"XYZZY"],
        "imap": [b"a LOGIN victim@example.test {11}", b"b SELECT INBOX", b"c FETCH 1:* (FLAGS", b"d IDLE", b"DONE", b"e APPEND INBOX {3}",
                 b"f AUTHENTICATE PLAIN", b"g STORE 1 +FLAGS (\\X", b"h SEARCH OR OR OR", b"i UID", b"* OK", b"+", b"j ENABLE QRESYNC",
                 b"k SELECT INBOX (QRESYNC (1 1 1:* (1 1)))", b"l CAPABILITY", b'm LOGIN "victim@example.test" "right horse"'],
        "pop3": [b"USER victim@example.test", b"PASS right horse", b"STAT", b"RETR 1", b"RETR -1", b"TOP 1 99999999999999999999",
                 b"UIDL 0", b"DELE 18446744073709551616", b"AUTH PLAIN =", b"CAPA", b"STLS x", b"LIST x", b"RSET"],
    }[{"lmtp": "smtp", "submission": "smtp"}.get(service, service)]


@pytest.mark.parametrize("service", ["smtp", "lmtp", "submission", "imap", "pop3", "imaps", "submissions"])
def test_pipelined_garbage_in_every_state(server, service):
    rng = random.Random(service)
    plain = service.rstrip("s") if service.endswith("s") and service != "lmtps" else service
    with bounded(server) as look:
        for round_ in range(120):
            try:
                line = server.connect(service, timeout=10)
            except OSError:
                continue
            try:
                if plain == service:
                    line.line()
                for _ in range(rng.randint(1, 40)):
                    choice = rng.random()
                    if choice < 0.6:
                        line.send(rng.choice(words_of(plain)) + b"\r\n")
                    elif choice < 0.8:
                        line.send(rng.randbytes(rng.choice((1, 30, 3000))) + rng.choice((b"", b"\r\n", b"\n", b"\r")))
                    else:
                        line.send(rng.choice((b"\r\n", b"\0", b"\r", b"\n\n", b"{999999999999}\r\n", b"{1+}\r\n", b"\xff\xfe\r\n")))
                line.sock.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    for _ in range(400):
                        line.line()
            except (Closed, OSError):
                pass
            except AssertionError:
                # Part of a literal, or of the handshake's alert: not lines.
                pass
            line.abort()
            if round_ % 20 == 0:
                look()
