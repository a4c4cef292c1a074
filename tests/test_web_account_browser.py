"""The account and writing in Chromium: by its own forms, on both sizes, with and without JavaScript; axe-core finds nothing."""

import pytest

import harness
from harness import DOMAIN, PASSWORD
from test_web_account import App


def turn_on(view):
    """Turns the second factor on by the pages; the app, and the recovery codes."""
    page = view.page
    page.goto("/security")
    page.click("text=Turn it on")
    app = App(page.text_content("code.secret").replace(" ", ""))
    view.shot("second-factor", full=True)
    if view.js:
        view.assert_accessible("second factor")
    page.fill("#code", app.code())
    page.fill("#old", PASSWORD)
    page.click("button[value=factor-on]")
    page.wait_for_selector("ul.codes")
    view.shot("recovery-codes")
    if view.js:
        view.assert_accessible("recovery codes")
    return app, page.locator("ul.codes code").all_text_contents()


def test_the_second_factor_and_an_app_password(view, open_view):
    page = view.page
    app, codes = turn_on(view)
    assert len(codes) == 10
    page.click("text=I have kept them")
    page.fill("#label", "phone")
    page.fill("#app-old", PASSWORD)
    page.click("button[value=app-add]")
    secret = page.text_content("code.secret")
    view.shot("security", full=True)
    if view.js:
        view.assert_accessible("security")
    address = page.text_content(".address") if page.locator(".address").count() else None
    other = open_view(None, view.size, view.js)
    other.expected.append("401")
    other.page.fill("#address", address.strip())
    other.page.fill("#password", PASSWORD)
    other.page.click("button:has-text('Sign in')")
    other.page.wait_for_selector("#code")
    other.shot("code")
    if other.js:
        other.assert_accessible("code")
    other.page.fill("#code", "000000")
    other.page.click("button[value=code]")
    other.page.locator("text=not right").wait_for()
    other.page.fill("#code", app.code())
    other.page.click("button[value=code]")
    other.page.wait_for_selector(".lines")
    assert secret and len(secret) == 19


def test_a_message_is_written_held_called_back_and_sent(view, webmail, mailbox):
    page = view.page
    to = webmail.accounts(f"to-{mailbox.split('@')[0]}", add_domain=False)[0]
    page.goto("/compose")
    page.fill("#to-field", to)
    page.fill("#subject-field", "Called back")
    page.fill("#text-field", "wait")
    view.shot("compose")
    if view.js:
        # It saves itself.
        page.locator(".saved", has_text="Saved").wait_for()
    page.click("button[value=send]")
    page.click("button:has-text('Undo')")
    page.wait_for_selector("#subject-field")
    assert page.input_value("#subject-field") == "Called back" and page.input_value("#to-field") == to
    page.fill("#text-field", "go")
    page.click("button[value=send]")
    page.locator("text=is sent in").wait_for()
    view.shot("held")
    if view.js:
        view.assert_accessible("held")
    client = webmail.imap(to)
    harness.eventually(lambda: client.must('STATUS "INBOX" (MESSAGES)')[0][-1][1] == "1", what="the message")
    view.folder("Drafts")
    harness.eventually(lambda: page.reload() and view.subjects().count("Called back") == 0, what="the end of the draft")
    view.folder("Sent")
    assert "Called back" in view.subjects()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", ["wide", "phone"])
def test_no_page_of_the_account_has_a_barrier(open_view, looked_at, size, dark):
    view = open_view(looked_at, size, True, dark)
    for name, path in {"security": "/security", "second-factor": "/security/second-factor", "settings": "/settings"}.items():
        view.goto(path)
        view.shot(name, full=True)
        view.assert_accessible(name)
    assert DOMAIN in looked_at
