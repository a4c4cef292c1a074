"""The webmail in Chromium, on a desk and on a phone, with and without JavaScript: signing in, lists, messages, what is done with
them, folders, search."""

import re

import pytest

from harness import DOMAIN, message


def reply(key, subject, references="", date="Tue, 17 Nov 2026 10:00:00 +0000", sender="Sender"):
    """A short message with what ties it to others."""
    fields = f"In-Reply-To: {references.split()[-1]}\r\nReferences: {references}\r\n" if references else ""
    return (
        f"From: {sender} <{sender.lower()}@{DOMAIN}>\r\nTo: <reader@{DOMAIN}>\r\nSubject: {subject}\r\nDate: {date}\r\n"
        f"Message-ID: <{key}@{DOMAIN}>\r\n{fields}\r\nThis is {key}.\r\n"
    ).encode()


# --- signing in, a list, a message ----------------------------------------------------------------------------------------------


def test_signing_in_a_list_and_a_message(view):
    page = view.page
    assert page.url.startswith(f"{view.origin}/f/"), page.url
    assert page.locator(".lines li").count() == 10, view.subjects()
    assert page.title().startswith("(6) Inbox"), page.title()
    view.shot("list")
    view.open("Welcome")
    assert "Welcome" in page.text_content("#subject")
    assert re.search(r"/f/\d+/m/\d+$", page.url), page.url
    view.shot("message")
    page.goto("/")
    assert "unread" not in (view.line("Welcome").get_attribute("class") or ""), "reading marks a message"
    assert page.title().startswith("(5) Inbox"), page.title()


def test_a_wrong_password_is_told_and_nothing_else(open_view, mailbox):
    view = open_view(None)
    view.expected.append("401")
    page = view.page
    assert page.input_value("[name=zone]") == page.evaluate("Intl.DateTimeFormat().resolvedOptions().timeZone")
    page.fill("#address", mailbox)
    page.fill("#password", "wrong")
    page.click("button:has-text('Sign in')")
    assert "do not go together" in page.text_content("[role=alert]")
    assert page.input_value("#address") == mailbox
    view.shot("login-wrong")
    view.assert_accessible()


def test_signing_out(view):
    view.page.click("button:has-text('Sign out')")
    view.page.wait_for_selector("#password")
    view.page.goto("/")
    assert "/login" in view.page.url


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", ["wide", "phone"])
def test_no_page_has_a_barrier(open_view, looked_at, size, dark):
    view = open_view(None, size, True, dark)
    view.shot("login")
    view.assert_accessible("log-in")
    view.login(looked_at)
    page = view.page
    pages = {
        "list": page.url,
        "search": page.url + "?q=invoice",
        "nothing-found": page.url + "?q=no-such-word",
        "contacts": "/contacts",
        "folders": "/folders",
        "settings": "/settings",
        "compose": "/compose",
    }
    for number, row in enumerate(page.locator(".lines a").all()):
        pages[f"message{number:02}"] = row.get_attribute("href")
    view.folder("stages")
    pages["conversation"] = page.locator(".lines a").first.get_attribute("href")
    for name, path in pages.items():
        view.goto(path)
        view.shot(name)
        view.assert_accessible(name)
    view.expected.append("404")
    view.goto("/no-such-page")
    view.shot("error")
    view.assert_accessible("error")


# --- what is done with messages -------------------------------------------------------------------------------------------------


def test_chosen_messages_are_archived_and_brought_back(view):
    before = view.subjects()
    view.choose("Welcome", "Invitation")
    view.shot("chosen")
    view.act("archive")
    view.notice("2 messages archived.")
    view.shot("archived")
    assert len(view.subjects()) == len(before) - 2
    with view.page.expect_navigation():
        view.page.click(".notice button:has-text('Undo')")
    view.notice("2 messages moved.")
    assert sorted(view.subjects()) == sorted(before)
    view.folder("Archive")
    assert view.subjects() == []


def test_a_message_is_deleted_and_trash_emptied(view):
    view.open("Welcome")
    view.act("delete")
    view.notice("1 message moved to Trash.")
    view.page.goto("/")
    view.folder("Trash")
    assert any("Welcome" in it for it in view.subjects())
    view.act("empty", sure=True)
    view.notice("1 message deleted for good.")
    assert view.subjects() == []


def test_flags_and_marks(view):
    classes = lambda text: (view.line(text).get_attribute("class") or "").split()  # noqa: E731
    view.choose("Welcome")
    view.act("flag")
    view.page.locator('.lines li.flagged:has-text("Welcome")').wait_for()
    view.choose("Welcome")
    view.act("seen")
    view.page.locator('.lines li:not(.unread):has-text("Welcome")').wait_for()
    view.choose("Welcome")
    view.act("unflag")
    view.page.locator('.lines li:not(.flagged):has-text("Welcome")').wait_for()
    view.open("Welcome")
    view.act("unseen")
    view.page.goto("/")
    assert "unread" in classes("Welcome")


def test_only_unread_ones_and_all_marked_read(view):
    page = view.page
    page.click(".filter a:has-text('Unread')")
    page.wait_for_url("**unread=1")
    page.locator(".lines li:not(.unread)").first.wait_for(state="detached")
    assert page.locator(".lines li").count() == 6
    view.act("all-seen")
    page.locator(".list .empty").wait_for()
    assert "Everything is read" in page.text_content(".list .empty")
    assert page.locator('.folders a[data-icon="inbox"] .count').count() == 0


def test_moved_and_copied_by_the_menu(view):
    page, before = view.page, view.subjects()
    view.choose("Welcome")
    page.click(".list .tools details.menu summary")
    page.select_option("#to", label="Newsletters")
    view.shot("menu")
    view.act("copy")
    view.notice("1 message copied.")
    view.choose("Welcome")
    page.click(".list .tools details.menu summary")
    page.select_option("#to", label="Newsletters")
    view.act("move")
    view.notice("1 message moved.")
    assert len(view.subjects()) == len(before) - 1
    view.folder("Newsletters")
    assert view.line("Welcome").locator(".who .count").text_content() == "2", "copies are one conversation"


def test_junk_and_not_junk(view):
    view.open("Welcome")
    view.act("junk")
    view.notice("1 message marked as junk.")
    view.page.goto("/")
    view.folder("Junk")
    view.open("Welcome")
    view.act("inbox")
    view.notice("1 message moved.")
    view.page.goto("/")
    assert any("Welcome" in it for it in view.subjects())


# --- conversations --------------------------------------------------------------------------------------------------------------


def test_a_conversation_is_one_line_and_is_read_at_once(view):
    page = view.page
    view.folder("stages")
    assert page.locator(".lines li").count() == 1, view.subjects()
    assert page.locator(".lines .count").text_content() == "4"
    page.locator(".lines a").first.click()
    page.wait_for_selector("article #subject")
    assert page.locator("article .letter").count() == 4
    view.shot("conversation")
    closed = page.locator("article details.letter").first
    assert not closed.locator(".head").is_visible()
    closed.locator("summary").click()
    closed.locator(".head").wait_for()
    view.act("archive")
    view.notice("4 messages archived.")


def test_own_answers_belong_to_a_conversation_and_subjects_for_two_weeks(open_view, webmail, mailbox):
    client = webmail.imap(mailbox)
    client.append("INBOX", reply("plan1", "The plan"), date="01-Nov-2026 10:00:00 +0000")
    client.append("Sent", reply("plan2", "Re: The plan", f"<plan1@{DOMAIN}>", sender="Reader"), "\\Seen", "02-Nov-2026 10:00:00 +0000")
    client.append("INBOX", reply("plan3", "RE: the  plan"), date="10-Nov-2026 10:00:00 +0000")
    client.append("INBOX", reply("plan4", "Re: The plan"), date="27-Nov-2026 10:00:00 +0000")
    view = open_view(mailbox, js=False)
    lines = view.page.locator(".lines li", has_text=re.compile("the +plan", re.I))
    counts = [it.locator(".who .count").all_text_contents() for it in lines.all()]
    assert counts == [[], ["3"]], counts
    view.page.goto(lines.last.locator("a").get_attribute("href"))
    texts = view.page.locator("article .letter .body").all_text_contents()
    assert [re.search(r"plan\d", it)[0] for it in texts] == ["plan1", "plan2", "plan3"]


# --- search, pages, folders -----------------------------------------------------------------------------------------------------


def test_a_search_marks_what_it_found(view):
    page = view.page
    page.fill("#q", "subject:welcome")
    page.press("#q", "Enter")
    page.wait_for_url("**q=subject*")
    assert [it.lower() for it in page.locator(".lines mark").all_text_contents()][:1] == ["welcome"]
    assert page.locator(".lines li").count() == 1
    view.shot("found")
    view.open("Welcome")
    assert page.input_value("#q") == "subject:welcome"
    page.fill("#q", "no-such-word-anywhere")
    page.press("#q", "Enter")
    page.wait_for_selector(".list .empty")
    view.shot("nothing")


def test_pages_from_the_newest_on(open_view, webmail):
    address = webmail.accounts("pages", add_domain=False)[0]
    client = webmail.imap(address)
    for number in range(1, 121):
        client.append("INBOX", message(f"page{number:03}"))
    view = open_view(address, js=False)
    page = view.page
    assert page.locator(".range").text_content() == "1–50 of 120"
    assert view.subjects()[0] == "message page120"
    page.click(".pages a[rel=next]")
    assert view.subjects()[0] == "message page070"
    page.fill("#page", "3")
    page.click(".pages button")
    assert page.locator(".range").text_content() == "101–120 of 120"
    assert view.subjects()[-1] == "message page001"
    view.open("page010")
    page.click(".steps a[rel=next]")
    assert "page009" in page.text_content("#subject")
    assert "page=3" in page.url


def test_folders_are_made_renamed_and_deleted(view):
    page = view.page
    page.goto("/folders")
    page.fill("#new", "Work/Plans")
    page.click("button:has-text('Create')")
    page.locator('.folders .name:text-is("Plans")').wait_for()
    row = page.locator(".rows li", has=page.locator('.name:text-is("Work/Plans")'))
    row.locator("input[name=name]").fill("Work/Ideas")
    row.locator("button:has-text('Rename')").click()
    page.locator('.folders .name:text-is("Ideas")').wait_for()
    view.shot("folders-made")
    row = page.locator(".rows li", has=page.locator('.name:text-is("Work/Ideas")'))
    row.locator("button:has-text('Delete')").click()
    page.locator('.folders .name:text-is("Ideas")').wait_for(state="detached")
    page.goto("/folders")
    assert page.locator('.folders .name:text-is("Ideas")').count() == 0


# --- reading --------------------------------------------------------------------------------------------------------------------


def test_source_download_and_attachments(open_view, mailbox):
    view = open_view(mailbox, js=False)
    page = view.page
    view.open("Invoice")
    page.wait_for_selector(".attachments")
    with page.expect_download() as download:
        page.click(".attachments a:has-text('Save')")
    assert download.value.suggested_filename.endswith(".pdf")
    page.click(".message details.menu summary")
    view.shot("message-menu")
    with page.expect_download() as download:
        page.click(".menu a:has-text('Download message')")
    assert download.value.suggested_filename.endswith(".eml")
    page.click(".menu a:has-text('View source')")
    page.wait_for_load_state()
    assert "Message-ID:" in page.text_content("body")


