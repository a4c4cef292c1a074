"""Extensions over gRPC: the shipped example, tokens and scopes, what comes again and what does not."""

import imaplib
import os
import pathlib
import subprocess
import sys

import pytest

import harness
from harness import PASSWORD, ROOT, Server

grpc = pytest.importorskip("grpc", reason="tests/install.sh installs python3-grpcio")

PROTO = os.path.join(ROOT, "proto/hikyaku/extension/v1")
EXAMPLE = os.path.join(ROOT, "extensions/examples/pager.py")
ANN, BOB = f"ann@{harness.DOMAIN}", "bob@example.net"

CONFIG = f"""
[extensions.pager]
domains = ["{harness.DOMAIN}"]
events = ["arrived"]
verbs = ["subscribe", "fetch"]
[extensions.all]
domains = ["*"]
verbs = ["subscribe", "fetch", "update"]
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """The directory of the modules that protoc makes, on the path."""
    where = str(tmp_path_factory.mktemp("stubs"))
    plugin = subprocess.run(["which", "grpc_python_plugin"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["protoc", f"-I{PROTO}", f"--python_out={where}", f"--grpc_out={where}",
                    f"--plugin=protoc-gen-grpc={plugin}", "extension.proto"], check=True)
    sys.path.insert(0, where)
    yield where
    sys.path.remove(where)


@pytest.fixture
def server(stubs):
    with Server(config=CONFIG, extra_listen='extensions = "127.0.0.1:auto"') as server:
        server.accounts("ann")
        server.accounts("bob", domain="example.net")
        yield server


def address_of(server):
    return f"127.0.0.1:{server.ports['extensions']}"


def token_of(server, name):
    return pathlib.Path(server.data, "extensions", f"{name}.token")


class Client:
    """One extension."""

    def __init__(self, server, name, token=None):
        import extension_pb2 as api
        import extension_pb2_grpc
        self.api = api
        token = token or token_of(server, name).read_text().strip()
        self.auth = [("authorization", f"Bearer {token}")]
        self.channel = grpc.insecure_channel(address_of(server))
        self.stub = extension_pb2_grpc.ExtensionsStub(self.channel)

    def call(self, method, **fields):
        request = {"Subscribe": "SubscribeRequest", "Acknowledge": "AcknowledgeRequest", "Fetch": "FetchRequest",
                   "ListFolders": "ListFoldersRequest", "ListMessages": "ListMessagesRequest",
                   "Update": "UpdateRequest"}[method]
        return getattr(self.stub, method)(getattr(self.api, request)(**fields), metadata=self.auth, timeout=60)

    def acknowledge(self, batch):
        self.call("Acknowledge", id=batch.id)

    def ranges(self, *uids):
        return [self.api.UidRange(first=uid, last=uid) for uid in uids]


def code_of(call):
    with pytest.raises(grpc.RpcError) as raised:
        for _ in call():
            pass
    return raised.value.code()


def arrived(batches, count):
    """(account, folder, uid) of the next arrivals, each batch acknowledged by the caller's client."""
    client, stream = batches
    found = []
    while len(found) < count:
        batch = next(stream)
        for event in batch.events.events:
            if event.type == "arrived":
                found += [(batch.account, event.folder, uid) for r in event.uids for uid in range(r.first, r.last + 1)]
        client.acknowledge(batch)
    return found


def send(server, to, subject):
    smtp = server.smtp()
    code, text = smtp.deliver(harness.message(subject.replace(" ", "-"), to=to, subject=subject), to)
    assert code == 250, text
    smtp.close()


def test_the_example_pages_for_every_new_message(server, stubs, tmp_path):
    pages = tmp_path / "pages"
    command = ["sh", "-c", f'echo "$0" >> {pages}']
    env = dict(os.environ, PYTHONPATH=stubs)

    def pager():
        return subprocess.Popen([sys.executable, EXAMPLE, address_of(server), str(token_of(server, "pager")), *command],
                                env=env, stderr=subprocess.PIPE)

    def lines():
        return pages.read_text().splitlines() if pages.exists() else []

    first = pager()
    try:
        send(server, ANN, "The house is on fire")
        send(server, BOB, "Not in its scope")
        harness.eventually(lambda: lines(), what="a page")
    finally:
        first.terminate()
        first.wait()
    assert len(lines()) == 1 and ANN in lines()[0] and lines()[0].endswith(": The house is on fire")
    # While nobody listens, and over a restart of the server.
    send(server, ANN, "Second")
    server.restart()
    send(server, ANN, "Third")
    second = pager()
    try:
        harness.eventually(lambda: any(line.endswith(": Third") for line in lines()), what="the third page")
    finally:
        second.terminate()
        second.wait()
    subjects = [line.rsplit(": ", 1)[1] for line in lines()]
    assert subjects[-2:] == ["Second", "Third"], subjects


def test_tokens_open_what_the_file_says(server):
    assert oct(token_of(server, "pager").stat().st_mode & 0o777) == "0o600"
    pager, stranger = Client(server, "pager"), Client(server, "pager", token="0" * 64)
    send(server, ANN, "one")
    codes = grpc.StatusCode
    assert code_of(lambda: stranger.call("Subscribe")) == codes.UNAUTHENTICATED
    assert code_of(lambda: pager.call("Subscribe", events=["flagged"])) == codes.PERMISSION_DENIED
    assert code_of(lambda: pager.call("Fetch", account=BOB, folder="INBOX", uid=1)) == codes.NOT_FOUND
    with pytest.raises(grpc.RpcError) as refused:
        pager.call("Update", account=ANN, folder="INBOX", uids=pager.ranges(1), add_flags=["\\Seen"])
    assert refused.value.code() == codes.PERMISSION_DENIED
    assert "extensions.pager.verbs" in refused.value.details()


def test_what_is_not_acknowledged_comes_again_and_the_rest_does_not(server):
    client = Client(server, "all")
    stream = client.call("Subscribe")
    send(server, ANN, "one")
    assert arrived((client, stream), 1) == [(ANN, "INBOX", 1)]
    send(server, ANN, "two")
    batch = next(stream)
    assert [e.type for e in batch.events.events] == ["arrived"]
    # A second stream takes the place of the first, which is told.
    later = client.call("Subscribe")
    assert arrived((client, later), 1) == [(ANN, "INBOX", 2)]
    assert code_of(lambda: stream) == grpc.StatusCode.ABORTED
    send(server, BOB, "three")
    assert arrived((client, later), 1) == [(BOB, "INBOX", 1)]


def test_an_extension_reads_flags_and_moves(server):
    client = Client(server, "all")
    stream = client.call("Subscribe")
    send(server, ANN, "Invoice 7")
    arrived((client, stream), 1)
    header = b"".join(p.data for p in client.call("Fetch", account=ANN, folder="INBOX", uid=1, section="HEADER"))
    assert b"Subject: Invoice 7\r\n" in header
    folders = {f.name: f for f in client.call("ListFolders", account=ANN).folders}
    assert folders["INBOX"].messages == 1 and folders["Trash"].special_use == "\\Trash"
    reply = client.call("Update", account=ANN, folder="INBOX", uids=client.ranges(1), add_flags=["\\Seen", "paid"],
                        move_to="Archive")
    assert (reply.changed, reply.moved) == (1, 1)
    [message] = client.call("ListMessages", account=ANN, folder="Archive")
    assert sorted(message.flags) == ["\\Seen", "paid"]
    types = []
    while "vanished" not in types:
        batch = next(stream)
        types += [event.type for event in batch.events.events]
        client.acknowledge(batch)
    assert set(types) == {"flagged", "arrived", "vanished"}, types


def test_status_tells_how_far_an_extension_is(server):
    client = Client(server, "all")

    def state():
        states = server.cli_json("status")["extensions"]
        return {state["name"]: state for state in states}["all"]

    assert not state()["connected"]
    stream = client.call("Subscribe")
    send(server, ANN, "one")
    batch = next(stream)
    harness.eventually(lambda: state()["behind"] == 1, what="the mailbox to be behind")
    assert state()["connected"] and state()["mailboxes"] == 2
    client.acknowledge(batch)
    harness.eventually(lambda: state()["behind"] == 0, what="nothing to be behind")
    stream.cancel()
    harness.eventually(lambda: not state()["connected"], what="the end of the stream")


def test_a_dead_subscriber_delays_no_mail(server):
    client = Client(server, "all")
    stream = client.call("Subscribe")
    # It takes nothing, and acknowledges nothing.
    for number in range(120):
        send(server, ANN, f"message {number}")
    with imaplib.IMAP4("127.0.0.1", server.ports["imap"]) as imap:
        imap.login(ANN, PASSWORD)
        assert imap.select("INBOX")[1] == [b"120"]
    seen = set()
    while len(seen) < 120:
        batch = next(stream)
        seen |= {uid for e in batch.events.events for r in e.uids for uid in range(r.first, r.last + 1)}
        client.acknowledge(batch)
    assert seen == set(range(1, 121))
