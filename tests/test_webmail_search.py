"""Where a search of the webmail looks: the folder that `in:` names, and the line of the other folders that have some."""

import html
import itertools
import re
from urllib.parse import quote_plus

import pytest

from harness import eventually, message
from plain_browser import Browser

PLANS = {"INBOX": 2, "Sent": 3, "Archive": 12, "Junk": 2, "Trash": 1, "Work/My Plans": 1}
_numbers = itertools.count(1)


def plan(number):
    return message(f"paper{number}", subject=f"The plan {number}")


@pytest.fixture
def planner(webmail):
    """An account with messages that say “plan” in some folders, and others."""
    number = next(_numbers)
    address = webmail.accounts(f"planner{number}", add_domain=False)[0]
    client = webmail.imap(address)
    for folder in ("Work/My Plans", "Work/Lists", "Home/Lists"):
        client.must(f'CREATE "{folder}"')
    for folder, count in PLANS.items():
        for one in range(count):
            client.append(folder, plan(f"{number}-{one}"))
    for folder in ("INBOX", "Drafts", "Home/Lists"):
        client.append(folder, message(f"other{number}-{folder[0]}"))
    client.logout()
    return address


@pytest.fixture
def browser(webmail, planner):
    """A browser without JavaScript."""
    browser = Browser(webmail)
    browser.login(planner)
    return browser


def search(browser, typed, folder=""):
    page = browser.get(f"/{folder}?q={quote_plus(typed)}")
    assert page.status == 200, page.text
    return page


def plain(fragment):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", fragment)).split())


def part(page, tag, attributes=""):
    found = re.search(rf"<{tag}{attributes}[^>]*>.*?</{tag}>", page.html, re.S)
    return found[0] if found else ""


def title(page):
    return plain(part(page, "h1"))


def line(page):
    return plain(part(page, "nav", ' class="also"'))


def lead_to(page, folder):
    """Where the line leads for a folder."""
    for href, text in re.findall(r'<a [^>]*href="([^"]*)"[^>]*>(.*?)</a>', part(page, "nav", ' class="also"'), re.S):
        if plain(text).startswith(folder):
            return html.unescape(href)
    raise AssertionError(f"no {folder} in {line(page)}")


def subjects(page):
    return [plain(it) for it in re.findall(r'<span class="subject"[^>]*>.*?</span>', page.html, re.S)]


def test_in_names_the_folder_to_search(browser):
    for typed, name, count in (
        ("in:archive plan", "Archive", 12),
        ('plan IN:"my plans"', "My Plans", 1),
        ('plan in:"work/my plans"', "My Plans", 1),
        ("in:inbox plan", "Inbox", 2),
        ("plan in:spam", "Junk", 2),
        ("in:trash plan", "Trash", 1),
        ("in:inbox -plan", "Inbox", 1),
        ("in:sent", "Sent", 3),
    ):
        page = search(browser, typed)
        assert title(page) == f"Found in {name}", typed
        assert len(subjects(page)) == count, (typed, subjects(page))
        assert all("The plan" in it for it in subjects(page)) != ("-plan" in typed), typed
        box = re.search(r'<input id="q"[^>]* value="([^"]*)"', page.html)
        assert html.unescape(box[1]) == typed
    opened = browser.get(next(it for it in search(browser, "in:archive plan").links if "/m/" in it))
    assert "The plan" in opened.text and "Found in Archive" in opened.text


def test_a_folder_that_can_not_be_searched_is_told(browser):
    for typed, told in (
        ("in:nowhere plan", "There is no folder “nowhere”."),
        ("plan in:lists", "Several folders are called “lists”: Home/Lists, Work/Lists."),
        ("-in:trash plan", "A search is of one folder, named once by in:, or of all of them with in:anywhere."),
        ("in:sent in:archive plan", "A search is of one folder, named once by in:, or of all of them with in:anywhere."),
    ):
        page = search(browser, typed)
        assert plain(part(page, "p", ' class="empty"')) == told, typed
        assert (title(page), subjects(page), line(page)) == ("Search", [], ""), typed


def test_other_folders_are_named_with_what_they_have(browser):
    page = search(browser, "plan")
    assert title(page) == "Found in Inbox" and len(subjects(page)) == 2
    assert line(page) == "Also in: Sent 3, Archive 12, Work/My Plans 1 Search Junk and Trash too"
    there = browser.get(lead_to(page, "Archive"))
    assert title(there) == "Found in Archive" and len(subjects(there)) == 12
    assert line(there) == "Also in: Inbox 2, Sent 3, Work/My Plans 1 Search Junk and Trash too"
    # From a folder that was named, back to the one of the link.
    there = browser.get(lead_to(search(browser, "in:archive plan"), "Inbox"))
    assert title(there) == "Found in Inbox" and line(there).startswith("Also in: Sent 3, Archive 12,")
    assert "unread=1" in lead_to(browser.get("/?q=plan&unread=1"), "Archive")
    assert line(search(browser, "in:archive")) == "", "only a folder was asked for"
    assert line(browser.get("/")) == ""


def test_nothing_here_but_elsewhere(browser):
    page = search(browser, "in:drafts plan")
    assert line(page).startswith("Found in: Inbox 2, Sent 3, Archive 12,")
    assert plain(part(page, "p", ' class="empty"')) == "Nothing was found in Drafts."
    assert page.html.index('class="also"') < page.html.index('class="empty"')
    page = search(browser, "nosuchword")
    assert line(page) == "Search Junk and Trash too"
    assert "Fewer or shorter words find more." in page.text


def test_anywhere_counts_all_folders(browser):
    page = browser.get(lead_to(search(browser, "plan"), "Search Junk"))
    assert title(page) == "Found in Inbox" and len(subjects(page)) == 2
    assert line(page) == "Found in: Inbox 2, Sent 3, Archive 12, Junk 2, Trash 1, Work/My Plans 1"
    there = browser.get(lead_to(page, "Trash"))
    assert title(there) == "Found in Trash" and len(subjects(there)) == 1
    assert line(there) == "Found in: Trash 1, Inbox 2, Sent 3, Archive 12, Junk 2, Work/My Plans 1"
    assert line(search(browser, "in:all nosuchword")) == ""


def test_a_search_from_a_page_without_folders_is_one_of_the_inbox(browser):
    form = browser.get("/contacts").form("/")
    page = browser.submit(form, fields={"q": "plan"})
    assert title(page) == "Found in Inbox" and len(subjects(page)) == 2


def test_of_many_folders_not_all_are_looked_into(webmail, browser, planner):
    client = webmail.imap(planner)
    for number in range(110):
        client.must(f"CREATE a{number:03}")
        client.append(f"a{number:03}", plan(f"many{number}"))
    page = search(browser, "plan")
    assert "Not all folders were looked into." in line(page)
    assert len(re.findall('class="count" title="1 message"', part(page, "nav", ' class="also"'))) <= 100
    assert subjects(search(browser, "in:a109 plan")) == ["The plan many109"]


@pytest.mark.parametrize(("size", "dark"), [("wide", False), ("wide", True), ("phone", False), ("phone", True)])
def test_the_line_in_a_browser(open_view, webmail, planner, size, dark):
    view = open_view(planner, size, dark=dark)
    page = view.page
    text = lambda: " ".join(page.text_content(".also").split())  # noqa: E731
    page.fill("#q", "plan")
    page.press("#q", "Enter")
    page.wait_for_url("**q=plan")
    assert text() == "Also in: Sent 3, Archive 12, Work/My Plans 1 Search Junk and Trash too"
    view.shot("also")
    view.assert_accessible("also")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("window.stays = true")
    page.click(".also a:has-text('Archive')")
    page.locator("h1:text-is('Found in Archive')").wait_for()
    assert page.evaluate("window.stays"), "only parts of the page are replaced"
    assert page.locator(".lines li").count() == 12 and page.input_value("#q") == "plan"
    assert text().startswith("Also in: Inbox 2, Sent 3,")
    page.go_back()
    page.locator("h1:text-is('Found in Inbox')").wait_for()
    # New mail counts.
    client = webmail.imap(planner)
    client.append("Sent", plan("sent-now"))
    client.append("INBOX", plan("got-now"))
    eventually(lambda: page.locator(".lines li").count() == 3 and text().startswith("Also in: Sent 4,"))
    view.folder("Drafts")
    page.fill("#q", "plan")
    page.press("#q", "Enter")
    page.wait_for_url("**q=plan")
    assert text().startswith("Found in: Inbox 3, Sent 4,")
    view.shot("also-nothing-here")
    view.assert_accessible("nothing here")
    page.fill("#q", "in:nowhere plan")
    page.press("#q", "Enter")
    page.locator(".list .empty:has-text('There is no folder')").wait_for()
    view.shot("no-such-folder")
    view.assert_accessible("no such folder")
