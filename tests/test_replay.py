"""Events once more: an extension goes back to any point that is kept, and to a look at the mailbox from elsewhere."""

import pytest

import harness
# With its fixtures; without grpc it is skipped, and so is this.
from test_extensions import ANN, BOB, Client, arrived, grpc, send, server, stubs  # noqa: F401


class Replayer(Client):
    def rewind(self, **fields):
        return self.stub.Rewind(self.api.RewindRequest(**fields), metadata=self.auth, timeout=60)


def refused(call):
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value


def until_taken(server, name):
    def taken():
        seen = next(it for it in server.cli_json("status")["extensions"] if it["name"] == name)
        return seen["behind"] == 0

    harness.eventually(taken, what="everything acknowledged")


def test_back_to_a_point_and_to_all_that_is_kept(server):
    client = Replayer(server, "all")
    stream = client.call("Subscribe")
    modseqs = []
    for number in range(5):
        send(server, ANN, f"number {number}")
        batch = next(stream)
        modseqs.append(batch.events.events[-1].modseq)
        client.acknowledge(batch)
    send(server, BOB, "of another")
    assert arrived((client, stream), 1) == [(BOB, "INBOX", 1)]
    until_taken(server, "all")
    # The stream goes on with what is given again.
    reply = client.rewind(account=ANN, to="modseq", modseq=modseqs[1])
    assert (reply.rewound, reply.reset) == (1, 0)
    assert arrived((client, stream), 3) == [(ANN, "INBOX", uid) for uid in (3, 4, 5)]
    until_taken(server, "all")
    # It is durable when it is answered, and of all mailboxes.
    reply = client.rewind(to="kept")
    assert (reply.rewound, reply.reset) == (2, 0)
    server.kill()
    server.start()
    again = Replayer(server, "all")
    found = arrived((again, again.call("Subscribe")), 6)
    assert sorted(found) == [(ANN, "INBOX", uid) for uid in range(1, 6)] + [(BOB, "INBOX", 1)]


def test_what_is_kept_no_more_is_looked_at(server):
    client = Replayer(server, "all")
    stream = client.call("Subscribe")
    send(server, ANN, "one")
    batch = next(stream)
    first = batch.events.events[0].modseq
    client.acknowledge(batch)
    until_taken(server, "all")
    reply = client.rewind(account=ANN, to="reset")
    assert (reply.rewound, reply.reset) == (0, 1)
    batch = next(stream)
    assert batch.WhichOneof("content") == "reset" and batch.account == ANN
    client.acknowledge(batch)
    until_taken(server, "all")
    # A deleted folder goes with its log.
    imap = server.imap(ANN)
    imap.must("CREATE old")
    imap.must("DELETE old")
    imap.logout()
    batch = next(stream)
    while batch.WhichOneof("content") != "reset":
        client.acknowledge(batch)
        batch = next(stream)
    client.acknowledge(batch)
    until_taken(server, "all")
    error = refused(lambda: client.rewind(account=ANN, to="modseq", modseq=first))
    assert error.code() == grpc.StatusCode.OUT_OF_RANGE and "kept no more" in error.details()
    batch = next(stream)
    assert batch.WhichOneof("content") == "reset"
    client.acknowledge(batch)


def test_who_may_go_back_and_where(server):
    pager, decides = Replayer(server, "pager"), Replayer(server, "filter")
    send(server, ANN, "one")
    send(server, BOB, "two")
    codes = grpc.StatusCode
    assert refused(lambda: pager.rewind(account=BOB, to="kept")).code() == codes.NOT_FOUND
    assert refused(lambda: decides.rewind(account=ANN, to="kept")).code() == codes.PERMISSION_DENIED
    assert refused(lambda: pager.rewind(to="modseq", modseq=1)).code() == codes.INVALID_ARGUMENT
    assert refused(lambda: pager.rewind(account=ANN, to="yesterday")).code() == codes.INVALID_ARGUMENT
    reply = pager.rewind(to="kept")
    assert reply.rewound + reply.reset == 1, "of its scope alone"
