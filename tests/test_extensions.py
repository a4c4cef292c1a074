"""Extensions over gRPC: the shipped example, tokens and scopes, what comes again and what does not."""

import contextlib
import imaplib
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import pytest

import harness
from cluster import Cluster
from harness import PASSWORD, ROOT, Server
from plain_browser import Browser

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
[extensions.filter]
domains = ["{harness.DOMAIN}"]
verbs = ["decide"]
deadline = "3 s"
[extensions.slow]
accounts = ["{BOB}"]
verbs = ["decide"]
deadline = "500 ms"
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
    with Server(config=CONFIG, listen=(*harness.SERVICES, "http"), extra_listen='extensions = "127.0.0.1:auto"') as server:
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
                   "Rewind": "RewindRequest", "Update": "UpdateRequest", "Decide": "DecideRequest", "Answer": "AnswerRequest"}[method]
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


def test_events_come_once_more_by_call_and_by_command(server):
    client = Client(server, "all")
    stream = client.call("Subscribe")
    for number in range(3):
        send(server, ANN, f"message {number}")
    wanted = [(ANN, "INBOX", uid) for uid in (1, 2, 3)]
    assert sorted(arrived((client, stream), 3)) == wanted

    def said(*args):
        return server.cli_json("extension", "rewind", "all", *args)

    for reply in (
        lambda: client.call("Rewind", account=ANN, to="time", since=int(time.time()) - 3600).rewound == 1,
        lambda: said("--since", "1h", "--account", ANN) == {"rewound": 1, "reset": 0},
        lambda: said("--kept")["rewound"] == 2,
        lambda: said("--since", "2020-02-02")["rewound"] == 2,
    ):
        assert reply()
        assert sorted(arrived((client, stream), 3)) == wanted
    assert said("--reset", "--account", ANN) == {"rewound": 0, "reset": 1}
    batch = next(stream)
    assert batch.HasField("reset") and batch.account == ANN
    client.acknowledge(batch)
    assert "names none that subscribes" in server.cli("extension", "rewind", "filter", "--kept", code=1).stderr
    assert "no time" in server.cli("extension", "rewind", "all", "--since", "soon", code=1).stderr
    assert code_of(lambda: [client.call("Rewind", to="yesterday")]) == grpc.StatusCode.INVALID_ARGUMENT


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


# --- decisions ------------------------------------------------------------------------------------------------------------------


class Filter(threading.Thread):
    """Answers every question by what the subject says; keeps the questions."""

    def __init__(self, server, name):
        super().__init__(daemon=True)
        self.client, self.questions = Client(server, name), []
        self.stream = self.client.call("Decide")
        self.start()
        harness.eventually(lambda: metric(server, "hikyaku_extension_connected", name) == 1, what="that it is connected")

    def run(self):
        with contextlib.suppress(grpc.RpcError):
            for question in self.stream:
                self.questions.append(question)
                verdicts = self.verdicts(question, question.message.decode())
                if verdicts is not None:
                    self.client.call("Answer", id=question.id, verdicts=verdicts)

    def verdicts(self, question, text):
        verdict = self.client.api.Verdict
        if "Subject: refuse" in text:
            return [verdict(ruling="refuse")]
        if "Subject: defer" in text:
            return [verdict(ruling="defer")]
        if "Subject: junk" in text:
            return [verdict(folder="\\Junk", add_flags=["\\Flagged", "probed"])]
        if "Subject: not ann" in text:
            return [verdict(accounts=[ANN], ruling="refuse")]
        return None if "Subject: silence" in text else []


def metric(server, name, extension, **labels):
    labels = ",".join(f'{key}="{value}"' for key, value in {"extension": extension, **labels}.items())
    return server.metrics()[f"{name}{{{labels}}}"]


def subjects(server, user, folder):
    client = server.imap(user)
    return [re.search(rb"Subject: ([^\r]*)", body)[1].decode() for body in client.bodies(folder).values()]


def deliver(server, subject, *to):
    smtp = server.smtp()
    code, text = smtp.deliver(harness.message(subject.replace(" ", "-"), to=to[0], subject=subject), to)
    smtp.close()
    return code, text


def test_a_filter_files_defers_and_refuses(server):
    filter_ = Filter(server, "filter")
    assert deliver(server, "plain", ANN)[0] == 250
    assert deliver(server, "junk", ANN)[0] == 250
    code, text = deliver(server, "refuse this", ANN)
    assert code == 550 and "5.7.1" in text, text
    code, text = deliver(server, "defer this", ANN)
    assert code == 451 and "4.7.1" in text, text
    assert (subjects(server, ANN, "INBOX"), subjects(server, ANN, "Junk")) == (["plain"], ["junk"])
    client = server.imap(ANN)
    client.must("SELECT Junk")
    (flags,) = [row["FLAGS"] for row in client.fetch("1:*", "(FLAGS)").values()]
    assert {"\\Flagged", "probed", "$Junk"} <= set(flags), flags
    question = filter_.questions[0]
    assert (question.protocol, question.reverse_path, question.ip) == ("smtp", f"sender@{harness.DOMAIN}", "127.0.0.1")
    assert [(it.address, it.account) for it in question.recipients] == [(ANN, ANN)]
    assert question.size == len(question.message) and question.deadline_ms == 3000
    # Out of its scope: not asked.
    assert deliver(server, "refuse this", BOB)[0] == 250
    assert len(filter_.questions) == 4
    assert metric(server, "hikyaku_extension_decided_total", "filter") == 4


def test_one_of_several_refuses(server):
    Filter(server, "filter")
    assert deliver(server, "not ann", ANN, BOB)[0] == 250
    harness.eventually(lambda: subjects(server, ANN, "Junk") == ["not ann"], what="that it is in Junk")
    harness.eventually(lambda: subjects(server, BOB, "INBOX") == ["not ann"], what="that it is in INBOX")
    assert deliver(server, "not ann", ANN)[0] == 550


def test_filters_that_are_dead_or_slow_hold_up_nothing(server):
    assert deliver(server, "before", ANN)[0] == 250
    assert metric(server, "hikyaku_extension_missed_total", "filter", why="away") == 1
    slow = Filter(server, "slow")
    assert deliver(server, "silence", BOB)[0] == 250
    assert metric(server, "hikyaku_extension_missed_total", "slow", why="late") == 1
    late = slow.questions[0].id
    assert code_of(lambda: [slow.client.call("Answer", id=late)]) == grpc.StatusCode.FAILED_PRECONDITION
    first = Filter(server, "filter")
    second = Filter(server, "filter")
    first.join(10)
    assert not first.is_alive(), "the second stream ends the first"
    # It dies with a question in its hands.
    waiting = threading.Thread(target=lambda: second.questions.append(deliver(server, "silence", ANN)), daemon=True)
    waiting.start()
    harness.eventually(lambda: second.questions, what="that it is asked")
    second.stream.cancel()
    waiting.join(2.5)
    assert second.questions[-1][0] == 250
    assert sorted(subjects(server, ANN, "INBOX")) == ["before", "silence"]


def test_verdicts_that_make_no_sense_are_refused(server):
    filter_ = Client(server, "filter")
    stream = filter_.call("Decide")
    harness.eventually(lambda: metric(server, "hikyaku_extension_connected", "filter") == 1, what="that it is connected")
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(deliver(server, "odd", ANN)), daemon=True)
    waiting.start()
    question = next(stream)
    verdict = filter_.api.Verdict
    for wrong in [verdict(ruling="bounce"), verdict(folder="a//b"), verdict(add_flags=["\\Deleted"]), verdict(accounts=[BOB])]:
        assert code_of(lambda: [filter_.call("Answer", id=question.id, verdicts=[wrong])]) == grpc.StatusCode.INVALID_ARGUMENT
    filter_.call("Answer", id=question.id, verdicts=[verdict(ruling="refuse")])
    waiting.join(10)
    assert answers[0][0] == 550
    assert code_of(lambda: Client(server, "pager").call("Decide")) == grpc.StatusCode.PERMISSION_DENIED


def test_the_example_filters(server, stubs, tmp_path):
    script = tmp_path / "look.sh"
    script.write_text("#!/bin/sh\nif grep -q '^Subject: cheap'; then exit 1; fi\n")
    script.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": stubs}
    command = [sys.executable, os.path.join(ROOT, "extensions/examples/filter.py"), address_of(server), str(token_of(server, "filter")), str(script)]
    process = subprocess.Popen(command, env=environment)
    try:
        harness.eventually(lambda: metric(server, "hikyaku_extension_connected", "filter") == 1, what="that it is connected")
        assert deliver(server, "cheap watches", ANN)[0] == 250
        assert deliver(server, "lunch", ANN)[0] == 250
        assert (subjects(server, ANN, "Junk"), subjects(server, ANN, "INBOX")) == (["cheap watches"], ["lunch"])
    finally:
        process.terminate()
        process.wait(10)


def compose(server, user, subject, *to, undo=0):
    """Sends a message in the webmail; the page that comes, and the browser."""
    browser = Browser(server)
    browser.login(user)
    browser.submit(browser.get("/settings").form("/settings", "save"), "save", {"undo_seconds": str(undo)})
    form = browser.get("/compose").form("/compose", "send")
    return browser.submit(form, "send", {"to": ", ".join(to), "subject": subject, "text": "my words"}), browser


def test_mail_of_the_webmail_is_decided_about(server):
    filter_ = Filter(server, "filter")
    assert "was sent" in compose(server, BOB, "plain", ANN)[0].text
    assert "was sent" in compose(server, BOB, "junk", ANN)[0].text
    assert (subjects(server, ANN, "INBOX"), subjects(server, ANN, "Junk")) == (["plain"], ["junk"])
    for subject, why in [("refuse this", "refuses the message. Nothing was sent"), ("defer this", "does not take the message now")]:
        page, browser = compose(server, BOB, subject, ANN)
        assert why in page.notice(), page.text
        form = page.form("/compose", "send")
        assert (dict(form.fields)["subject"], dict(form.fields)["text"].strip()) == (subject, "my words")
        assert subjects(server, BOB, "Drafts") == [subject]
        browser.submit(form, "discard", {})
    # What one of several refuses is in its Junk.
    assert "was sent" in compose(server, BOB, "not ann", ANN, BOB)[0].text
    harness.eventually(lambda: subjects(server, ANN, "Junk") == ["junk", "not ann"], what="that it is in Junk")
    harness.eventually(lambda: subjects(server, BOB, "INBOX") == ["not ann"], what="that it is in INBOX")
    question = filter_.questions[0]
    assert (question.protocol, question.submitter, question.reverse_path, question.helo) == ("http", BOB, BOB, "")
    assert [(it.address, it.account) for it in question.recipients] == [(ANN, ANN)]
    assert question.size == len(question.message) and b"my words" in question.message


def test_what_is_held_was_decided_about_before(server):
    filter_ = Filter(server, "filter")
    page, _ = compose(server, BOB, "refuse this", ANN, undo=5)
    assert "refuses the message" in page.notice(), page.text
    page, _ = compose(server, BOB, "junk", ANN, undo=5)
    assert "is sent in 5 seconds" in page.text, page.text
    harness.eventually(lambda: subjects(server, ANN, "Junk") == ["junk"], what="that it is in Junk")
    assert len(filter_.questions) == 2, "each is asked about once"


def test_a_filter_that_is_too_late_holds_up_no_browser(server):
    Filter(server, "slow")
    assert "was sent" in compose(server, ANN, "silence", BOB)[0].text
    assert metric(server, "hikyaku_extension_missed_total", "slow", why="late") == 1


# --- a cluster ------------------------------------------------------------------------------------------------------------------

TOKEN = "0123456789abcdef0123456789abcdef"
IN_CLUSTER = f"""
[extensions.filter]
domains = ["*"]
verbs = ["decide"]
deadline = "5 s"
token = "{TOKEN}"
[extensions.pager]
domains = ["*"]
verbs = ["subscribe"]
token = "f{TOKEN}"
"""


class InCluster(Filter):
    """A filter that may be connected to one node of several."""

    def __init__(self, node):
        threading.Thread.__init__(self, daemon=True)
        self.client, self.questions = Client(node, "filter", TOKEN), []
        self.stream = self.client.call("Decide")
        self.start()


def asked_at(cluster):
    """By node: where it asks the filter."""
    status = next(iter(cluster.alive())).cli_json("status", code=None)
    return {it["node"]: it["asked_at"] for it in status["sums"]["extensions"] if it["name"] == "filter"}


def test_one_filter_is_asked_by_every_node(stubs, tmp_path):
    services = (*harness.SERVICES, "http", "extensions")
    with Cluster(extra=IN_CLUSTER, services=services) as cluster:
        a, b, c = (cluster[name] for name in "abc")
        cluster.until_whole()
        a.accounts("ann")
        a.accounts("bob", domain="example.net")
        filter_ = InCluster(b)
        harness.eventually(lambda: asked_at(cluster) == {"a": "b", "b": "b", "c": "b"}, what="that all ask it")
        for node in (a, b, c):
            assert deliver(node, "refuse this", ANN)[0] == 550
            assert deliver(node, f"junk {node.name}", ANN)[0] == 250
        harness.eventually(lambda: sorted(subjects(c, ANN, "Junk")) == ["junk a", "junk b", "junk c"], what="that all are in Junk")
        assert "refuses the message" in compose(a, BOB, "refuse this", ANN)[0].notice()
        assert [metric(node, "hikyaku_extension_decided_total", "filter") for node in (a, b, c)] == [3, 2, 2]
        # A verdict that makes no sense is refused as at the node itself, and may be said again.
        wrong = []
        filter_.verdicts = lambda question, text: wrong.append(question.id)
        waiting = threading.Thread(target=lambda: wrong.append(deliver(a, "odd", ANN)), daemon=True)
        waiting.start()
        harness.eventually(lambda: wrong, what="that it is asked")
        odd = filter_.client.api.Verdict(ruling="bounce")
        assert code_of(lambda: [filter_.client.call("Answer", id=wrong[0], verdicts=[odd])]) == grpc.StatusCode.INVALID_ARGUMENT
        refusal = filter_.client.api.Verdict(ruling="refuse")
        filter_.client.call("Answer", id=wrong[0], verdicts=[refusal])
        waiting.join(10)
        assert wrong[1][0] == 550
        assert code_of(lambda: [filter_.client.call("Answer", id=wrong[0])]) == grpc.StatusCode.FAILED_PRECONDITION
        del filter_.verdicts
        # One that is connected to the node itself goes first, and its end leaves the other.
        own = InCluster(a)
        harness.eventually(lambda: asked_at(cluster)["a"] == "a", what="that a asks its own")
        before = len(filter_.questions)
        assert deliver(a, "refuse this", ANN)[0] == 550
        assert (len(own.questions), len(filter_.questions)) == (1, before)
        own.stream.cancel()
        harness.eventually(lambda: asked_at(cluster)["a"] == "b", what="that a asks b again")
        assert deliver(a, "refuse this", ANN)[0] == 550
        # Its node dies with a question in its hands: mail goes on, and is counted.
        waiting = threading.Thread(target=lambda: wrong.append(deliver(a, "silence", ANN)), daemon=True)
        before = len(filter_.questions)
        waiting.start()
        harness.eventually(lambda: len(filter_.questions) > before, what="that it is asked")
        b.kill()
        waiting.join(30)
        assert wrong[-1][0] == 250
        harness.eventually(lambda: asked_at(cluster).get("a") == "", what="that nobody is asked")
        # The example goes on at another node.
        script = tmp_path / "look.sh"
        script.write_text("#!/bin/sh\nif grep -q '^Subject: cheap'; then exit 2; fi\n")
        script.chmod(0o755)
        token = tmp_path / "token"
        token.write_text(TOKEN)
        addresses = ",".join(address_of(node) for node in (b, c))
        command = [sys.executable, os.path.join(ROOT, "extensions/examples/filter.py"), addresses, str(token), str(script)]
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": stubs})
        try:
            harness.eventually(lambda: asked_at(cluster) == {"a": "c", "c": "c"}, what="that c is asked")
            assert deliver(a, "cheap watches", ANN)[0] == 550
        finally:
            process.terminate()
            process.wait(10)


def test_status_tells_of_extensions_on_every_node(stubs):
    with Cluster(names=("a", "b"), extra=IN_CLUSTER, services=(*harness.SERVICES, "extensions"),
                 settings={"replicas": "2", "min_in_sync": "1"}) as cluster:
        a, b = cluster["a"], cluster["b"]
        cluster.until_whole()
        a.accounts("ann")
        client = Client(b, "pager", "f" + TOKEN)
        stream = client.call("Subscribe")
        send(a, ANN, "one")
        next(stream)

        def behind():
            states = a.cli_json("status", code=None)["sums"]["extensions"]
            return {it["node"]: (it["connected"], it["behind"]) for it in states if it["name"] == "pager"}

        harness.eventually(lambda: behind() == {"a": (False, 0), "b": (True, 1)}, what="that a tells of b")
        text = a.cli("status").stdout
        assert re.search(r"^pager +b +connected +1 +1 ", text, re.M), text
        assert re.search(r"^pager +a +not connected ", text, re.M), text
        assert re.search(r"^index +b +runs ", text, re.M), text
