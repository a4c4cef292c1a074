"""The page of the rules, and what they do with mail that arrives."""

import re

import pytest

import harness
from harness import DOMAIN
from plain_browser import Browser

WEB = (*harness.SERVICES, "http")
EMPTY = {"what": ["", "", ""], "field": ["", "", ""], "how": ["has"] * 3, "text": ["", "", ""]}


@pytest.fixture
def node():
    with harness.Server(listen=WEB) as server:
        yield server


def conditions(*lines):
    """Fields of a form for (what, how, name, text)."""
    names = ("what", "how", "field", "text")
    return {name: [line[at] for line in lines] for at, name in enumerate(names)}


def folder(browser, name):
    found = re.findall(r'<option value="(\d+)"[^>]*>([^<]+)</option>', browser.get("/rules").html)
    return next(number for number, label in found if label == name)


def row_forms(browser, button):
    """The forms of the rules that have this button, in order."""
    return [form for form in browser.get("/rules").forms if any(value == button for _, value in form.buttons)]


def names(page):
    return re.findall(r'<li><span class="name">([^<]*)</span>', page.html)


def subjects(node, user, name):
    imap = node.imap(user)
    imap.must(f'SELECT "{name}"')
    found = []
    for items in imap.must("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"):
        if len(items) > 2 and items[1] == "FETCH":
            of = dict(zip(items[2][::2], items[2][1::2]))
            raw = next(value for key, value in of.items() if key.startswith("BODY["))
            found.append((raw.decode().split(":", 1)[1].strip(), set(of["FLAGS"])))
    return found


def deliver(node, to, subject, sender="boss@far.example", more="", size=0):
    text = f"From: <{sender}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n{more}\r\n" + "x" * 70 * (size // 70) + "\r\n"
    code, said = node.lmtp().deliver(text.encode(), to, sender=sender)
    assert code == 250, said


def test_rules_are_made_changed_ordered_and_applied(node):
    ann = node.accounts("ann")[0]
    browser = Browser(node)
    browser.login(ann)
    form = browser.get("/rules").form("/rules", "save")
    archive = folder(browser, "Archive")
    boss = {**conditions(("from", "has", "", "boss@"), ("subject", "has-not", "", "lunch")), "name": "Boss", "place": archive, "flagged": "1"}
    page = browser.submit(form, "save", boss)
    assert "Boss" in page.text and "From contains “boss@” and Subject does not contain “lunch”: to Archive, flag" in page.text
    big = {**conditions(("larger", "has", "", "10")), "name": "Big", "place": "trash", "stop": "1"}
    browser.submit(browser.get("/rules").form("/rules", "save"), "save", big)
    lists = {**conditions(("header", "has", "List-Id", "team")), "name": "Lists", "seen": "1", "keywords": "team"}
    browser.submit(browser.get("/rules").form("/rules", "save"), "save", lists)
    deliver(node, ann, "plan")
    deliver(node, ann, "lunch")
    deliver(node, ann, "big", size=20_000)
    deliver(node, ann, "news", sender="x@far.example", more="List-Id: <team.far.example>\r\n")
    assert [subject for subject, _ in subjects(node, ann, "INBOX")] == ["lunch", "news"]
    # The first folder counts, of two rules that have one.
    archived = dict(subjects(node, ann, "Archive"))
    assert set(archived) == {"plan", "big"} and "\\Flagged" in archived["plan"]
    news = dict(subjects(node, ann, "INBOX"))["news"]
    assert {"\\Seen", "team"} <= news
    # Up it goes, and counts first; and a rule that is off does nothing.
    browser.submit(row_forms(browser, "up")[1], "up")
    page = browser.get("/rules")
    assert page.text.index("Big") < page.text.index("Boss")
    deliver(node, ann, "big again", size=20_000)
    assert [subject for subject, _ in subjects(node, ann, "Trash")] == ["big again"]
    assert "(off)" in browser.submit(row_forms(browser, "switch")[0], "switch").text
    deliver(node, ann, "big at last", size=20_000)
    assert "big at last" in dict(subjects(node, ann, "Archive"))
    page = browser.get("/rules?edit=1")
    fields = dict(page.form("/rules", "save").fields)
    assert fields["name"] == "Boss" and fields["place"] == archive and fields["flagged"] == "1"
    browser.submit(page.form("/rules", "save"), "save", {"name": "Chief"})
    page = browser.submit(row_forms(browser, "remove")[0], "remove")
    assert "Big" not in page.text and "Chief" in page.text


def test_what_is_no_rule_is_said_and_two_windows_do_not_undo_each_other(node):
    ann = node.accounts("ann")[0]
    browser = Browser(node)
    browser.login(ann)
    form = browser.get("/rules").form("/rules", "save")
    for fields, why in [
        ({**EMPTY, "name": "x"}, "does nothing"),
        ({**conditions(("header", "has", "", "x")), "flagged": "1"}, "needs its name"),
        ({**conditions(("larger", "has", "", "many")), "flagged": "1"}, "is no size"),
        ({**EMPTY, "keywords": "(x)"}, "be a tag"),
        ({**EMPTY, "place": "999"}, "folder is gone"),
    ]:
        page = browser.submit(form, "save", fields)
        assert why in page.text, (why, page.text)
        assert "No rules yet" in page.text
    first, second = (browser.get("/rules").form("/rules", "save") for _ in range(2))
    rule = {**conditions(("from", "is", "", "a@x.example")), "flagged": "1"}
    assert "another window" not in browser.submit(first, "save", {**rule, "name": "One"}).text
    page = browser.submit(second, "save", {**rule, "name": "Two"})
    assert "another window" in page.text and "One" in page.text
    # What was typed is there, and goes through now.
    assert dict(page.form("/rules", "save").fields)["name"] == "Two"
    page = browser.submit(page.form("/rules", "save"), "save")
    assert "One" in page.text and "Two" in page.text
    assert browser.submit(page.form("/rules", "save"), "save", rule, drop=("token",)).status == 403
    # What a window changes is the rule it was about, wherever that stands by now.
    late = browser.get("/rules?edit=0").form("/rules", "save")
    browser.submit(row_forms(browser, "down")[0], "down")
    page = browser.submit(late, "save", {"name": "One, late"})
    assert "another window" in page.text
    page = browser.submit(page.form("/rules", "save"), "save")
    assert names(page) == ["Two", "One, late"]
    # And when there is no such rule any more, it is a new one.
    late, old = browser.get("/rules?edit=0").form("/rules", "save"), row_forms(browser, "remove")
    browser.submit(old[0], "remove")
    assert "another window" in browser.submit(old[1], "remove").text
    page = browser.submit(late, "save", {"name": "Three"})
    page = browser.submit(page.form("/rules", "save"), "save")
    assert names(page) == ["One, late", "Three"]
    lines = browser.get("/rules?from=dan%40x.example").form("/rules", "save").fields
    assert ("text", "dan@x.example") in lines and ("what", "from") in lines and ("how", "is") in lines


def test_a_rule_follows_its_folder(node):
    ann = node.accounts("ann")[0]
    imap = node.imap(ann)
    imap.must("CREATE Lists")
    imap.must("CREATE Lists/Builds")
    browser = Browser(node)
    browser.login(ann)
    rule = {**conditions(("subject", "has", "", "nightly")), "name": "Builds", "place": folder(browser, "Lists/Builds")}
    browser.submit(browser.get("/rules").form("/rules", "save"), "save", rule)
    # By a mail program, the folder above it; and in webmail, itself.
    imap.must("RENAME Lists Work")
    assert "to Work/Builds" in browser.get("/rules").text
    deliver(node, ann, "nightly one")
    rename = next(it for it in browser.get("/folders").forms if dict(it.fields).get("from") == "Work/Builds")
    browser.submit(rename, "rename", {"name": "Nightly"})
    deliver(node, ann, "nightly two")
    assert [subject for subject, _ in subjects(node, ann, "Nightly")] == ["nightly one", "nightly two"]
    # Another folder of the old name is another folder.
    imap.must("CREATE Lists/Builds")
    node.restart()
    deliver(node, ann, "nightly three")
    assert len(subjects(node, ann, "Nightly")) == 3
    page = browser.get("/rules?edit=0")
    assert "to Nightly" in page.text and dict(page.form("/rules", "save").fields)["place"] == folder(browser, "Nightly")
    # Mail that is there goes there, too.
    node.imap(ann).append("INBOX", b"Subject: nightly four\r\n\r\nx\r\n")
    browser.submit(row_forms(browser, "apply")[0], "apply", {"folder": folder(browser, "Inbox")})
    assert len(subjects(node, ann, "Nightly")) == 4


def test_a_folder_that_is_gone_is_shown_as_gone(node):
    ann = node.accounts("ann")[0]
    imap = node.imap(ann)
    imap.must("CREATE Builds")
    browser = Browser(node)
    browser.login(ann)
    rule = {**conditions(("subject", "has", "", "nightly")), "name": "Builds", "place": folder(browser, "Builds")}
    browser.submit(browser.get("/rules").form("/rules", "save"), "save", rule)
    imap.must("DELETE Builds")
    assert "The folder “Builds” is gone" in browser.get("/rules").text
    form = browser.get("/rules?edit=0").form("/rules", "save")
    assert dict(form.fields)["place"] == "gone"
    assert "folder is gone" in browser.submit(form, "save").text
    page = browser.submit(row_forms(browser, "apply")[0], "apply")
    assert "The folder “Builds” is gone" in page.notice()
    deliver(node, ann, "the nightly build")
    assert [subject for subject, _ in subjects(node, ann, "INBOX")] == ["the nightly build"]
    page = browser.submit(form, "save", {"place": folder(browser, "Archive")})
    assert "is gone" not in page.text and "to Archive" in page.text


def test_a_rule_is_applied_to_mail_that_is_there(node):
    ann = node.accounts("ann")[0]
    for number in range(3):
        deliver(node, ann, f"plan {number}", sender=f"boss{number}@far.example", more="List-Id: <team.far.example>\r\n")
    deliver(node, ann, "lunch", sender="dan@far.example")
    browser = Browser(node)
    browser.login(ann)
    archive, inbox = folder(browser, "Archive"), folder(browser, "Inbox")

    def apply(name, *lines, **fields):
        rule = {**conditions(*lines), "name": name, **fields}
        browser.submit(browser.get("/rules").form("/rules", "save"), "save", rule)
        form = row_forms(browser, "apply")[-1]
        assert dict(form.fields)["folder"] == inbox
        page = browser.submit(form, "apply")
        browser.submit(row_forms(browser, "remove")[-1], "remove")
        return page.notice()

    # A search tells.
    said = apply("Team", ("header", "has", "list-id", "TEAM"), ("subject", "has-not", "", "plan 2"), keywords="team", seen="1")
    assert "it was for 2 of 4 messages" in said, said
    marked = {subject for subject, flags in subjects(node, ann, "INBOX") if {"team", "\\Seen"} <= flags}
    assert marked == {"plan 0", "plan 1"}
    # Whole addresses are looked at one by one; part of one is none.
    said = apply("Dan", ("from", "is", "", "an@far.example"), flagged="1")
    assert "it was for 0 of 4 messages" in said, said
    said = apply("Boss", ("from", "is", "", "boss1@far.example"), ("subject", "is", "", "LUNCH"), any="1", place=archive, flagged="1")
    assert "it was for 2 of 4 messages" in said, said
    archived = dict(subjects(node, ann, "Archive"))
    assert set(archived) == {"plan 1", "lunch"} and all("\\Flagged" in flags for flags in archived.values())
    said = apply("All", ("larger", "has", "", "0"), place="junk")
    assert "it was for 2 of 2 messages" in said, said
    assert {subject: "$Junk" in flags for subject, flags in subjects(node, ann, "Junk")} == {"plan 0": True, "plan 2": True}
    # Of an empty folder.
    assert "it was for 0 of 0 messages" in apply("All", ("larger", "has", "", "0"), place="junk")


def test_a_long_folder_is_gone_over_from_request_to_request(node):
    ann = node.accounts("ann")[0]
    imap = node.imap(ann)
    count = 20_000
    text = "From: <s{0}@far.example>\r\nSubject: {0}\r\n\r\nx\r\n"
    for first in range(0, count, 500):
        imap.must("APPEND INBOX" + " %s" * 500, *(text.format(number).encode() for number in range(first, first + 500)))
    browser = Browser(node)
    browser.login(ann)
    archive = folder(browser, "Archive")
    # Every message has to be read.
    rule = {**conditions(("from", "is-not", "", "s7@far.example")), "name": "Most", "place": archive}
    browser.submit(browser.get("/rules").form("/rules", "save"), "save", rule)
    page = browser.submit(row_forms(browser, "apply")[0], "apply")
    looked = 0
    while "Go on" in page.text:
        now = int(re.search(r"([\d,]+) of 20,000 messages were looked at", page.text)[1].replace(",", ""))
        assert now > looked
        looked = now
        # Mail that comes meanwhile is none of its business, and other pages do not wait for it.
        deliver(node, ann, "late", sender="late@far.example")
        assert browser.get("/contacts").status == 200
        page = browser.submit(page.form("/rules", "apply"), "apply")
    assert f"it was for {count - 1} of {count} messages" in page.notice(), page.text
    left = [subject for subject, _ in subjects(node, ann, "INBOX") if subject != "late"]
    assert left == ["7"]
    # However fast the machine is: it goes on where a page says, and no further than where it was to end.
    browser.submit(browser.get("/rules").form("/rules", "save"), "save", {**EMPTY, "name": "All", "flagged": "1"})
    form = next(form for form in reversed(row_forms(browser, "apply")))
    state = {"folder": archive, "after": "100", "until": "200", "looked": "100", "total": "200", "matched": "9"}
    page = browser.submit(form, "apply", state)
    assert "it was for 109 of 200 messages" in page.notice(), page.text
    imap.must("SELECT Archive")
    assert imap.search("FLAGGED") == list(range(101, 201))


def test_a_rule_is_made_from_a_message(node):
    ann = node.accounts("ann")[0]
    deliver(node, ann, "Re: Plan  & more", sender="dan@far.example")
    browser = Browser(node)
    browser.login(ann)
    message = next(link for link in browser.get("/").links if "/m/" in link)
    link = next(link for link in browser.get(message).links if link.startswith("/rules"))
    fields = browser.get(link.split("#")[0]).form("/rules", "save").fields
    lines = [value for name, value in fields if name in ("what", "how", "text")]
    assert lines[:6] == ["from", "is", "dan@far.example", "subject", "has", "Plan  & more"]
    page = browser.submit(browser.get(link.split("#")[0]).form("/rules", "save"), "save", {"flagged": "1"})
    assert "From is “dan@far.example” and Subject contains" in page.text


def test_status_lists_the_listeners_of_the_webmail(node):
    browser = Browser(node)
    for _ in range(2):
        assert browser.get("/login").status == 200
    status = node.cli_json("status")
    http = next(it for it in status["listeners"] if it["name"] == "http")
    assert (http["address"], http["accepted"], http["refused"]) == (f"127.0.0.1:{node.ports['http']}", 2, 0)
    # Requests are no sessions.
    assert status["sessions"] == 0
    assert node.metrics()['hikyaku_listener_connections{listener="http"}'] in (0, 1)


def test_expiry_and_dates_are_settings(node):
    ann = node.accounts("ann")[0]
    browser = Browser(node)
    browser.login(ann)
    page = browser.get("/settings")
    fields = dict(page.form("/settings", "save").fields)
    assert (fields["trash_days"], fields["junk_days"], fields["language"], fields["dates"]) == ("30", "30", "en", "")
    assert '<html lang="en"' in page.html
    page = browser.submit(page.form("/settings", "save"), "save", {"trash_days": "7", "junk_days": "0", "dates": "year-first"})
    fields = dict(page.form("/settings", "save").fields)
    assert (fields["trash_days"], fields["junk_days"], fields["dates"]) == ("7", "0", "year-first")
    # What is no choice changes nothing.
    page = browser.submit(page.form("/settings", "save"), "save", {"trash_days": "8"})
    assert dict(page.form("/settings", "save").fields)["trash_days"] == "7"
    node.imap(ann).append("INBOX", b"Subject: x\r\n\r\nx\r\n", date="17-Nov-2020 15:00:00 +0000")
    shown = {}
    for dates in ("year-first", "month-first", "day-first"):
        browser.submit(browser.get("/settings").form("/settings", "save"), "save", {"dates": dates})
        shown[dates] = re.search(r'<time [^>]*title="([^"]*)">([^<]*)<', browser.get("/").html).groups()
    assert shown == {
        "year-first": ("Tuesday, 2020-11-17, 15:00", "2020-11-17"),
        "month-first": ("Tuesday, November 17, 2020, 3:00 PM", "Nov 17, 2020"),
        "day-first": ("Tuesday, 17 November 2020, 15:00", "17 Nov 2020"),
    }
    browser.submit(browser.get("/settings").form("/settings", "save"), "save", {"dates": ""})
    browser.headers["Accept-Language"] = "en-US,en;q=0.5"
    assert "November 17, 2020" in browser.get("/").html
