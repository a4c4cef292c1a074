"""The operator's console on the admin address: signing in, every page on one node and on three, each action seen to work; and the
same on the command line."""

import html
import http.client
import json
import re
import subprocess
import threading
import urllib.parse

import pytest

import plain_browser
from cluster import Cluster
from harness import DOMAIN, SERVICES, Closed, ImapError, Server, binary, eventually, message

PAGES = ["/", "/nodes", "/partitions", "/partitions?state=whole", "/accounts", "/domains", "/sessions", "/events", "/scrub"]


class Answer:
    def __init__(self, reply):
        self.code = reply.status
        self.headers = reply.headers
        self.text = reply.read().decode()

    def notice(self):
        """What the page tells of the last order."""
        found = re.search(r'<p class="notice (done|trouble)">(.*?)</p>', self.text, re.S)
        assert found, self.text
        return found[1], html.unescape(re.sub(r"<[^>]+>", "", found[2]))

    def words(self):
        """The text of the page, without tags."""
        body = re.sub(r"<(script|style).*?</\1>", "", self.text, flags=re.S)
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))


class Console:
    """A browser without JavaScript, of one node."""

    def __init__(self, node, sign_in=True):
        self.node = node
        self.cookie = None
        if sign_in:
            with open(f"{node.data}/admin.token") as f:
                answer = self.sign_in(f.read().strip())
            assert answer.code == 303, answer.text

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.node.ports["admin"], timeout=30)
        headers = dict(headers or {})
        if self.cookie:
            headers["Cookie"] = self.cookie
        if body is not None:
            body = urllib.parse.urlencode(body)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, headers)
        answer = Answer(connection.getresponse())
        connection.close()
        return answer

    def sign_in(self, token, next="/"):
        answer = self.ask("POST", "/login", {"secret": token, "next": next})
        if "Set-Cookie" in answer.headers:
            self.cookie = answer.headers["Set-Cookie"].split(";")[0]
        return answer

    def get(self, path, code=200):
        answer = self.ask("GET", path)
        assert answer.code == code, f"{path}: {answer.code}\n{answer.text}"
        return answer

    def token(self):
        return re.search(r'name="token" value="([0-9a-f]+)"', self.get("/domains").text)[1]

    def post(self, path, **fields):
        """Sends a form and follows to the page that tells what came of it: (done or trouble, text)."""
        answer = self.ask("POST", path, {"token": self.token(), **fields})
        assert answer.code == 303, f"{path}: {answer.code}\n{answer.text}"
        return self.get(answer.headers["Location"].split("#")[0]).notice()

    def done(self, path, **fields):
        kind, text = self.post(path, **fields)
        assert kind == "done", text
        return text

    def confirm(self, path, **query):
        """Goes through the page that says what will happen."""
        page = self.get(path + ("?" + urllib.parse.urlencode(query) if query else "")).text
        form = re.search(r'<form method="post" action="([^"]+)">(.*?)</form>', page.split("<main", 1)[1], re.S)
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form[2]))
        fields.pop("token")
        return self.done(html.unescape(form[1]), **{name: html.unescape(value) for name, value in fields.items()})


@pytest.fixture(scope="module")
def one():
    with Server(listen=(*SERVICES, "http")) as server:
        server.accounts("ann", "bob")
        yield server


@pytest.fixture(scope="module")
def console(one):
    return Console(one)


# --- who may look ---------------------------------------------------------------------------------------------------------------


def test_nobody_looks_without_the_token(one):
    stranger = Console(one, sign_in=False)
    for path in PAGES:
        answer = stranger.get(path, 303)
        assert answer.headers["Location"].startswith("/login"), path
    assert urllib.parse.unquote(stranger.get("/events?level=warn", 303).headers["Location"]) == "/login?next=/events?level=warn"
    assert "admin.token" in stranger.get("/login").text
    for method, path in (("POST", "/accounts"), ("POST", "/scrub"), ("POST", "/logout")):
        assert stranger.ask(method, path, {"address": "x@y"}).code == 303
    stranger.cookie = "hikyaku-console-00000000=" + "0" * 64
    assert stranger.get("/", 303).headers["Location"].startswith("/login")


def test_signing_in_and_out(one):
    browser = Console(one, sign_in=False)
    token = open(f"{one.data}/admin.token").read().strip()
    answer = browser.sign_in(token, next="/nodes?x=1")
    assert answer.code == 303 and answer.headers["Location"] == "/nodes?x=1"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie and "Secure" not in cookie
    assert token not in cookie
    assert Console(one, sign_in=False).sign_in(token, next="//evil.example").headers["Location"] == "/"
    page = browser.get("/")
    assert page.headers["Cache-Control"] == "no-store"
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy and page.headers["X-Content-Type-Options"] == "nosniff"
    old = browser.cookie
    assert browser.ask("POST", "/logout", {"token": browser.token()}).code == 303
    browser.cookie = old
    assert browser.get("/", 303).headers["Location"].startswith("/login")


def test_wrong_tokens_are_limited():
    with Server() as server:
        browser = Console(server, sign_in=False)
        codes = [browser.sign_in("0" * 64).code for _ in range(6)]
        assert codes == [401] * 5 + [429]
        token = open(f"{server.data}/admin.token").read().strip()
        assert browser.sign_in(token).code == 429 and browser.cookie is None
        # The command line goes on: it shows the token with every call.
        server.cli("status")
        failed = "auth failed proto=console user=admin ip=127.0.0.1 reason=wrong-credentials"
        eventually(lambda: server.log().count(failed) == 5 and "reason=throttled" in server.log(), what="that the log has them")


def test_forms_of_other_sites_are_refused(one, console):
    token, own = console.token(), f"http://127.0.0.1:{one.ports['admin']}"
    form = {"token": token, "domain": "foreign.test"}
    for headers in (
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": own.replace("http", "https")},
        {"Origin": own, "Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
    ):
        assert console.ask("POST", "/domains", form, headers).code == 403, headers
    assert console.ask("POST", "/domains", {"domain": "foreign.test"}, {"Origin": own}).code == 403
    assert console.ask("POST", "/domains", {"token": "0" * 32, "domain": "foreign.test"}).code == 403
    assert "foreign.test" not in one.cli("domain", "list").stdout
    answer = console.ask("POST", "/login", {"secret": "x"}, {"Origin": "http://evil.example"})
    assert answer.code == 403
    assert console.ask("POST", "/domains", form, {"Origin": own, "Sec-Fetch-Site": "same-origin"}).code == 303
    one.cli("domain", "remove", "foreign.test")


def test_what_was_on_the_admin_address_is_there_still(one):
    stranger = Console(one, sign_in=False)
    assert stranger.get("/healthz").text == "ok\n"
    assert stranger.get("/readyz").text == "ready\n"
    assert "hikyaku_ready 1" in stranger.get("/metrics").text
    assert one.cli_json("status")["state"] == "ready"
    assert "There is no such page" in stranger.get("/nowhere", 404).text
    call = stranger.ask("POST", "/hikyaku.admin.v1.Admin/Nothing", headers={"Content-Type": "application/grpc"})
    assert call.headers["grpc-status"] in ("12", "16")


# --- one node -------------------------------------------------------------------------------------------------------------------


def test_every_page_of_one_node(one, console):
    for path in [*PAGES, "/nodes/one", f"/accounts/ann@{DOMAIN}", f"/domains/{DOMAIN}"]:
        page = console.get(path)
        assert page.text.count("<h1>") == 1 and "Sign out" in page.text, path
    assert "All is well" in console.get("/").words()
    assert "Nodes up" not in console.get("/").text
    assert "Drain" not in console.get("/nodes/one").text
    for asset in re.findall(r'(?:href|src)="(/assets/[^"]+)"', console.get("/").text):
        assert console.get(asset).headers["Cache-Control"].endswith("immutable")
    for path in ("/nodes/two", f"/accounts/nobody@{DOMAIN}", "/domains/nowhere.test", "/nodes/one/explode"):
        console.get(path, 404)


def test_accounts_are_made_changed_and_removed(one, console):
    cy = f"cy@{DOMAIN}"
    assert console.done("/accounts", address=cy, name="Cy Young", password="first secret") == f"{cy} is added."
    one.imap(cy, "first secret")
    assert "Cy Young" in console.get("/accounts?q=YOUNG").words()
    assert "No account matches" in console.get("/accounts?q=nobodyatall").words()
    kind, text = console.post("/accounts", address=cy, name="", password="another one")
    assert kind == "trouble" and "an account has this address" in text
    assert console.post("/accounts", address=f"d@{DOMAIN}", password="short")[0] == "trouble"
    kind, text = console.post("/accounts", address=f"d@{DOMAIN}", password="{PLAIN}long enough")
    assert kind == "trouble" and "does not begin with" in text

    console.done(f"/accounts/{cy}", do="password", password="second secret")
    one.imap(cy, "second secret")
    with pytest.raises(ImapError):
        one.imap(cy, "first secret")
    console.done(f"/accounts/{cy}", do="set", name="Cyrus", quota="5 MiB", messages="7")
    listed = [it for it in one.cli_json("account", "list") if it["address"] == cy][0]
    assert (listed["quota_bytes"], listed["quota_messages"], listed["display_name"]) == (5 << 20, 7, "Cyrus")
    kind, text = console.post(f"/accounts/{cy}", do="set", name="Cyrus", quota="five", messages="")
    assert kind == "trouble" and "5 GiB" in text
    assert one.smtp().deliver(message("quota", size=2 << 20), cy)[0] == 250
    eventually(lambda: "40 % used" in console.get(f"/accounts/{cy}").words(), what="the message is counted")
    console.done(f"/accounts/{cy}", do="set", name="Cyrus", quota="", messages="")
    assert "no limit of size" in console.get(f"/accounts/{cy}").words()

    assert "open sessions end" in console.get(f"/accounts/{cy}/disable").words()
    console.confirm(f"/accounts/{cy}/disable")
    with pytest.raises(ImapError):
        one.imap(cy, "second secret")
    assert "disabled" in console.get(f"/accounts/{cy}").words()
    console.confirm(f"/accounts/{cy}/enable")
    one.imap(cy, "second secret")
    assert "its one message" in console.get(f"/accounts/{cy}/remove").words()
    console.confirm(f"/accounts/{cy}/remove")
    console.get(f"/accounts/{cy}", 404)


def test_domains_and_aliases(one, console):
    console.done("/domains", domain="other.test")
    console.done("/accounts", address="zoe@other.test", password="right horse")
    console.done("/domains/other.test", catch_all="zoe@other.test", separator="-", quota="1 GiB")
    listed = [it for it in one.cli_json("domain", "list") if it["domain"] == "other.test"][0]
    assert (listed["catch_all"], listed["subaddress_separator"], listed["default_quota_bytes"]) == ("zoe@other.test", "-", 1 << 30)
    console.done("/domains/other.test", catch_all="", separator="", quota="")
    listed = [it for it in one.cli_json("domain", "list") if it["domain"] == "other.test"][0]
    assert (listed["catch_all"], listed["subaddress_separator"], listed["default_quota_bytes"]) == (None, None, None)
    console.done("/aliases", alias="all@other.test", targets=f"zoe@other.test, ann@{DOMAIN}")
    assert "all@other.test" in console.get("/domains?of=other.test").text
    assert "all@other.test" not in console.get(f"/domains?of={DOMAIN}").text
    assert "all@other.test" in console.get("/accounts/zoe@other.test").words()
    assert one.smtp().deliver(message("to the alias"), "all@other.test")[0] == 250
    eventually(lambda: one.pop3_sizes("zoe@other.test"), what="the message arrives")
    console.confirm("/aliases/all@other.test/remove")
    assert one.smtp().deliver(message("gone"), "all@other.test")[0] == 550
    answer = console.ask("POST", "/domains/other.test/remove", {"token": console.token()})
    kind, text = console.get(answer.headers["Location"]).notice()
    assert kind == "trouble" and "accounts" in text
    console.confirm("/accounts/zoe@other.test/remove")
    console.confirm("/domains/other.test/remove")
    assert "other.test" not in one.cli("domain", "list").stdout


def test_sessions_are_seen_and_ended(one, console):
    bob = f"bob@{DOMAIN}"
    client = one.imap(bob)
    client.must("SELECT INBOX")
    page = console.get(f"/accounts/{bob}").text
    assert "selected INBOX" in page and "127.0.0.1" in page
    assert "1 user on line" in console.get("/sessions").words()
    assert one.cli_json("session", "list", "--account", bob)[0]["account"] == bob
    assert one.cli_json("session", "list", "--account", f"ann@{DOMAIN}") == []
    session = re.search(r'name="session" value="(\d+)"', page)[1]
    assert console.done("/sessions", session=session, then=bob) == "1 session ended."
    with pytest.raises((Closed, ImapError)):
        client.must("NOOP")
        client.must("NOOP")
    others = [one.imap(bob), one.imap(bob)]
    assert console.done("/sessions", account=bob) == "2 sessions ended."
    for other in others:
        with pytest.raises((Closed, ImapError)):
            other.must("NOOP")
            other.must("NOOP")


def test_browsers_are_on_line_and_signed_out(one, console):
    ann, bob = f"ann@{DOMAIN}", f"bob@{DOMAIN}"
    before = one.cli_json("status")["sessions"]
    browser = plain_browser.Browser(one)
    browser.login(ann)
    (session,) = one.cli_json("session", "list", "--account", ann)
    assert (session["protocol"], session["ip"], session["activity"]) == ("http", "127.0.0.1", "webmail"), session
    assert one.cli_json("status")["sessions"] == before + 1
    inbox = re.search(r'data-folder="(\d+)"', browser.get("/").html)[1]
    # A page that waits for new mail.
    live = http.client.HTTPConnection("127.0.0.1", one.ports["http"], timeout=30)
    live.request("GET", f"/live?folder={inbox}", headers={"Cookie": "; ".join(f"{k}={v}" for k, v in browser.cookies.items())})
    assert live.getresponse().status == 200
    (again,) = one.cli_json("session", "list", "--account", ann)
    assert (again["session"], again["activity"]) == (session["session"], "webmail, live")
    # The same address over another protocol is the same user.
    client = one.imap(ann)
    words = console.get("/sessions").words()
    assert "1 user on line: 1 over imap, 1 over webmail" in words, words
    assert "1" == re.search(r"Users on line\s+(\d+)", console.get("/").words())[1]
    assert "webmail, live" in console.get(f"/accounts/{ann}").words()
    assert "webmail" in console.get("/sessions?q=webmail").words() and "0 sessions" in console.get(f"/sessions?q={bob}").words()
    assert f"{session['session']}" in one.cli("session", "list").stdout
    client.logout()
    assert console.done("/sessions", session=session["session"]) == "1 session ended."
    assert not browser.is_in() and one.cli_json("session", "list", "--account", ann) == []
    # Whoever signs out is gone at once.
    browser.login(ann)
    assert len(one.cli_json("session", "list", "--account", ann)) == 1
    browser.submit(browser.get("/").form("/logout"))
    assert one.cli_json("session", "list", "--account", ann) == []
    browser.login(ann)
    assert one.cli_json("session", "kick", "--account", ann)["ended"] == 1 and not browser.is_in()


def test_events_are_found(one, console):
    with pytest.raises(ImapError):
        one.imap(f"ann@{DOMAIN}", "wrong password")
    find = "/events?" + urllib.parse.urlencode({"level": "warn", "kind": "auth failed", "text": "IP=127.0.0.1"})
    eventually(lambda: f"ann@{DOMAIN}" in console.get(find).words(), what="the event")
    page = console.get(find)
    assert "wrong-credentials" in page.words()
    assert "<option selected>auth failed</option>" in page.text
    assert "Nothing that is kept matches" in console.get("/events?text=neverwasthere").words()
    for number in range(120):
        one.imap().line.close()
    eventually(lambda: "Older" in console.get("/events?kind=connect").words(), what="two pages")
    first = console.get("/events?kind=connect").text
    older = html.unescape(re.search(r'href="([^"]+)" rel="next"', first)[1])
    second = console.get(older)
    times = lambda text: re.findall(r'datetime="([^"]+)"', text)  # noqa: E731
    assert times(second.text) and max(times(second.text)) <= min(times(first))
    assert "Newest" in second.words()

    listed = one.cli("--json", "events", "--kind", "auth failed", "--limit", "1").stdout.splitlines()
    event = json.loads(listed[0])
    assert len(listed) == 1 and event["level"] == "warn" and event["place"]["node"] == "one"
    assert {"key": "reason", "value": "wrong-credentials"} in event["fields"]
    line = one.cli("events", "--kind", "auth failed", "--limit", "1").stdout
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z one warn auth failed proto=imap user=\S+ ip=127\.0\.0\.1 reason=", line)
    assert "error, warn, info" in one.cli("events", "--level", "loud", code=1).stderr


def test_events_are_followed(one):
    command = [binary(), *one.arguments, "--admin", f"127.0.0.1:{one.ports['admin']}", "events", "--follow", "--kind", "auth failed"]
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=one.dir)
    seen = []
    threading.Thread(target=lambda: seen.extend(iter(follower.stdout.readline, "")), daemon=True).start()
    try:
        eventually(lambda: seen, what="what was there already")
        before = len(seen)
        with pytest.raises(ImapError):
            one.imap(f"followed@{DOMAIN}", "wrong password")
        eventually(lambda: any(f"followed@{DOMAIN}" in line for line in seen[before:]), what="what comes")
        assert sum(f"followed@{DOMAIN}" in line for line in seen) == 1
    finally:
        follower.terminate()
        follower.wait()


def test_stages_have_a_history(one, console):
    eventually(lambda: len(one.cli_json("stages")["stages"][0]["points"]) > 1, 30, "three looks at the stages")
    for number in range(20):
        assert one.smtp().deliver(message(f"history {number}"), f"ann@{DOMAIN}")[0] == 250
    def served():
        stages = {it["name"]: it["points"] for it in one.cli_json("stages", "--of", "one")["stages"]}
        return sum(it["processed"] for it in stages["writer"]) >= 20
    eventually(served, 30, "the writer's work in the history")
    page = console.get("/nodes/one").text
    assert page.count("<polyline") >= 16 and re.search(r'<polyline points="[\d., ]+ 100.0,', page)
    table = one.cli("stages").stdout
    assert "WAIT us MEAN/MOST" in table and "writer" in table


def test_lists_go_page_by_page():
    with Server() as server:
        server.accounts(*(f"user{number:03}" for number in range(120)))
        browser = Console(server)
        first = browser.get("/accounts")
        assert f"user000@{DOMAIN}" in first.text and f"user070@{DOMAIN}" not in first.text
        assert "1 to 50 of 120" in first.words()
        path = html.unescape(re.search(r'href="([^"]+)" rel="next"', first.text)[1])
        assert f"user070@{DOMAIN}" in browser.get(path).text
        assert "1 to 10 of 10" in browser.get("/accounts?q=user11").words()
        listed = server.cli_json("account", "list", "--search", "user11", "--offset", "3", "--limit", "2", "--usage")
        assert [it["address"] for it in listed] == [f"user113@{DOMAIN}", f"user114@{DOMAIN}"]
        assert all(it["bytes_used"] == 0 and it["node"] == "one" for it in listed)
        assert "USED" in server.cli("account", "list", "--usage", "--limit", "1").stdout
        pages = browser.get("/partitions")
        assert "1 to 64 of 1,024" in pages.words()
        assert len(server.cli_json("partitions", "--state", "whole")) == 1024
        assert "no state" in server.cli("partitions", "--state", "odd", code=1).stderr


# --- three nodes ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three():
    with Cluster(services=(*SERVICES, "http")) as cluster:
        cluster.until_whole()
        cluster["a"].accounts("ann", "bob")
        yield cluster


def test_every_page_of_three_nodes(three):
    browser = Console(three["b"])
    for path in [*PAGES, f"/accounts/ann@{DOMAIN}"]:
        assert browser.get(path).text.count("<h1>") == 1, path
    overview = browser.get("/").words()
    assert "All is well: 3 nodes serve 32 partitions" in overview and "3 of 3" in overview
    for name in "abc":
        page = browser.get(f"/nodes/{name}")
        assert "worker-0" in page.text and "Listeners" in page.text and "does not answer" not in page.text
        assert three[name].data in page.text
        others = [it for it in "abc" if it != name]
        links = page.text.split('id="links"')[1]
        assert all(re.search(rf">{other}</a></th><td><span[^>]*><span[^>]*>●</span> up", links) for other in others)
        of = three["a"].cli_json("status", "--of", name)
        assert of["node"] == name and of["data"] == three[name].data and of["sums"] is None
        assert three["a"].cli_json("stages", "--of", name)["node"] == name
    assert "no [[node]] is named" in three["a"].cli("status", "--of", "z", code=1).stderr
    nodes = three["a"].cli_json("status")["nodes"]
    assert all(it["disk_bytes_free"] > 0 and it["version"] and len(it["incarnation"]) == 16 for it in nodes)
    assert {it["node"] for it in [line["place"] for line in events(three["a"], "--kind", "node reached")]} == {"a", "b", "c"}
    assert three["a"].smtp().deliver(message("followed"), f"ann@{DOMAIN}")[0] == 250
    leader = three.master(f"ann@{DOMAIN}").name

    def followed():
        behind = [it for it in three["a"].cli_json("status")["behind"] if it["leader"] == leader]
        return len(behind) == 2 and all(it["partitions"] and not it["groups"] for it in behind)

    eventually(followed, what="both followers have acknowledged all")
    partitions = three["a"].cli_json("partitions")
    assert len(partitions) == 32 and all(len(it["in_sync"]) == 3 and it["state"] == "whole" for it in partitions)


def events(node, *args):
    return [json.loads(line) for line in node.cli("--json", "events", *args).stdout.splitlines()]


def test_a_mailbox_is_moved(three):
    ann = f"ann@{DOMAIN}"
    browser = Console(three["a"])
    to = next(name for name in "abc" if name != three.master(ann).name)
    assert to in browser.get(f"/accounts/{ann}/move?to={to}").words()
    assert f"to {to} in" in browser.confirm(f"/accounts/{ann}/move", to=to)
    assert three.master(ann).name == to
    assert f"node {to}, partition" in browser.get(f"/accounts/{ann}").words()
    assert "placement decides" in browser.confirm(f"/accounts/{ann}/move", to="")
    kind, text = browser.post(f"/accounts/{ann}/move", to="nowhere")
    assert kind == "trouble" and "nowhere" in text


def test_a_node_is_drained_and_taken_back(three):
    browser = Console(three["a"])
    assert "Everything that c holds moves" in browser.get("/nodes/c/drain").words()
    assert "is being drained" in browser.confirm("/nodes/c/drain")
    node = lambda: three.status()["nodes"][2]  # noqa: E731
    eventually(lambda: node()["draining"] and node()["in_sync"] + node()["primaries"] == 0, 60, "c holds nothing")
    eventually(lambda: "Node c is drained: it holds nothing" in browser.get("/").words(), what="the console says so")
    browser.confirm("/nodes/c/join")
    three.until_whole(seconds=60)


def test_copies_are_compared(three):
    browser = Console(three["a"])
    assert "has begun" in browser.confirm("/scrub")
    ended = eventually(lambda: events(three["a"], "--kind", "scrub ended"), 60, "the end of the scrub")
    fields = {it["key"]: it["value"] for it in ended[-1]["fields"]}
    assert fields["differences"] == "0" and fields["missed-nodes"] == "" and int(fields["partitions"]) >= 32
    eventually(lambda: "The last round of node a ended" in browser.get("/partitions").words(), what="the page says so")


def test_a_browser_at_another_node_is_on_line_and_signed_out(three):
    bob, console = f"bob@{DOMAIN}", Console(three["a"])
    browser = plain_browser.Browser(three["c"])
    browser.login(bob)
    (session,) = three["a"].cli_json("session", "list", "--account", bob)
    assert (session["node"], session["protocol"]) == ("c", "http")
    assert [it["sessions"] for it in three.status()["nodes"]] == [0, 0, 1]
    # The same log-in at two nodes is one user, and a session at each; to end one ends the log-in.
    elsewhere = plain_browser.Browser(three["b"])
    elsewhere.cookies = browser.cookies
    assert elsewhere.is_in() and "1 user on line: 1 over webmail" in console.get("/sessions").words()
    assert "1 session ended" in console.done("/sessions", session=session["session"])
    assert not browser.is_in() and not elsewhere.is_in()
    assert three["a"].cli_json("session", "list", "--account", bob) == []


def test_a_dead_node_is_shown_and_can_be_removed(three):
    browser = Console(three["a"])
    three["c"].kill()
    eventually(lambda: "Node c is down" in browser.get("/").words(), 15, "c is shown as down")
    page = browser.get("/").words()
    assert "hikyaku --node c serve" in page and "2 of 3" in page and "All is well" not in page
    assert "It does not answer" in browser.get("/nodes/c").words()
    assert "Node c did not answer" in browser.get("/events").words()
    assert "Node c did not answer" in browser.get("/sessions").words()
    assert "Remove from the cluster" in browser.get("/nodes/c").words()
    assert three["a"].cli("events", code=1).stderr.startswith("hikyaku: node c did not answer")
    # It is let in again as if nothing had been.
    three.start("c")
    three.until_whole(seconds=60)
    eventually(lambda: "All is well" in browser.get("/").words(), 30, "all is well again")
    three["c"].kill()
    eventually(lambda: "Node c is down" in browser.get("/").words(), 15, "c is down")
    browser.confirm("/nodes/c/drain")
    eventually(lambda: three.status()["nodes"][2]["in_sync"] == 0, 60, "c holds nothing")
    assert "is removed" in browser.confirm("/nodes/c/remove")
    assert [it["name"] for it in three.status()["nodes"]] == ["a", "b"]


def test_off_loopback_cookies_are_for_tls_alone(off_loopback):
    """With HTTP/1.1 and with HTTP/2, where no Host field says whose page a form is."""
    server, address = off_loopback
    own = f"https://{address}:{server.ports['admin']}"
    with open(f"{server.data}/admin.token") as f:
        token = f.read().strip()

    def sign_in(origin, version):
        command = ["curl", "-sk", version, "-i", f"{own}/login", "-H", f"Origin: {origin}", "--data-urlencode", f"secret={token}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    for version, status in (("--http1.1", "HTTP/1.1 303"), ("--http2", "HTTP/2 303")):
        said = sign_in(own, version)
        assert said.startswith(status), said
        cookie = re.search(r"(?i)set-cookie: (.*)", said)[1]
        assert cookie.startswith("__Host-hikyaku-console-") and "; Secure" in cookie and "SameSite=Strict" in cookie
        assert " 403" in sign_in("https://evil.example", version).splitlines()[0]
