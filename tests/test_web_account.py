"""Who gets into webmail and mail: passwords, the second factor, app passwords, log-ins of browsers, proxies."""

import base64
import hashlib
import hmac
import json
import re
import struct
import time

import pytest

import harness
from harness import PASSWORD
from plain_browser import Browser

WEB = (*harness.SERVICES, "http", "https")
SECURITY = "/security"


@pytest.fixture(scope="module")
def node():
    with harness.Server(listen=WEB) as server:
        server.cli("domain", "add", harness.DOMAIN)
        yield server
        assert server.is_alive()


@pytest.fixture
def ann(node, request):
    return node.accounts(re.sub(r"\W", "", request.node.name)[:40], add_domain=False)[0]


def code_at(secret, step):
    """RFC 6238, independently of the server."""
    digest = hmac.new(base64.b32decode(secret), struct.pack(">q", step), hashlib.sha1).digest()
    at = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"


class App:
    """An app for codes that gives each one out once."""

    def __init__(self, secret):
        self.secret, self.last = secret, 0

    def code(self):
        # The step behind the present one is taken too: so the second code needs no wait, and the first may come late.
        step = max(int(time.time()) // 30, self.last + 1)
        harness.eventually(lambda: int(time.time()) // 30 >= step - 1, 70, "the next step")
        self.last = step
        return code_at(self.secret, step)


def test_the_first_sign_in_begins_with_zone_and_name(node, ann):
    node.cli("account", "set", ann, "--name", "Ann Ames")

    def sign_in(zone):
        browser = Browser(node)
        browser.submit(browser.get("/login").form("/login"), fields={"address": ann, "password": PASSWORD, "zone": zone})
        form = browser.get("/settings").form("/settings", "save")
        return browser, form, [dict(form.fields)[name] for name in ("time_zone", "display_name")]

    browser, form, begun = sign_in("Asia/Tokyo")
    assert begun == ["Asia/Tokyo", "Ann Ames"] and "Ann Ames" in browser.get("/compose").html
    # From then on they are what the user makes of them.
    browser.submit(form, "save", {"display_name": ""})
    assert sign_in("Europe/Berlin")[2] == ["Asia/Tokyo", ""]


def test_a_zone_that_is_none_is_not_taken(node, ann):
    browser = Browser(node)
    browser.submit(browser.get("/login").form("/login"), fields={"address": ann, "password": PASSWORD, "zone": "Nowhere/At all"})
    assert dict(browser.get("/settings").form("/settings", "save").fields)["time_zone"] == "UTC"


def turn_on(browser, password=PASSWORD):
    """Turns the second factor on; the app, and the recovery codes."""
    page = browser.get("/security/second-factor")
    assert '<svg class="qr"' in page.html
    form = page.form(SECURITY, "factor-on")
    secret = dict(form.fields)["secret"]
    assert f"secret={secret}" in page.html and "otpauth://totp/" in page.html
    app = App(secret)
    page = browser.submit(form, "factor-on", {"old": password, "code": app.code()})
    codes = re.findall(r"<li><code>([A-Z2-7-]+)</code>", page.html)
    assert len(codes) == 10, page.text
    return app, codes


def opens(node, address, password):
    """The mail protocols that a password opens."""
    said = {}
    said["imap login"] = node.imap().command(f'LOGIN "{address}" "{password}"')[0] == "OK"
    plain = base64.b64encode(f"\0{address}\0{password}".encode()).decode()
    said["imap plain"] = node.imap().command(f"AUTHENTICATE PLAIN {plain}")[0] == "OK"
    line = node.connect("pop3")
    line.line()
    line.send(f"USER {address}\r\n".encode())
    line.line()
    line.send(f"PASS {password}\r\n".encode())
    said["pop3"] = line.line().startswith(b"+OK")
    line.close()
    smtp = node.connect("submission")
    smtp.line()
    smtp.send(b"EHLO me\r\n")
    while smtp.line()[3:4] == b"-":
        pass
    smtp.send(f"AUTH PLAIN {plain}\r\n".encode())
    said["smtp"] = smtp.line().startswith(b"235")
    smtp.close()
    return {name for name, is_open in said.items() if is_open}


MAIL = {"imap login", "imap plain", "pop3", "smtp"}


def test_a_wrong_password_says_so_and_opens_nothing(node, ann):
    browser = Browser(node)
    page = browser.login(ann, "wrong")
    assert page.status == 401 and "do not go together" in page.text and not browser.cookies
    page = browser.get("/f/1?page=2")
    assert page.path.startswith("/login?next=%2Ff%2F1%3Fpage%3D2")


def test_the_password_is_changed_and_other_sessions_end(node, ann):
    here, there = Browser(node), Browser(node)
    assert here.login(ann).status == 200 and there.login(ann).status == 200
    imap = node.imap(ann)
    form = here.get(SECURITY).form(SECURITY, "password")
    for old, fresh, again, why in [
        ("wrong", "new secret 1", "new secret 1", "not the password you have"),
        (PASSWORD, "short", "short", "8 characters"),
        (PASSWORD, "new secret 1", "new secret 2", "differ"),
        (PASSWORD, "{PLAIN}abcdefgh", "{PLAIN}abcdefgh", "brace"),
    ]:
        page = here.submit(form, "password", {"old": old, "fresh": fresh, "again": again})
        assert why in page.text, page.text
    assert there.is_in()
    page = here.submit(form, "password", {"old": PASSWORD, "fresh": "new secret 1", "again": "new secret 1"})
    assert "The password is changed" in page.text, page.text
    assert here.is_in() and not there.is_in()
    harness.eventually(lambda: ended(imap), what="the end of the IMAP session")
    assert opens(node, ann, PASSWORD) == set()
    assert opens(node, ann, "new secret 1") == MAIL
    assert Browser(node).login(ann, PASSWORD).status == 401
    assert Browser(node).login(ann, "new secret 1").status == 200
    # The one that changed it still works, for writing too.
    settings = here.get("/settings").form("/settings", "save")
    assert "Saved." in here.submit(settings, "save", {"display_name": "Ann"}).text


def ended(imap):
    try:
        imap.command("NOOP")
    except (harness.Closed, OSError):
        return True
    return False


def test_with_a_second_factor_mail_takes_app_passwords_alone(node, ann):
    browser, other = Browser(node), Browser(node)
    browser.login(ann)
    other.login(ann)
    assert opens(node, ann, PASSWORD) == MAIL
    imap = node.imap(ann)
    app, _ = turn_on(browser)
    assert browser.is_in() and not other.is_in()
    harness.eventually(lambda: ended(imap), what="the end of the IMAP session")
    assert opens(node, ann, PASSWORD) == set(), "though the password was known a moment ago"
    secrets = {}
    for scopes in (["imap"], ["pop3", "smtp"]):
        form = browser.get(SECURITY).form(SECURITY, "app-add")
        label = "+".join(scopes)
        page = browser.submit(form, "app-add", {"old": PASSWORD, "label": label, "scope": scopes})
        secrets[label] = re.search(r'<code class="secret">([a-z2-7-]{19})</code>', page.html)[1]
    assert opens(node, ann, secrets["imap"]) == {"imap login", "imap plain"}
    assert opens(node, ann, secrets["pop3+smtp"]) == {"pop3", "smtp"}
    assert Browser(node).login(ann, secrets["imap"]).status == 401, "webmail takes the password"
    page = browser.get(SECURITY)
    assert secrets["imap"] not in page.html, "shown once"
    lines = re.findall(r'<span class="name">([^<]+)</span> <span class="size">([^<]+)</span>', page.html)
    lines = dict(lines)
    assert lines["imap"].startswith("IMAP;") and "never" not in lines["imap"]
    assert lines["pop3+smtp"].startswith("POP3, SMTP;")
    form = page.form(SECURITY, "app-remove")
    assert "opens nothing any more" in browser.submit(form, "app-remove", {"label": "imap"}).text
    assert opens(node, ann, secrets["imap"]) == set()
    for fields, why in [
        ({"old": "wrong", "label": "x", "scope": ["imap"]}, "not the password"),
        ({"old": PASSWORD, "label": "pop3+smtp", "scope": ["imap"]}, "label of its own"),
        ({"old": PASSWORD, "label": " ", "scope": ["imap"]}, "a name"),
        ({"old": PASSWORD, "label": "y", "scope": []}, "what the app password is for"),
    ]:
        page = browser.submit(browser.get(SECURITY).form(SECURITY, "app-add"), "app-add", fields)
        assert why in page.text, page.text
    del app


def test_the_code_is_asked_for_and_counts_once(node, ann):
    browser = Browser(node)
    browser.login(ann)
    app, recovery = turn_on(browser)
    second = Browser(node)
    page = second.login(ann, remember=True)
    assert page.path.startswith("/login/code"), page.path
    assert not second.is_in(), "the password alone opens nothing"
    pending = dict(second.cookies)
    code = app.code()
    for wrong in ("000000", "", "abc"):
        page = second.submit(page.form("/login/code"), "code", {"code": wrong})
        assert page.status == 401 and "not right" in page.text
    page = second.submit(page.form("/login/code"), "code", {"code": f" {code[:3]} {code[3:]} "})
    assert page.status == 200 and second.is_in()
    assert second.cookies != pending, "what was known before the code is worth nothing"
    thief = Browser(node)
    thief.cookies = pending
    assert not thief.is_in() and thief.get("/login/code", follow=False).status == 303
    third = Browser(node)
    page = third.login(ann)
    page = third.submit(page.form("/login/code"), "code", {"code": code})
    assert page.status == 401 and not third.is_in(), "a code that was used"
    page = third.submit(page.form("/login/code"), "code", {"code": recovery[0].lower().replace("-", " ")})
    assert third.is_in()
    fourth = Browser(node)
    page = fourth.login(ann)
    page = fourth.submit(page.form("/login/code"), "code", {"code": recovery[0]})
    assert page.status == 401, "a recovery code that was used"
    page = fourth.submit(page.form("/login/code"), "cancel")
    assert page.path == "/login"
    assert "9 recovery codes are left" in browser.get(SECURITY).text
    page = browser.get(SECURITY)
    form = page.form(SECURITY, "recovery")
    assert "not right" in browser.submit(form, "recovery", {"old": PASSWORD, "code": "1"}).text
    page = browser.submit(form, "recovery", {"old": PASSWORD, "code": recovery[1]})
    fresh = re.findall(r"<li><code>([A-Z2-7-]+)</code>", page.html)
    assert len(fresh) == 10 and not set(fresh) & set(recovery)
    page = browser.submit(form, "factor-off", {"old": PASSWORD, "code": recovery[2]})
    assert "not right" in page.text
    page = browser.submit(form, "factor-off", {"old": PASSWORD, "code": fresh[0]})
    assert "password alone again" in page.text and not second.is_in()
    assert opens(node, ann, PASSWORD) == MAIL
    assert Browser(node).login(ann).path.startswith("/f/")


def test_nothing_is_turned_on_without_password_and_code(node, ann):
    browser = Browser(node)
    browser.login(ann)
    form = browser.get("/security/second-factor").form(SECURITY, "factor-on")
    secret = dict(form.fields)["secret"]
    now = int(time.time()) // 30
    for fields, why in [
        ({"old": "wrong", "code": code_at(secret, now)}, "not the password"),
        ({"old": PASSWORD, "code": code_at(secret, now - 100)}, "not the code of this moment"),
    ]:
        page = browser.submit(form, "factor-on", fields)
        assert why in page.text and dict(page.form(SECURITY, "factor-on").fields)["secret"] == secret
    assert opens(node, ann, PASSWORD) == MAIL


def test_the_operator_opens_the_way_back(node, ann):
    browser = Browser(node)
    browser.login(ann)
    turn_on(browser)
    said = node.cli("account", "second-factor-off", ann)
    assert said.stdout == ""
    assert opens(node, ann, PASSWORD) == MAIL
    assert Browser(node).login(ann).path.startswith("/f/")
    said = node.cli("account", "second-factor-off", ann, code=1)
    assert "no second factor" in said.stderr


def test_the_second_factor_outlives_a_restart():
    with harness.Server(listen=WEB) as server:
        ann = server.accounts("ann")[0]
        browser = Browser(server)
        browser.login(ann)
        app, _ = turn_on(browser)
        server.restart()
        assert browser.is_in(), "log-ins of browsers do, too"
        assert opens(server, ann, PASSWORD) == set()
        page = Browser(server).login(ann)
        assert page.path.startswith("/login/code")


def test_log_ins_of_browsers_are_listed_and_ended(node, ann):
    here, there, elsewhere = (Browser(node) for _ in range(3))
    for browser in (here, there, elsewhere):
        browser.login(ann)
    page = here.get(SECURITY)
    assert page.html.count("Firefox on Linux") == 3 and page.text.count("this browser") == 1
    page = here.submit(page.form(SECURITY, "end"), "end")
    assert page.html.count("Firefox on Linux") == 2
    assert sorted([there.is_in(), elsewhere.is_in()]) == [False, True]
    here.submit(page.form(SECURITY, "end-others"), "end-others")
    assert here.is_in() and not there.is_in() and not elsewhere.is_in()
    there.login(ann)
    page = here.submit(here.get(SECURITY).form(SECURITY, "end-all"), "end-all")
    assert page.path == "/login" and not here.is_in() and not there.is_in()
    there.login(ann)
    page = there.get("/")
    page = there.submit(page.form("/logout"))
    assert page.path == "/login" and not there.cookies and not there.is_in()


def test_forms_of_other_sites_do_nothing(node, ann):
    browser = Browser(node)
    browser.login(ann)
    form = browser.get("/settings").form("/settings", "save")
    port = node.ports["http"]
    for headers in (
        {"Origin": "https://evil.example"},
        # Without a referrer a page of ours has this origin, too, and says where it comes from.
        {"Origin": "null", "Sec-Fetch-Site": None},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": f"https://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        page = browser.submit(form, "save", {"display_name": "Evil"}, headers=headers)
        assert page.status == 403, headers
    assert browser.submit(form, "save", {"display_name": "Ann"}, headers={"Origin": "null"}).status == 200
    page = browser.submit(form, "save", {"display_name": "Evil"}, drop=("token",))
    assert page.status == 403
    page = browser.submit(form, "save", {"display_name": "Evil", "token": "x"})
    assert page.status == 403
    assert "Evil" not in browser.get("/settings").html


def test_cookies_and_headers_are_those_of_the_connection(node, ann):
    plain = Browser(node)
    page = plain.submit(plain.get("/login").form("/login"), fields={"address": ann, "password": PASSWORD}, follow=False)
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("hikyaku=") and "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Max-Age" not in cookie
    assert "strict-transport-security" not in page.headers
    secure = Browser(node, "https")
    page = secure.submit(
        secure.get("/login").form("/login"), fields={"address": ann, "password": PASSWORD, "remember": "1"}, follow=False
    )
    cookie = page.headers["set-cookie"]
    assert cookie.startswith("__Host-hikyaku=") and "; Secure" in cookie and "Max-Age=2592000" in cookie and "Path=/;" in cookie
    assert page.headers["strict-transport-security"] == "max-age=31536000"
    page = secure.get("/settings")
    assert page.headers["cache-control"] == "no-store" and page.headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


PUBLIC = '[http]\npublic_url = "https://mail.example.test/"\ntrusted_proxies = ["127.0.0.1/32"]\n'


def test_behind_a_proxy_the_client_and_the_origin_are_those_of_the_browser():
    with harness.Server(listen=WEB, config=PUBLIC) as server:
        ann = server.accounts("ann")[0]
        forwarded = {"X-Forwarded-For": "1.2.3.4, 203.0.113.9", "X-Forwarded-Proto": "https", "Host": "mail.example.test"}
        browser = Browser(server, headers={**forwarded, "Origin": "https://mail.example.test"})
        page = browser.login(ann)
        assert page.status == 200 and "__Host-hikyaku" in browser.cookies
        assert page.headers["strict-transport-security"]
        assert "203.0.113.9" in browser.get(SECURITY).text, "the address that the proxy itself saw"
        form = browser.get("/settings").form("/settings", "save")
        for origin in ("http://mail.example.test", f"http://127.0.0.1:{server.ports['http']}", "https://other.example"):
            assert browser.submit(form, "save", headers={"Origin": origin}).status == 403, origin
        assert browser.submit(form, "save").status == 200
        wrong = Browser(server, headers={**forwarded, "Origin": "https://mail.example.test"})
        wrong.login(ann, "wrong")
        line = r"auth failed.*proto=http.*ip=203\.0\.113\.9"
        harness.eventually(lambda: re.search(line, server.log()), what="the line for fail2ban")
        # Through the proxy but without TLS on the other side of it: sent to where TLS is.
        clear = Browser(server, headers={**forwarded, "X-Forwarded-Proto": "http"})
        page = clear.get("/settings?x=1", follow=False)
        assert page.status in (301, 308) and page.headers["location"] == "https://mail.example.test/settings?x=1"


def test_a_proxy_that_is_not_trusted_changes_nothing(node, ann):
    browser = Browser(node, headers={"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"})
    browser.login(ann)
    assert "hikyaku" in browser.cookies and "__Host-hikyaku" not in browser.cookies
    page = browser.get(SECURITY)
    assert "203.0.113.9" not in page.text and "127.0.0.1" in page.text


def test_who_comes_over_the_network_without_tls_is_sent_to_where_it_is():
    own = harness_address()
    with harness.Server(listen=("imap", "https"), extra_listen=f'http = "{own}:auto"') as server:
        import http.client

        connection = http.client.HTTPConnection(own, server.ports["http"], timeout=30)
        connection.request("GET", "/f/1?page=2", headers={"Host": f"mail.example.test:{server.ports['http']}"})
        answer = connection.getresponse()
        assert answer.status in (301, 308)
        expected = f"https://mail.example.test:{server.ports['https']}/f/1?page=2"
        assert answer.headers["location"] == expected
        connection.close()


def harness_address():
    """An address of this machine that is not loopback, or the test has nothing to look at."""
    import socket

    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
    except OSError:
        pytest.skip("this machine has no address but loopback")
    finally:
        probe.close()


def test_second_factor_pages_are_json_free_of_secrets(node, ann):
    """What operators list shows no secret."""
    browser = Browser(node)
    browser.login(ann)
    app, codes = turn_on(browser)
    listed = json.dumps(node.cli_json("account", "list", harness.DOMAIN))
    assert app.secret not in listed and not any(code in listed for code in codes)
    assert app.secret not in node.log()
