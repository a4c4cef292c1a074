"""What the outside-in tests share: a server of their own, messages, and small raw clients.

A `Server` runs the real binary (HIKYAKU_BIN) in a fresh temporary directory, on ports that the kernel chooses. Nothing here
knows how the server is made inside; only processes that a test started are ever signalled.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
DOMAIN = "example.test"
PASSWORD = "right horse"
SERVICES = ("smtp", "lmtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 40


def binary():
    """The server under test."""
    path = os.environ.get("HIKYAKU_BIN")
    if not path:
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
        path = os.path.join(target, "release", "hikyaku")
    if not os.access(path, os.X_OK):
        raise SystemExit(f"there is no server to test at {path}: build it, or set HIKYAKU_BIN")
    return os.path.abspath(path)


def soak():
    """Whether the long forms of the tests are wanted."""
    return os.environ.get("HIKYAKU_SOAK") == "1"


class Server:
    """One node: its directory outlives restarts, and goes when the `with` block ends."""

    def __init__(self, dir=None, config="", store="", limits="", listen=SERVICES, env=None, auth="", wrapper=(),
                 extra_listen=""):
        self.own_dir = dir is None
        self.dir = dir or tempfile.mkdtemp(prefix="hikyaku-test-")
        self.data = os.path.join(self.dir, "data")
        self.config_path = os.path.join(self.dir, "cluster.toml")
        self.log_path = os.path.join(self.dir, "server.log")
        self.env = dict(os.environ, **(env or {}))
        self.wrapper = list(wrapper)
        # Before commands that speak to it.
        self.cli_wrapper = []
        # Of the command line, before the command.
        self.arguments = ["--config", self.config_path]
        self.process = None
        self.ports = {}
        self.lmtp_socket = None
        lines = [f'[[node]]\nname = "one"\nhostname = "mx.{DOMAIN}"\ndata = "{self.data}"', "[listen]"]
        lines += [f'{name} = "127.0.0.1:auto"' for name in listen]
        lines += ['admin = "127.0.0.1:auto"', extra_listen]
        lines += ["[auth]", auth or 'argon2_memory = "1 MiB"\nargon2_iterations = 1']
        # A test machine may be nearly full: the watermarks are tested where they are set on purpose.
        lines += ["[store]", store or 'space_low = "64 MiB"\nspace_exhausted = "32 MiB"\nballast = "8 MiB"']
        if limits:
            lines += ["[limits]", limits]
        lines.append(config)
        with open(self.config_path, "w") as f:
            f.write("\n".join(lines) + "\n")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, traceback):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is not None and os.path.exists(self.log_path):
            sys.stderr.write("--- the end of the server's log ---\n" + self.log()[-4000:] + "\n")
        if self.own_dir and not os.environ.get("HIKYAKU_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def start(self, wait=True, more=()):
        """Starts the node, with `more` options of `serve`, and returns the seconds until it said `ready`."""
        began = time.monotonic()
        self.ports = {}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, binary(), *self.arguments, "serve", *more],
                stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=self.env, cwd=self.dir,
            )
        if wait:
            self._read_until_ready(began)
        return time.monotonic() - began

    def _read_until_ready(self, began):
        watchdog = threading.Timer(START_SECONDS_MAX, self.process.kill)
        watchdog.start()
        try:
            for raw in self.process.stdout:
                words = raw.decode().split()
                if words[:1] == ["listening"]:
                    self.ports[words[1]] = int(words[2].rsplit(":", 1)[1])
                elif words[:1] == ["ready"]:
                    break
            else:
                code = self.process.wait()
                raise AssertionError(f"the server ended with {code} before it was ready:\n{self.log()[-3000:]}")
        finally:
            watchdog.cancel()
        # Nobody may block on a pipe that is not read.
        threading.Thread(target=self._drain, args=(self.process.stdout,), daemon=True).start()

    @staticmethod
    def _drain(pipe):
        with contextlib.suppress(ValueError):
            for _ in pipe:
                pass

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS_MAX)

    def kill(self):
        """SIGKILL: no code of the server runs any more."""
        self.process.kill()
        self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def is_alive(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def rss_kib(self):
        """Resident memory of the server in KiB."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])

    # --- the command line -----------------------------------------------------------------------------------------------

    def cli(self, *args, input=None, code=0, timeout=120, env=None):
        """Runs a command of the binary against this node and asserts its exit code."""
        command = [*self.cli_wrapper, binary(), *self.arguments]
        if "admin" in self.ports:
            command += ["--admin", f"127.0.0.1:{self.ports['admin']}"]
        done = subprocess.run(
            [*command, *args], input=input, capture_output=True, text=True, timeout=timeout,
            cwd=self.dir, env=dict(self.env, **(env or {})),
        )
        if code is not None:
            said = f"{args}: exit {done.returncode}, wanted {code}\nout: {done.stdout}\nerr: {done.stderr}"
            assert done.returncode == code, said
        return done

    def cli_json(self, *args, **kwargs):
        return json.loads(self.cli("--json", *args, **kwargs).stdout)

    def metrics(self):
        """{name with labels: value}"""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['admin']}/metrics", timeout=30) as reply:
            lines = [line for line in reply.read().decode().splitlines() if not line.startswith("#")]
        return {key: float(value) for key, value in (line.rsplit(" ", 1) for line in lines)}

    def accounts(self, *names, domain=DOMAIN, password=PASSWORD, add_domain=True):
        """Makes accounts NAME@DOMAIN and returns their addresses."""
        if add_domain:
            self.cli("domain", "add", domain)
        addresses = [f"{name}@{domain}" for name in names]
        self.cli("account", "import", "-", input="".join(f"{it}:{{PLAIN}}{password}\n" for it in addresses))
        return addresses

    # --- clients --------------------------------------------------------------------------------------------------------

    def connect(self, service, timeout=30):
        return Line(socket.create_connection(("127.0.0.1", self.ports[service]), timeout=timeout))

    def imap(self, user=None, password=PASSWORD, timeout=60):
        client = Imap(self.connect("imap", timeout))
        if user:
            client.must(f'LOGIN "{user}" "{password}"')
        return client

    def pop3_sizes(self, user, password=PASSWORD, timeout=60, tries=1):
        """What POP3 says of the messages: their sizes. Who is told to come again (RFC 3206, SYS/TEMP) does, up to so many tries."""
        line = self.connect("pop3", timeout)
        for command in (None, f"USER {user}", f"PASS {password}", "LIST"):
            if command:
                line.send(command.encode() + b"\r\n")
            said = line.line()
            if said.startswith(b"-ERR [SYS/TEMP]") and tries > 1:
                line.close()
                time.sleep(1)
                return self.pop3_sizes(user, password, timeout, tries - 1)
            assert said.startswith(b"+OK"), f"{command}: {said!r}"
        sizes = []
        while (row := line.line()) != b".":
            sizes.append(int(row.split()[1]))
        line.send(b"QUIT\r\n")
        line.close()
        return sizes

    def smtp(self, timeout=30):
        return Smtp(self.connect("smtp", timeout))

    def lmtp(self, timeout=30):
        return Smtp(self.connect("lmtp", timeout), hello="LHLO")


def trusting_tls():
    """A TLS context that takes the self-signed certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def eventually(condition, seconds=20, what="the condition"):
    """Polls until `condition()` is true; returns its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
        time.sleep(0.05)


# --- messages -----------------------------------------------------------------------------------------------------------------


def message(key, size=0, sender=f"sender@{DOMAIN}", to=f"reader@{DOMAIN}", subject=None):
    """A message (CRLF) that differs for every key; its text is derived from the key, so that damage shows."""
    random_of_key = random.Random(str(key))
    head = (
        f"From: Sender <{sender}>\r\nTo: <{to}>\r\nSubject: {subject or f'message {key}'}\r\n"
        f"Date: Tue, 17 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{key}@{DOMAIN}>\r\nX-Key: {key}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
    )
    lines = [f"This is {key}.", ".", "..dots", ""]
    length = len(head) + sum(len(line) + 2 for line in lines)
    while length < size:
        # 64 bits a character pair are plenty: two messages never look alike.
        line = "%0*x" % (70, random_of_key.getrandbits(280))
        lines.append(line)
        length += len(line) + 2
    return (head + "\r\n".join(lines) + "\r\n").encode()


def without_trace(stored):
    """What stands below the trace headers that a delivery puts on top."""
    rest = stored
    for name in (b"Return-Path", b"Delivered-To", b"Received"):
        match = re.match(rb"%s:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*" % name, rest, re.I)
        assert match, f"no {name.decode()} where it belongs: {stored[:400]!r}"
        rest = rest[match.end():]
    return rest


def digest(data):
    return hashlib.sha256(data).hexdigest()


# --- raw clients --------------------------------------------------------------------------------------------------------------


class Closed(Exception):
    """The server closed the connection."""


class Line:
    """A connection read by lines and by counts."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = bytearray()

    def starttls(self):
        assert not self.buffer
        self.sock = trusting_tls().wrap_socket(self.sock, server_hostname="localhost")

    def send(self, data):
        self.sock.sendall(data)

    def _fill(self):
        try:
            got = self.sock.recv(262144)
        except (ConnectionError, ssl.SSLEOFError) as error:
            raise Closed(str(error)) from error
        if not got:
            raise Closed("end of stream")
        self.buffer += got

    def line(self):
        """A line without its CRLF."""
        start = 0
        while True:
            at = self.buffer.find(b"\n", start)
            if at >= 0:
                line = bytes(self.buffer[: at + 1])
                del self.buffer[: at + 1]
                assert line.endswith(b"\r\n"), f"a line that ends without CR: {line[:200]!r}"
                return line[:-2]
            start = len(self.buffer)
            self._fill()

    def exactly(self, count):
        while len(self.buffer) < count:
            self._fill()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()

    def abort(self):
        """Ends the connection without a farewell."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.close()


class Smtp:
    """SMTP or LMTP by hand: replies as (code, text)."""

    def __init__(self, line, hello="EHLO", greet=True):
        self.line = line
        assert self.reply()[0] == 220
        if greet:
            code, text = self.command(f"{hello} client.test")
            assert code == 250, (code, text)
            self.extensions = text.split("\n")[1:]

    def reply(self):
        texts = []
        while True:
            raw = self.line.line().decode()
            assert re.match(r"[2-5]\d\d([ -]|$)", raw), f"no reply: {raw!r}"
            texts.append(raw[4:])
            if raw[3:4] != "-":
                return int(raw[:3]), "\n".join(texts)

    def command(self, text):
        self.line.send(text.encode() + b"\r\n")
        return self.reply()

    @staticmethod
    def dot_stuffed(data):
        return re.sub(rb"(?m)^\.", b"..", data) + b".\r\n"

    def deliver(self, data, to, sender=f"sender@{DOMAIN}", options=""):
        """One transaction; the reply after DATA, or the first refusal."""
        recipients = [to] if isinstance(to, str) else to
        text = f"MAIL FROM:<{sender}>{options}\r\n" + "".join(f"RCPT TO:<{it}>\r\n" for it in recipients) + "DATA\r\n"
        self.line.send(text.encode())
        refused = None
        for wanted in (250, *[250] * len(recipients), 354):
            code, text = self.reply()
            if code != wanted and not refused:
                refused = (code, text)
        if refused:
            if code == 354:
                self.line.send(b".\r\n")
                self.reply()
            self.command("RSET")
            return refused
        self.line.send(self.dot_stuffed(data))
        return self.reply()

    def close(self):
        self.line.close()


class Untagged:
    """One untagged response: its words, literals in place."""

    __slots__ = ("items",)

    def __init__(self, items):
        self.items = items

    def __repr__(self):
        return f"Untagged({self.items!r})"


class ImapError(Exception):
    """NO or BAD."""

    def __init__(self, kind, text):
        super().__init__(f"{kind} {text}")
        self.kind = kind
        self.text = text


class Imap:
    """IMAP by hand: every untagged response is kept in order, parsed into atoms (str), strings (bytes), lists and None."""

    def __init__(self, line, greet=True):
        self.line = line
        self.tag = 0
        self.greeting = self.response() if greet else None
        self.on_untagged = None

    # responses

    def response(self):
        """One response as a list of items; `+`, `*` or the tag first."""
        parts = []
        while True:
            raw = self.line.line()
            parts.append(raw)
            literal = re.search(rb"\{(\d+)\}$", raw)
            if not literal:
                break
            parts.append(self.line.exactly(int(literal[1])))
        return parse_response(parts)

    def finish(self, tag):
        """Reads until the tagged response; (kind, text, [untagged])."""
        untagged = []
        while True:
            items = self.response()
            if items[0] == "*":
                untagged.append(items[1:])
                if self.on_untagged:
                    self.on_untagged(items[1:])
            elif items[0] == tag:
                return items[1], items[2] if len(items) > 2 else "", untagged
            else:
                raise AssertionError(f"neither untagged nor {tag}: {items!r}")

    def next_tag(self):
        self.tag += 1
        return f"a{self.tag}"

    def send(self, text, *literals):
        """Sends a command; every `%s` in it becomes a non-synchronizing literal."""
        tag = self.next_tag()
        out = bytearray(f"{tag} ".encode())
        pieces = text.split("%s") if literals else [text]
        for index, piece in enumerate(pieces):
            out += piece.encode()
            if index < len(literals):
                out += b"{%d+}\r\n" % len(literals[index]) + literals[index]
        self.line.send(bytes(out) + b"\r\n")
        return tag

    def command(self, text, *literals):
        return self.finish(self.send(text, *literals))

    def must(self, text, *literals):
        """The untagged responses of a command that has to be answered OK."""
        kind, said, untagged = self.command(text, *literals)
        if kind != "OK":
            raise ImapError(kind, f"{said} (to {text[:200]})")
        self.said = said
        return untagged

    def fetch(self, set_, what, uid=True):
        """{uid or number: {item: value}}"""
        out = {}
        for items in self.must(f"{'UID ' if uid else ''}FETCH {set_} {what}"):
            if len(items) > 2 and items[1] == "FETCH":
                data = pairs(items[2])
                key = data["UID"] if uid else items[0]
                out.setdefault(int(key), {}).update(data)
        return out

    def bodies(self, folder="INBOX", chunk=200):
        """{uid: bytes} of a folder, looked at without a trace."""
        self.must(f'EXAMINE "{folder}"')
        uids = self.search("ALL")
        out = {}
        for at in range(0, len(uids), chunk):
            part = uids[at: at + chunk]
            got = self.fetch(",".join(map(str, part)), "(BODY.PEEK[])")
            out.update({uid: data["BODY[]"] for uid, data in got.items()})
        assert sorted(out) == uids, "FETCH did not return what SEARCH found"
        return out

    def search(self, what, uid=True):
        for items in self.must(f"{'UID ' if uid else ''}SEARCH {what}"):
            if items[:1] == ["SEARCH"]:
                return [int(it) for it in items[1:]]
        raise AssertionError("no SEARCH response")

    def append(self, folder, data, flags="", date=""):
        flags = f"({flags}) " if flags else ""
        date = f'"{date}" ' if date else ""
        return self.must(f'APPEND "{folder}" {flags}{date}%s', data)

    def logout(self):
        with contextlib.suppress(Closed, OSError):
            self.must("LOGOUT")
        self.line.close()

    def close(self):
        self.line.close()


def pairs(items):
    """The items of a FETCH response by name."""
    assert len(items) % 2 == 0, items
    return {items[i].upper(): items[i + 1] for i in range(0, len(items), 2)}


_ATOM_END = re.compile(rb"[\s()\"]")


def parse_response(parts):
    """Lines and literals, alternating, to items. A status text (OK, NO, BAD, BYE, PREAUTH) stays one string."""
    first = parts[0]
    status = re.match(rb"(\S+) (OK|NO|BAD|BYE|PREAUTH)(?: (.*))?$", first, re.S)
    if status and len(parts) == 1:
        return [status[1].decode(), status[2].decode(), (status[3] or b"").decode(errors="replace")]
    if first.startswith(b"+"):
        return ["+", first[1:].strip().decode(errors="replace")]
    stack = [[]]
    for index in range(0, len(parts), 2):
        text = parts[index]
        literal = parts[index + 1] if index + 1 < len(parts) else None
        if literal is not None:
            text = text[: text.rindex(b"{")]
            if text.endswith(b"~"):
                text = text[:-1]
        _items_of(text, stack)
        if literal is not None:
            stack[-1].append(literal)
    assert len(stack) == 1, f"parentheses do not match: {parts!r}"
    return stack[0]


def _items_of(text, stack):
    at = 0
    while at < len(text):
        byte = text[at: at + 1]
        if byte == b" ":
            at += 1
        elif byte == b"(":
            stack.append([])
            at += 1
        elif byte == b")":
            done = stack.pop()
            stack[-1].append(done)
            at += 1
        elif byte == b'"':
            end = at + 1
            while text[end: end + 1] != b'"':
                end += 2 if text[end: end + 1] == b"\\" else 1
                assert end < len(text), f"a quoted string without an end: {text!r}"
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", text[at + 1: end]))
            at = end + 1
        else:
            at = _atom(text, at, stack)


def _atom(text, at, stack):
    end = at
    depth = 0
    while end < len(text):
        byte = text[end: end + 1]
        # BODY[HEADER.FIELDS (FROM TO)] is one name.
        depth += (byte == b"[") - (byte == b"]")
        if depth <= 0 and byte in b' ()"':
            break
        end += 1
    atom = text[at:end].decode(errors="replace")
    stack[-1].append(None if atom.upper() == "NIL" else atom)
    return end


# --- running --------------------------------------------------------------------------------------------------------------------


def run_tool(command, input=None, timeout=120, env=None, code=0, cwd=None):
    """Runs a client program; its output belongs to the failure if there is one."""
    done = subprocess.run(command, input=input, capture_output=True, timeout=timeout, env=env, cwd=cwd)
    out = done.stdout.decode(errors="replace")
    err = done.stderr.decode(errors="replace")
    if code is not None:
        assert done.returncode == code, f"{command}: exit {done.returncode}\nout: {out[-3000:]}\nerr: {err[-3000:]}"
    return done


def need(program):
    """The path of a program that the tests need."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/bin")
    assert path, f"{program} is not installed: run tests/install.sh"
    return path
