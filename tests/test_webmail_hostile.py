"""Mail that wants to run, to ask or to deceive, shown in a real browser: nothing runs, nothing leaves, and no name is looked up.

The cases are those of `access/html/tests/hostile`: what they would reach is under leak.example. The browser keeps a log of its
network, look-ups and preconnects included; that the log would show it is tested with a picture that is asked for."""

import base64
import os
import re

import pytest
from browser import Chromium
from harness import DOMAIN, ROOT

CASES = os.path.join(ROOT, "access/html/tests/hostile")
# Messages of a conversation are shown together.
TOGETHER = 20
LEAK = "leak.example"
# All frames of a page are near enough to be loaded.
TALL = {"width": 1280, "height": 14_000}


def cases(ending):
    names = sorted(it for it in os.listdir(CASES) if it.endswith(ending))
    return [(name.rsplit(".", 1)[0], open(os.path.join(CASES, name), "rb").read()) for name in names]


def letter(name, page, root):
    head = (
        f"From: Evil <evil@{DOMAIN}>\r\nTo: <reader@{DOMAIN}>\r\nSubject: Re: case {root}\r\nMessage-ID: <{name}@{DOMAIN}>\r\n"
        f"References: <{root}@{DOMAIN}>\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    return head.encode() + lines_of(page)


def lines_of(data):
    """In base64: some cases hold what no message may, as it stands."""
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def said(page, name):
    return re.search(rb"<!-- %s: (.*?) -->" % name.encode(), page, re.S)[1].decode()


@pytest.fixture
def guarded(steering, tmp_path):
    """A browser that logs its network, and what it logged."""
    log = tmp_path / "net.json"
    browser = Chromium(steering, [f"--log-net-log={log}"])

    def logged():
        browser.close()
        return log.read_text(errors="replace")

    yield browser, logged
    browser.close()


def watched(view):
    """Everything that a message must not bring about."""
    happened = []
    view.context.on("page", lambda page: happened.append(f"a window: {page.url}"))
    view.page.on("dialog", lambda dialog: (happened.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
    view.page.on("download", lambda it: happened.append(f"a download: {it.url}"))
    return happened


def test_hostile_mail_runs_nothing_and_reaches_nobody(webmail, guarded):
    browser, logged = guarded
    address = webmail.accounts("hostile", add_domain=False)[0]
    client = webmail.imap(address)
    pages = cases(".html")
    assert len(pages) >= 90
    for number, (name, page) in enumerate(pages):
        client.append("INBOX", letter(name, page, f"root{number // TOGETHER}"))
    with browser.view(webmail, viewport=TALL) as view:
        view.login(address)
        happened = watched(view)
        shown, hrefs = 0, []
        while True:
            hrefs += [it.get_attribute("href") for it in view.page.locator(".lines a").all()]
            older = view.page.locator(".pages a[rel=next]")
            if not older.count():
                break
            view.goto(older.get_attribute("href"))
        for href in hrefs:
            view.goto(href)
            url = view.page.url
            frames = [it for it in view.page.frames if it != view.page.main_frame]
            for frame in frames:
                frame.wait_for_load_state()
            texts = "\n".join(frame.locator("body").text_content() for frame in frames)
            first = TOGETHER * int(re.search(r"root(\d+)", view.page.text_content("#subject"))[1])
            part = pages[first:first + TOGETHER]
            assert len(frames) == len(part), (len(frames), [name for name, _ in part])
            for name, page in part:
                missing = [it for it in said(page, "keeps").split("|") if it not in texts]
                assert not missing, f"{name}: {missing} is not shown"
            shown += len(part)
            assert view.page.url == url, "a message led the page elsewhere"
        view.shot("hostile")
        assert shown == len(pages)
        assert not happened, happened
    assert LEAK not in logged(), "a host of a message was looked up or reached"


def test_the_log_shows_what_is_asked_for(webmail, guarded):
    browser, logged = guarded
    address = webmail.accounts("asksfor", add_domain=False)[0]
    page = f'<p>Look</p><img src="https://picture.{LEAK}/p.png">'.encode()
    webmail.imap(address).append("INBOX", letter("asked", page, "asked"))
    view = browser.view(webmail)
    view.login(address)
    view.page.locator(".lines a").first.click()
    view.page.locator(".notice", has_text="One picture from elsewhere").wait_for()
    view.shot("blocked")
    assert not [it for it in view.requests if LEAK in it]
    with view.context.expect_event("requestfailed", lambda it: LEAK in it.url):
        view.page.click("a:has-text('Load pictures')")
    view.context.close()
    assert f"picture.{LEAK}" in logged()


def test_hostile_attachments_are_saved_or_shown_as_what_they_are(open_view, webmail, mailbox):
    parts = []
    for name, case in cases(".part"):
        media, file_name, _, body = case.split(b"\n", 3)
        disposition = b'Content-Disposition: attachment; filename="%s"\r\n' % file_name.replace(b'"', b"'")
        media = b"Content-Type: %s\r\n" % media if media.strip() else b""
        parts.append(b"--b\r\n" + media + disposition + b"Content-Transfer-Encoding: base64\r\n\r\n" + lines_of(body))
    head = f"From: Evil <evil@{DOMAIN}>\r\nSubject: attached\r\nMIME-Version: 1.0\r\n"
    head += "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    webmail.imap(mailbox).append("INBOX", head.encode() + b"".join(parts) + b"--b--\r\n")
    view = open_view(mailbox)
    happened = watched(view)
    view.open("attached")
    view.shot("hostile-attachments")
    links = sorted({it.get_attribute("href").split("?")[0] for it in view.page.locator(".attachments a").all()})
    assert len(links) == len(parts), (len(links), len(parts))
    inline = 0
    for href in links:
        answer = view.context.request.get(f"{href}?view=1")
        headers = answer.headers
        assert headers["x-content-type-options"] == "nosniff" and "sandbox" in headers["content-security-policy"], headers
        shown = headers["content-disposition"].startswith("inline")
        media = headers["content-type"].split(";")[0]
        assert not shown or media in ("text/plain", "image/png", "image/jpeg", "image/gif", "image/webp"), headers
        if shown:
            inline += 1
            view.goto(f"{href}?view=1")
            assert view.page.locator("script, svg, iframe").count() == 0
    assert 0 < inline < len(links)
    assert not happened, happened


def test_deep_and_large_html_is_shown_in_time(open_view, webmail, mailbox):
    client = webmail.imap(mailbox)
    client.append("INBOX", letter("deep", b"<p>top</p>" + b"<div><b><i>" * 40_000 + b"bottom", "deep"))
    row = b"<tr><td>cell</td><td><img src=https://x.leak.example/p.png></td></tr>"
    client.append("INBOX", letter("large", b"<p>top</p><table>" + row * (5_000_000 // len(row)) + b"</table>", "large"))
    view = open_view(mailbox)
    for name in ("deep", "large"):
        view.goto("/")
        view.open(f"case {name}")
        view.page.frame_locator("iframe.html").locator("p:has-text('top')").wait_for()
