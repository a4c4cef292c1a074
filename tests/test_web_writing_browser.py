"""Writing and searching in Chromium: text with formats, files with their progress, links to mail addresses, what was searched for
marked in the open message; on a phone nothing lies over a form."""

import email
import email.policy
import re

import pytest

from harness import DOMAIN, eventually

SIZES = ["wide", "phone"]


def letters(webmail, address, folder="INBOX"):
    client = webmail.imap(address)
    return [email.message_from_bytes(data, policy=email.policy.default) for data in client.bodies(folder).values()]


def drop(page, name, size):
    """A file of so many bytes falls onto the form."""
    page.evaluate(
        """([name, size]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(size)], name));
            const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
            document.querySelector("form.compose").dispatchEvent(event);
        }""",
        [name, size],
    )


def files(page):
    return page.locator(".files .name").all_text_contents()


@pytest.fixture
def people(webmail, mailbox):
    """Somebody who writes, and somebody to write to."""
    return mailbox, webmail.accounts(f"to-{mailbox.split('@')[0]}", add_domain=False)[0]


@pytest.mark.parametrize("size", SIZES)
def test_text_with_formats_is_written_and_comes_back(open_view, webmail, people, size):
    writer, to = people
    view = open_view(writer, size)
    page, keys = view.page, view.page.keyboard
    view.goto("/compose")
    page.fill("#to-field", to)
    page.fill("#subject-field", "Formats")
    page.press("#subject-field", "Enter")
    page.fill("#text-field", "Dear  Bob\n> said\n>> before\n\nend")
    page.click("[data-form=rich]")
    editor = page.locator(".rich")
    assert not page.locator("#text-field").is_visible()
    assert editor.locator("blockquote blockquote").text_content() == "before"
    editor.press("Control+End")
    keys.press("Enter")
    page.click("[data-mark=bold]")
    keys.type("bold")
    page.locator("[data-mark=bold][aria-pressed=true]").wait_for()
    page.click("[data-mark=bold]")
    keys.type(" and ")
    page.once("dialog", lambda dialog: dialog.accept("x.example/y"))
    page.click("[data-mark=link]")
    keys.press("Control+End")
    keys.press("Enter")
    page.click("[data-mark=insertUnorderedList]")
    keys.type("one")
    keys.press("Enter")
    keys.type("two")
    keys.press("Enter")
    keys.press("Enter")
    page.click("[data-mark=indent]")
    keys.type("quoted")
    view.shot("formats", full=True)
    view.assert_accessible("formats")
    page.locator(".saved", has_text="Saved").wait_for()
    page.click("button[value=save]")
    view.notice("The draft was saved.")
    view.folder("Drafts")
    view.line("Formats").locator("a").click()
    editor.locator("b", has_text="bold").wait_for()
    assert editor.locator("li").all_text_contents() == ["one", "two"]
    editor.press("Control+Enter")
    page.locator("text=is sent in").wait_for()
    eventually(lambda: letters(webmail, to), what="the message")
    (got,) = letters(webmail, to)
    assert got.get_content_type() == "multipart/alternative"
    plain, rich = (part.get_content().replace("\r\n", "\n") for part in got.iter_parts())
    assert plain == "Dear  Bob\n> said\n>> before\n\nend\nbold and x.example/y\n- one\n- two\n> quoted\n", plain
    assert "<b>bold</b>" in rich and 'href="https://x.example/y"' in rich and "style" not in rich, rich


@pytest.mark.parametrize("size", SIZES)
def test_formats_are_taken_off_and_pasted_markup_is_cleaned(open_view, mailbox, size):
    view = open_view(mailbox, size)
    # Of what is pasted the browser says what it does not do.
    view.expected.append("Content Security Policy")
    page = view.page
    view.goto("/compose")
    page.click("[data-form=rich]")
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.setData("text/html", '<h1 style="color: red" onclick="x()">Title</h1><p>a <b>b</b><img src="https://leak.example/x.png">'
                + '<a href="javascript:x()">c</a> <a href="https://x.example/">d</a></p><script>x()</script>');
            data.setData("text/plain", "Title");
            const editor = document.querySelector(".rich");
            editor.focus();
            editor.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
        }"""
    )
    pasted = page.locator(".rich").inner_html()
    assert "Title" in pasted and "<b>b</b>" in pasted and 'href="https://x.example/"' in pasted
    assert not re.search(r"style|onclick|script|img|leak", pasted), pasted
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("[data-form=plain]")
    assert page.input_value("#text-field").split("\n")[0] == "Title"
    assert "a b" in page.input_value("#text-field") and "d <https://x.example/>" in page.input_value("#text-field")
    assert page.locator("input[name=html]").is_disabled()
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("button[value=discard]")
    view.notice("The draft was discarded.")


@pytest.mark.parametrize("size", SIZES)
def test_files_show_themselves_their_way_and_their_limit(open_view, webmail, people, size):
    writer, to = people
    view = open_view(writer, size)
    page = view.page
    view.goto("/compose")
    page.fill("#to-field", to)
    page.fill("#subject-field", "Files")
    drop(page, "dropped.bin", 3_000_000)
    drop(page, "unwanted.bin", 12_345)
    page.set_input_files("#files", {"name": "chosen.txt", "mimeType": "text/plain", "buffer": b"chosen"})
    assert files(page) == ["dropped.bin", "unwanted.bin", "chosen.txt"]
    assert page.locator(".files .size").all_text_contents() == ["3.0 MB", "12 KB", "6 bytes"]
    page.click('button[aria-label="Remove unwanted.bin"]')
    drop(page, "huge.bin", int(page.get_attribute("#files", "data-bytes-max")))
    limit = page.get_attribute("#files", "data-limit")
    assert f"attachments may have {limit} together" in page.text_content(".trouble")
    assert files(page) == ["dropped.bin", "chosen.txt"]
    view.shot("files", full=True)
    view.assert_accessible("files")
    slow = view.context.new_cdp_session(page)
    narrow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1_000_000}
    slow.send("Network.enable")
    slow.send("Network.emulateNetworkConditions", narrow)
    page.click("button[value=send]")
    page.wait_for_selector(".upload progress")
    eventually(lambda: 0 < page.evaluate("document.querySelector('progress').value") < 100, what="that it moves on")
    view.shot("upload", full=True)
    page.click(".upload button")
    page.locator(".trouble", has_text="The upload was stopped.").wait_for()
    assert files(page) == ["dropped.bin", "chosen.txt"] and letters(webmail, to) == []
    slow.send("Network.emulateNetworkConditions", {**narrow, "uploadThroughput": -1})
    # Saved with its files, and opened again.
    page.click("button[value=save]")
    view.notice("The draft was saved.")
    view.folder("Drafts")
    view.line("Files").locator("a").click()
    page.wait_for_selector(".files .name")
    assert files(page) == ["dropped.bin", "chosen.txt"]
    page.fill("#text-field", "first")
    page.locator(".saved", has_text="Saved").wait_for()
    page.fill("#text-field", "see")
    page.click('button[aria-label="Remove dropped.bin"]')
    assert files(page) == ["chosen.txt"]
    page.click("button[value=send]")
    page.locator("text=is sent in").wait_for()
    eventually(lambda: letters(webmail, to), what="the message")
    (got,) = letters(webmail, to)
    assert [(it.get_filename(), it.get_content()) for it in got.iter_attachments()] == [("chosen.txt", "chosen")]


WITH_HITS = f"""From: Ann <ann@{DOMAIN}>
To: bob@{DOMAIN}
Subject: The budget
Message-ID: <budget-html@{DOMAIN}>
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<style>.budget {{ color: #123456 }}</style><p class="budget" title="budget">{"<br>".join(["line"] * 60)}</p>
<p>The BUD<b>GET</b> of the year; write to <a href="mailto:desk@x.example?subject=Plan">the desk</a>.</p><p>budget</p>
"""


@pytest.mark.parametrize("js", [True, False], ids=["js", "plain"])
@pytest.mark.parametrize("size", SIZES)
def test_what_was_searched_for_is_marked_in_the_message(open_view, webmail, mailbox, size, js):
    client = webmail.imap(mailbox)
    client.append("INBOX", WITH_HITS.replace("\n", "\r\n").encode())
    text = f"From: x@{DOMAIN}\nSubject: Text\n\n" + "line\n\n" * 60 + "> the budget\n> quoted\n> once\n> more\n\nThe <budget> it is.\n"
    client.append("INBOX", text.replace("\n", "\r\n").encode())
    view = open_view(mailbox, size, js)
    page = view.page
    page.fill("#q", "budget")
    page.press("#q", "Enter")
    page.wait_for_url("**q=budget*")
    view.open("The budget")
    assert page.text_content("#subject mark") == "budget"
    page.locator(".hits", has_text="Found 2 times in this message").wait_for()
    frame = page.frame_locator("iframe.html")
    assert frame.locator("mark").all_text_contents() == ["BUD", "GET", "budget"]
    first = frame.locator("mark").first
    page.click(".hits a")
    inside = "it => { const box = it.getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight; }"
    eventually(lambda: first.evaluate(inside), what="that the first place is seen")
    view.shot("hits-html")
    page.goto(page.url.split("/m/")[0] + "?q=budget")
    view.open("Text")
    page.locator(".hits", has_text="Found 2 times").wait_for()
    assert page.locator(".text mark").all_text_contents() == ["budget", "budget"]
    before = page.url
    page.click(".hits a")
    eventually(lambda: page.locator(".text mark").first.evaluate(inside), what="that the first place is seen")
    assert page.url.startswith(before) and page.locator("article").count() == 1
    view.shot("hits-text")
    if js:
        view.assert_accessible("hits")
        page.go_back()
        page.wait_for_url(before)
        page.wait_for_selector("article #subject:has-text('Text')")


@pytest.mark.parametrize("size", SIZES)
def test_a_mail_address_in_a_message_opens_our_composer(open_view, webmail, mailbox, size):
    webmail.imap(mailbox).append("INBOX", WITH_HITS.replace("\n", "\r\n").encode())
    view = open_view(mailbox, size)
    view.open("The budget")
    with view.context.expect_page() as opened:
        view.page.frame_locator("iframe.html").locator("a").click()
    composer = opened.value
    composer.wait_for_selector("#to-field")
    assert composer.input_value("#to-field") == "desk@x.example" and composer.input_value("#subject-field") == "Plan"
    assert composer.locator("[data-mailto] button").is_visible(), "the browser may be told to send such links here"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("js", [True, False], ids=["js", "plain"])
def test_on_a_phone_nothing_lies_over_a_form(open_view, mailbox, js, dark):
    view = open_view(mailbox, "phone", js, dark)
    page = view.page
    assert page.locator(".folders .new").is_visible()
    for path in ("/compose", "/settings", "/contacts", "/folders", "/security", "/rules"):
        view.goto(path)
        assert not page.locator(".folders .new").is_visible(), path
        view.shot("phone" + path.replace("/", "-"), full=True)
