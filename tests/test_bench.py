"""The program's own benchmarks: that they run, that what they say is of one piece, and that the charts are charts."""

import json
import subprocess
import xml.etree.ElementTree as ElementTree

from harness import DOMAIN, PASSWORD, Server, binary

SVG = "{http://www.w3.org/2000/svg}"
STAGES = ("edge", "queue", "replicate", "fsync", "reply")


def lines_of(*words):
    done = subprocess.run([binary(), "--json", "bench", *map(str, words)], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def texts_of(chart):
    return [text.text for text in ElementTree.parse(chart).getroot().iter(f"{SVG}text")]


def test_a_cluster_is_measured_and_a_put_costs_one_round_trip_and_one_sync_of_each_replica(tmp_path):
    chart = tmp_path / "nodes.svg"
    words = ["--nodes", "1,3", "--partitions", 16, "--sizes", 100, "--clients", "1,6", "--reads", "0,100", "--secs", 1, "--keys", 60]
    lines = lines_of("dds", "--data", tmp_path, *words, "--follow", 2, "--svg", chart)
    assert [(it["nodes"], it["clients"], it["reads_percent"]) for it in lines] == [
        (nodes, clients, reads) for nodes in (1, 3) for clients in (1, 6) for reads in (0, 100)
    ]
    for it in lines:
        of = it["put_stages"] if it["reads_percent"] == 0 else it["get_stages"]
        assert of["followed"] > 0 and abs(of["sum_over_total"] - 1) < 0.02, it
        assert all(of[stage]["max_us"] <= of["total"]["max_us"] * 1.1 + 100 for stage in STAGES), it
    puts = [it for it in lines if it["reads_percent"] == 0]
    assert all(it["puts_per_s"] > 0 and it["gets_per_s"] == 0 for it in puts)
    alone = {it["nodes"]: it for it in puts if it["clients"] == 1}
    # With one client nothing is grouped; the control plane syncs now and then.
    assert all(0.99 < it["fsyncs_per_put"] < 1.5 for it in alone.values()), alone
    # On a slow machine an append may be sent again.
    assert 0.9 < alone[3]["appends_per_put"] < 1.1 and 0.9 < alone[3]["acks_per_put"] < 1.1, alone[3]
    assert alone[1]["sent"]["appends"] == 0
    assert not list(tmp_path.glob("hikyaku-bench-*")), "its nodes leave nothing behind"
    texts = texts_of(chart)
    assert set(STAGES) <= set(texts) and "puts, 100 bytes, 6 clients" in texts


def test_the_price_of_following_requests_can_be_left_out(tmp_path):
    (line,) = lines_of("dds", "--data", tmp_path, "--nodes", 1, "--sizes", 100, "--clients", 2, "--reads", 0, "--secs", 0.5, "--follow", 0)
    assert line["put_stages"] is None and line["puts_per_s"] > 0


def test_one_worker_is_measured_for_seconds(tmp_path):
    words = ["--sizes", 100, "--clients", 4, "--reads", "0,100", "--secs", 1.5]
    puts, gets = lines_of("dds", "--data", tmp_path, *words)
    assert puts["puts_per_s"] > 0 == puts["gets_per_s"], puts
    assert gets["gets_per_s"] > 0 == gets["puts_per_s"], gets


def test_cycles_are_split_by_stage_and_drawn(tmp_path):
    with Server() as server:
        server.accounts(*(f"u{number}" for number in range(1, 5)))
        where = ["--smtp", f"127.0.0.1:{server.ports['smtp']}", "--pop3", f"127.0.0.1:{server.ports['pop3']}"]
        users = ["--users", f"u{{}}@{DOMAIN}", "--user-count", 4, "--password", PASSWORD]
        lines = lines_of("cycle", *where, *users, "--clients", "1,2", "--secs", 1)
        (kept,) = lines_of("cycle", *where, *users, "--clients", 2, "--secs", 1, "--reuse")
    assert [(it["nodes"], it["clients"]) for it in lines] == [(1, 1), (1, 2)]
    for it in lines:
        assert it["cycles"] > 0 and abs(it["sum_over_total"] - 1) < 0.02, it
        assert it["stages"]["connect"]["mean_us"] > 0
    assert kept["stages"]["connect"]["p50_us"] == 0
    source, chart = tmp_path / "lines", tmp_path / "cycle.svg"
    source.write_text("".join(json.dumps(it) + "\n" for it in lines))
    assert subprocess.run([binary(), "bench", "plot", "--svg", str(chart), str(source)]).returncode == 0
    assert {"connect", "log-in", "delete"} <= set(texts_of(chart))
    assert subprocess.run([binary(), "bench", "plot", "--svg", str(chart), "/dev/null"], capture_output=True).returncode == 1
