"""Several at one mailbox: browsers and an IMAP client, new mail that appears by itself, keys; and a node that dies while somebody
reads."""

import pytest
from browser import Chromium, fill
from cluster import Cluster
from harness import DOMAIN, SERVICES, eventually, message


def test_new_mail_appears_by_itself(open_view, webmail, mailbox):
    view = open_view(mailbox)
    page = view.page
    client = webmail.imap(mailbox)
    client.append("INBOX", message("fresh", subject="Hot off the press"))
    view.line("Hot off the press").wait_for()
    eventually(lambda: page.title().startswith("(7) Inbox"), what="that the title counts it")
    assert "icon-new" in page.get_attribute("link[rel=icon]", "href")
    client.append("Newsletters", message("other", subject="Elsewhere"))


def test_a_folder_is_emptied_elsewhere_and_filled_again(open_view, webmail, mailbox):
    view = open_view(mailbox)
    client = webmail.imap(mailbox)
    client.must("SELECT INBOX")
    view.choose("Welcome")
    client.must('UID MOVE 1:* "Newsletters"')
    view.page.locator(".list .empty").wait_for()
    assert view.page.locator(".range").text_content() == "No messages"
    client.append("INBOX", message("again", subject="Not empty any more"))
    view.line("Not empty any more").wait_for()
    view.choose("Not empty any more")
    assert view.page.locator(".range").text_content() == "1 selected"


def test_two_browsers_and_an_imap_client(open_view, webmail, mailbox):
    one, other = open_view(mailbox), open_view(mailbox, "phone")
    client = webmail.imap(mailbox)
    client.must("SELECT INBOX")
    one.choose("Welcome")
    one.act("flag")
    other.page.locator('.lines li.flagged:has-text("Welcome")').wait_for()
    uid = client.search('SUBJECT "Welcome"')[0]
    assert "\\Flagged" in client.fetch(uid, "(FLAGS)")[uid]["FLAGS"]
    client.must(f"UID STORE {uid} +FLAGS (\\Seen)")
    for view in (one, other):
        view.page.locator('.lines li:not(.unread):has-text("Welcome")').wait_for()
    client.must(f'UID MOVE {uid} "Newsletters"')
    for view in (one, other):
        view.line("Welcome").wait_for(state="detached")
    other.page.locator(".lines a").first.click()
    other.page.wait_for_selector("article")
    other.act("delete")
    one.page.locator(".range", has_text="of 9").wait_for()
    assert len(client.bodies("INBOX")) == 9


def test_who_was_signed_out_elsewhere_sees_nothing_any_more(open_view, mailbox):
    one, other = open_view(mailbox), open_view(mailbox, "phone")
    other.line("Welcome").wait_for()
    one.goto("/security")
    one.page.click("button[value=end-others]")
    # Nobody touches it: its stream ends, and what it showed goes.
    other.page.wait_for_selector("#password", timeout=30_000)
    assert other.page.locator("text=Welcome").count() == 0


def test_keys_do_what_they_say(open_view, mailbox):
    view = open_view(mailbox)
    page, keys = view.page, view.page.keyboard
    subjects = view.subjects()
    keys.press("?")
    assert page.locator("dialog.keys li").count() > 20
    view.shot("keys")
    view.assert_accessible("keys")
    keys.press("Escape")
    keys.press("j")
    keys.press("j")
    assert page.evaluate("document.activeElement.closest('li').dataset.uid") == page.locator(".lines li").nth(1).get_attribute("data-uid")
    keys.press("o")
    page.locator("article #subject", has_text=subjects[1]).wait_for()
    keys.press("j")
    page.locator("article #subject", has_text=subjects[2]).wait_for()
    keys.press("k")
    page.locator("article #subject", has_text=subjects[1]).wait_for()
    keys.press("e")
    view.notice("1 message archived.")
    page.locator("article #subject", has_text=subjects[2]).wait_for()
    assert len(view.subjects()) == len(subjects) - 1
    keys.press("z")
    view.notice("1 message moved.")
    keys.press("g")
    keys.press("t")
    page.locator(".list h1", has_text="Trash").wait_for()
    keys.press("g")
    keys.press("i")
    page.locator(".list h1", has_text="Inbox").wait_for()
    keys.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.locator("#q").blur()
    page.locator(".lines a").first.click()
    page.wait_for_selector("article")
    keys.press("u")
    page.locator("article").wait_for(state="detached")
    page.locator(".lines a").first.click()
    page.wait_for_selector("article")
    keys.press("#")
    view.notice("1 message moved to Trash.")
    page.wait_for_selector("article")
    keys.press("r")
    page.wait_for_url("**/compose?reply=*")


def test_ranges_all_and_dragging(open_view, mailbox):
    view = open_view(mailbox)
    page = view.page
    boxes = page.locator(".lines input")
    boxes.nth(1).click()
    boxes.nth(4).click(modifiers=["Shift"])
    assert page.locator(".range").text_content() == "4 selected"
    view.shot("range")
    page.check("[data-all]")
    assert page.locator(".range").text_content() == "10 selected"
    page.uncheck("[data-all]")
    assert page.locator(".lines input:checked").count() == 0
    subject = view.subjects()[0]
    page.locator(".lines li").nth(0).drag_to(page.locator('.folders a:has-text("Newsletters")'))
    view.notice("1 message moved.")
    assert subject not in view.subjects()


def test_looking_ahead_marks_nothing_read(open_view, webmail, mailbox):
    client = webmail.imap(mailbox)
    for key in ("one", "two"):
        client.append("INBOX", message(key))
    view = open_view(mailbox)
    with view.page.expect_response(lambda it: it.request.headers.get("x-fragment") == "peek") as peeked:
        view.open("message two")
    assert peeked.value.ok
    view.page.locator(".lines li:not(.unread):has-text('message two')").wait_for()
    view.goto("/")
    view.page.locator(".lines li.unread:has-text('message one')").wait_for()
    view.open("message two")
    view.page.keyboard.press("j")
    view.page.locator("#subject", has_text="message one").wait_for()
    client.must("SELECT INBOX")
    eventually(lambda: not client.search('UNSEEN SUBJECT "message one"'), what="that the message is marked")


@pytest.fixture(scope="module")
def three(steering):
    with Cluster(services=(*SERVICES, "http")) as cluster:
        cluster.until_whole()
        cluster["a"].cli("domain", "add", DOMAIN)
        yield cluster


def whole_again(cluster):
    for node in cluster.nodes.values():
        if node not in cluster.alive():
            node.start()
    cluster.until_whole(seconds=60)


def others(cluster, node):
    return [it for it in cluster.alive() if it is not node]


def test_a_stream_goes_on_with_another_master(steering, three):
    whole_again(three)
    address = three["a"].accounts("listener", add_domain=False)[0]
    fill(three["a"], address)
    front = others(three, three.master(address))[0]
    with Chromium(steering) as chromium, chromium.view(front) as view:
        # A stream that is refused while nobody is master, and pages asked for then.
        view.expected += ["503", "Failed to load resource"]
        view.login(address)

        def tells(subject):
            front.imap(address).append("INBOX", message(subject, subject=subject))
            view.line(subject).wait_for()

        tells("At its first place")
        to = next(node for node in others(three, three.master(address)) if node is not front)
        three["a"].cli("move", address, "--to", to.name)
        eventually(lambda: three.master(address) is to, 60, "that the mailbox has moved")
        tells("After a move")
        # Nobody says good-bye for a node that dies.
        to.kill()

        def comes():
            front.imap(address).append("INBOX", message("late", subject="After a death"))
            return True

        eventually(comes, 60, "that another node serves the mailbox")
        view.page.locator(".lines li", has_text="After a death").first.wait_for(timeout=60_000)
        three["a" if to is not three["a"] else "b"].cli("move", address, "--cancel", code=None)


def test_a_node_dies_while_somebody_writes(steering, three):
    whole_again(three)
    address = three["a"].accounts("writer", add_domain=False)[0]
    master = three.master(address)
    front, third = others(three, master)

    def drafts(node):
        bodies = node.imap(address).bodies("Drafts").values()
        return [body.split(b"\r\n\r\n", 1)[1].strip().decode() for body in bodies]

    with Chromium(steering) as chromium, chromium.view(front) as view:
        view.expected += ["503", "Failed to load resource", "net::ERR"]
        page = view.login(address).page
        view.goto("/compose")
        page.fill("#subject-field", "Survives")

        def saves(text):
            page.fill("#text-field", text)
            page.locator(".saved", has_text="Saved").wait_for()

        def saves_again(text):
            before = page.input_value("input[name=draft]")
            page.fill("#text-field", text)
            eventually(lambda: page.input_value("input[name=draft]") != before, 60, f"that it saves {text}")

        saves("one")
        assert drafts(front) == ["one"]
        master.kill()
        saves_again("one two")
        assert drafts(front) == ["one two"], "saved once, by another master"
        saves_again("one two three")
        assert drafts(third) == ["one two three"]
        whole_again(three)
        # The node that served the page dies: another one has the draft, and goes on with it.
        front.kill()
        page.fill("#text-field", "one two three four")
        page.locator(".saved", has_text="no connection").wait_for()
        eventually(lambda: drafts(third) == ["one two three"], 60, "that the draft is still there")
        view.origin = f"http://127.0.0.1:{third.ports['http']}"
        page.once("dialog", lambda dialog: dialog.accept())
        page.goto(f"{view.origin}/")
        page.goto(page.url.split("/f/")[0] + page.locator('.folders a[data-icon="drafts"]').get_attribute("href"))
        view.line("Survives").locator("a").click()
        assert page.input_value("#text-field").strip() == "one two three"
        saves_again("one two three four")
        assert drafts(third) == ["one two three four"]
        page.fill("#to-field", address)
        page.click("button[value=send]")
        page.locator("text=is sent in").wait_for()
        eventually(lambda: len(third.imap(address).bodies("INBOX")) == 1 and not drafts(third), 60, "that it is sent once")
        view.requests = [it for it in view.requests if str(front.ports["http"]) not in it]
    whole_again(three)
    assert len(three["a"].imap(address).bodies("INBOX")) == 1


def test_a_node_dies_while_somebody_reads(steering, three):
    whole_again(three)
    address = three["a"].accounts("reader", add_domain=False)[0]
    fill(three["a"], address)
    master = three.master(address)
    front = next(node for node in three.alive() if node is not master)
    with Chromium(steering) as chromium, chromium.view(front) as view:
        view.expected += ["503", "Failed to load resource", "net::ERR"]
        view.login(address)
        view.open("Welcome")
        master.kill()

        def reads():
            answer = view.goto("/")
            return answer.ok and view.page.locator(".lines li").count() == 10

        eventually(reads, 60, "that another node serves the mailbox")
        assert "unread" not in (view.line("Welcome").get_attribute("class") or "")
        view.choose("Welcome")
        view.act("archive")
        view.notice("1 message archived.")
        master.start()
        three.until_whole(seconds=60)
        # The log-in is known everywhere: the node that served it dies, another one goes on.
        front.kill()
        after = next(node for node in three.alive())
        view.origin = f"http://127.0.0.1:{after.ports['http']}"

        def goes_on():
            answer = view.page.goto(f"{view.origin}/")
            return answer.ok and view.page.locator(".lines li").count() == 9

        eventually(goes_on, 60, "that the log-in goes on at another node")
        view.requests = [it for it in view.requests if str(front.ports["http"]) not in it]
