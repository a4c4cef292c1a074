"""Mail comes and goes, many times what is ever kept: the directory does not grow with what passed through."""

import os
import random

import pytest
from harness import Server, message, soak

ROUNDS = 20
# What is measured is space: nothing is synced, so that it takes less time.
STORE = 'write_buffer = "16 MiB"\nspace_low = "64 MiB"\nspace_exhausted = "32 MiB"\nballast = "4 MiB"\nsync = false'
# Whatever the mail: write-ahead log, write buffers on their way to files, ballast, the program's own.
FIXED = 48 << 20

# Bytes of mail that are there at once; bytes of one message.
KINDS = {
    "small": (12 << 20, lambda: 4_700),
    "inline": (32 << 20, lambda: 40_000),
    "large": ((200 if soak() else 48) << 20, lambda: random.randint(100_000, 1_000_000)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_usage_stays_bounded(kind):
    budget, size = KINDS[kind]
    # Twice what is alive: blob files are rewritten when two fifths of their bytes are garbage, and the new ones stand beside
    # the old ones meanwhile.
    bound = budget * 2 + FIXED
    with Server(store=STORE) as server:
        (account,) = server.accounts("churn")
        smtp = server.smtp()
        client = server.imap(account)
        peaks = []
        for number in range(ROUNDS):
            deliver(smtp, account, number, budget, size)
            full = usage(server)
            client.must("SELECT INBOX")
            client.must(r"STORE 1:* +FLAGS.SILENT (\Deleted)")
            client.must("EXPUNGE")
            peaks.append(max(full, usage(server)))
            assert peaks[-1] < bound, f"MiB at most per round: {[it >> 20 for it in peaks]}, bound {bound >> 20}"
        client.logout()
        print(f"{kind}: {ROUNDS * budget >> 20} MiB passed, per round {[it >> 20 for it in peaks]}, bound {bound >> 20}")
        # Nothing adds up: the second half needs no more than the first, but for files that are being rewritten.
        assert max(peaks[ROUNDS // 2 :]) < max(peaks[: ROUNDS // 2]) + budget


def deliver(smtp, account, number, budget, size):
    """One budget of mail."""
    text = message(f"text-{number}", size=1_100_000)
    passed = 0
    while passed < budget:
        head = f"From: s@example.test\r\nX-Key: {number}-{passed}\r\n".encode()
        data = head + text[: text.index(b"\r\n", size()) + 2]
        code, reply = smtp.deliver(data, account)
        assert code == 250, reply
        passed += len(data)


def usage(server):
    total = 0
    for at, _, names in os.walk(server.data):
        for name in names:
            try:
                stat = os.stat(os.path.join(at, name))
                # What a file has reserved behind its end is left out: a log takes 4.4 MiB at once, and gives back what it
                # does not need when it is closed. Synced logs are closed with the next commit; here nothing is synced, and
                # a dozen of them wait for the next flush.
                total += min(stat.st_size, stat.st_blocks * 512)
            except FileNotFoundError:
                pass
    return total
