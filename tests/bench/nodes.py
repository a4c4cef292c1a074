"""The hash table and store/retrieve cycles of whole clusters of 1 to 5 nodes: what a put costs, and where the time goes."""
import json
import statistics
import subprocess

import servers
from servers import DOMAIN, PASSWORD, Hikyaku
from three import NAMES, Three

NODES, PARTITIONS = (1, 2, 3, 5), (1, 64, 1024, 16384)
PUTS, GETS = 0, 100
# Of each node: what is grouped on a node stays the same when there are more.
CLIENTS = 32
STAGES = ("edge", "queue", "fsync", "replicate", "reply")


def middle(lines, *path):
    """The median of what lines say below a path; None when none of them does."""
    values = []
    for line in lines:
        for key in path:
            line = (line or {}).get(key)
        if line is not None:
            values.append(line)
    return statistics.median(values) if values else None


class Found:
    """Lines of several runs."""

    def __init__(self, lines):
        self.lines = lines

    def of(self, **wanted):
        return [line for line in self.lines if all(line[key] == value for key, value in wanted.items())]


def swept(bench, runs, **options):
    """So many runs over all of these; every line of them."""
    words = [word for name, values in options.items() for word in (f"--{name}", ",".join(map(str, values)))]
    lines = []
    for _ in range(runs):
        servers.wait_idle(0.5)
        lines += bench.bench("dds", "--data", bench.scratch, "--secs", 2 if bench.quick else 3, *words)
    return Found(lines)


def nodes(bench):
    """The hash table of 1 to 5 nodes, and of 1 to 16,384 partitions; cycles against one node and three."""
    lines = []
    for count in NODES:
        options = {"nodes": (count,), "sizes": (100, 4700), "clients": (1, CLIENTS * count), "reads": (PUTS, GETS)}
        lines += swept(bench, bench.runs, **options).lines
    for line in lines:
        if line["clients"] > 1:
            line["clients_per_node"] = CLIENTS
    found = Found(lines)
    draw(bench, found.lines, "dds-nodes.svg")
    costs(bench, found)
    for size in (100, 4700):
        cpu(bench, found, size)
    split(bench, found)
    spread = swept(bench, 1, nodes=(3,), partitions=PARTITIONS, sizes=(4700,), clients=(128,), reads=(PUTS, GETS))
    draw(bench, spread.lines, "dds-partitions.svg")
    for reads, what in ((PUTS, "put"), (GETS, "get")):
        each = [middle(spread.of(partitions=count, reads_percent=reads), "cpu", "total_us") for count in PARTITIONS]
        # With one partition one node does everything, and two thirds of the clients are not on it.
        growth = each[-1] / each[1]
        note = "with 1 / 64 / 1,024 / 16,384: " + " / ".join(f"{value:.1f}" for value in each)
        bench.row(f"CPU us a {what} of 4.7 KB, 3 nodes: 16,384 partitions against 64", growth, "", None, "<= 1.25: flat", note, growth <= 1.25)
    cycles(bench)


def costs(bench, found):
    """What a put costs, by counters: with one client nothing is grouped."""
    for count in NODES[1:]:
        lines = found.of(nodes=count, size=4700, clients=1, reads_percent=PUTS)
        syncs, appends, acks = (middle(lines, key) for key in ("fsyncs_per_put", "appends_per_put", "acks_per_put"))
        bench.row(f"a put of 4.7 KB, {count} nodes, 1 client: fsyncs of each replica", syncs, "", None, "<= 1.1: one", "", syncs <= 1.1)
        trips = max(appends, acks)
        bench.row("  appends to each other member, and acknowledgements", f"{appends:.3f}, {acks:.3f}", "", None, "<= 1.1: one round trip", "", trips <= 1.1)
        grouped = found.of(nodes=count, size=4700, clients=CLIENTS * count, reads_percent=PUTS)
        bench.row(f"  fsyncs of each replica with {CLIENTS} clients a node", middle(grouped, "fsyncs_per_put"))


def cpu(bench, found, size):
    """Growth of the CPU of an operation: three replicas on three nodes and on five."""
    for reads, what in ((PUTS, "put"), (GETS, "get")):
        each = [middle(found.of(nodes=count, size=size, clients=CLIENTS * count, reads_percent=reads), "cpu", "total_us") for count in NODES]
        growth = each[NODES.index(5)] / each[NODES.index(3)]
        note = "on 1 / 2 / 3 / 5: " + " / ".join(f"{value:.1f}" for value in each)
        bench.row(f"CPU us a {what} of {size:,} bytes, all nodes, {CLIENTS} clients a node: five nodes against three", growth, "", None, "<= 1.25: flat", note, growth <= 1.25)


def split(bench, found):
    for count in NODES:
        lines = found.of(nodes=count, size=4700, clients=1, reads_percent=PUTS)
        means = [middle(lines, "put_stages", stage, "mean_us") for stage in STAGES]
        total = middle(lines, "put_stages", "total", "mean_us")
        bench.row(f"a put of 4.7 KB, {count} nodes, 1 client: us, mean", total, note=", ".join(f"{s} {v:.0f}" for s, v in zip(STAGES, means)))


def cycles(bench):
    """Cycles against the servers of one node, and of three, split by stage."""
    lines = []
    for servers_of in (lambda: [bench.server(Hikyaku(bench.scratch, bench.binary))], lambda: [bench.server(Three(bench.scratch, bench.binary))]):
        (server,) = servers_of()
        bench.prime(server)
        ports = [server.ports_of[name] for name in NAMES] if isinstance(server, Three) else [server.ports]
        where = [word for each in ports for word in ("--smtp", f"127.0.0.1:{each['smtp']}", "--pop3", f"127.0.0.1:{each['pop3']}")]
        for _ in range(bench.runs):
            servers.wait_idle(0.5)
            lines += bench.bench("cycle", *where, "--users", f"u{{}}@{DOMAIN}", "--password", PASSWORD, "--clients", "1,16", "--secs", bench.secs)
        bench.drop(server)
    draw(bench, lines, "cycle.svg")
    found = Found(lines)
    for count in (1, 3):
        for clients in (1, 16):
            some = found.of(nodes=count, clients=clients)
            stages = some[0]["stages"]
            note = ", ".join(f"{stage} {middle(some, 'stages', stage, 'mean_us'):.0f}" for stage in stages)
            bench.row(f"bench cycle, {count} nodes, {clients} clients: cycles/s", middle(some, "cycles_per_s"), note=f"us, mean: {note}")


def draw(bench, lines, name):
    """The chart of these lines, in the directory of --svg."""
    if not bench.options.svg:
        return
    source = bench.scratch / f"{name}.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    subprocess.run([bench.binary, "bench", "plot", "--svg", str(bench.options.svg / name), str(source)], check=True)
