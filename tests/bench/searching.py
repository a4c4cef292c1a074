"""SEARCH of text with the full-text index and without, on one server."""
import imaplib
import json
import random
import statistics
import time

from servers import Hikyaku

SYLLABLES = "ka ri ton mel os an ve du shi pra el ing er ab con ti lo mu sa ber gen ex wo ny".split()
VOCABULARY = 60_000
RANKS = (30, 100, 300, 1_000, 3_000, 10_000, 30_000)


def word(rank):
    out = ""
    while True:
        out += SYLLABLES[rank % len(SYLLABLES)]
        rank //= len(SYLLABLES)
        if not rank:
            return out


def corpus(path, count):
    """An mbox of `count` messages whose words follow Zipf's law; each has keys of its own in its header, some a link. Its bytes."""
    rng, size = random.Random(7), 0
    words = [word(rank) for rank in range(VOCABULARY)]
    with open(path, "w") as out:
        for number in range(count):
            text = []
            for at in range(rng.randrange(150, 550)):
                text.append(words[int(VOCABULARY ** rng.random()) - 1])
                if rng.random() < 0.005:
                    text.append(f"https://example.org/{rng.getrandbits(48):x}")
                if at % 10 == 9:
                    text.append("\n")
            subject = " ".join(words[int(VOCABULARY ** rng.random()) - 1] for _ in range(5))
            head = (
                f"Received: from relay{rng.randrange(9)} by mx.example.org with ESMTPS id {rng.getrandbits(64):016x}\n"
                f"From: {word(rng.randrange(80) * 7)} <s{rng.randrange(80)}@example.org>\nTo: <u1@bench.test>\nSubject: {subject}\n"
                f"Message-ID: <{rng.getrandbits(64):016x}.{number}@example.org>\nMIME-Version: 1.0\n"
                "Content-Type: text/plain; charset=utf-8\n\n"
            )
            message = head + " ".join(text) + "\n"
            size += len(message)
            out.write(f"From s@example.org Thu Jan  1 00:00:00 2026\n{message}\n")
    return size


def state(server):
    return json.loads(server.cli("index", "status", "--json"))


def until(condition):
    while not condition():
        time.sleep(0.1)


def timed(client, queries, runs):
    """By query, median milliseconds of SEARCH TEXT, and what it found. One after the other: no answer is still at hand when it comes again."""
    times, found = {query: [] for query in queries}, {}
    for _ in range(runs):
        for query in queries:
            began = time.perf_counter()
            found[query] = client.uid("SEARCH", "TEXT", f'"{query}"')[1][0].split()
            times[query].append((time.perf_counter() - began) * 1e3)
    return {query: (statistics.median(times[query]), found[query]) for query in queries}


def search(bench):
    """One mailbox of 10,000 messages; the same queries with an index and without."""
    count = 2_000 if bench.quick else 10_000
    ours = bench.server(Hikyaku(bench.scratch, bench.binary, accounts=1))
    path = bench.scratch / "corpus.mbox"
    size = corpus(path, count)
    ours.cli("import", "--account", "u1@bench.test", str(path))
    ours.cli("index", "drop")
    until(lambda: state(ours)["messages"] == "0" or state(ours)["messages"] == 0)
    client = imaplib.IMAP4("127.0.0.1", ours.imap)
    client.login("u1@bench.test", "pw")
    client.select()
    words = [query for rank in RANKS for query in (word(rank), word(rank)[:5])]
    queries = list(dict.fromkeys([*words, "nowhere", f"{word(30)} {word(31)}"]))
    scanned = timed(client, queries, 1)
    before, began = int(state(ours)["added"]), time.perf_counter()
    ours.cli("index", "rebuild")
    until(lambda: int(state(ours)["added"]) - before >= count and int(state(ours)["due"]) == 0)
    took = time.perf_counter() - began
    disk = int(state(ours)["disk_bytes"])
    bench.row(f"index of {count:,} messages, messages/s, waiting included", count / took, "", None, ">= 3,000", "", count / took >= 3_000)
    bench.row("  bytes of it, of 100 of the text", 100 * disk / size, "", None, "< 25", "", disk < size / 4)
    for query, (ours_ms, found) in timed(client, queries, 11).items():
        peer_ms, truth = scanned[query]
        if found != truth:
            raise RuntimeError(f"SEARCH TEXT {query!r} found {len(found)} with the index, {len(truth)} without")
        one = " " not in query
        target, met = ("< 5 ms", ours_ms < 5) if one else ("", None)
        what = f"SEARCH TEXT, {len(found):,} of {count:,} found, {'a word' if one else 'two words'}, ms, against a scan"
        bench.row(what, ours_ms, peer_ms, peer_ms / ours_ms, target, repr(query), met)
        bench.save({"test": "search", "query": query, "found": len(found), "index_ms": ours_ms, "scan_ms": peer_ms})
    client.logout()
    bench.drop(ours)
