"""Writing in webmail without a script: answers, drafts, attachments, senders, calling back; mail and addresses in and out."""

import email
import email.policy
import html
import json
import mailbox
import os
import re
import tempfile
import urllib.parse

import pytest

import harness
from harness import DOMAIN, PASSWORD
from plain_browser import Browser

WEB = (*harness.SERVICES, "http", "https")


@pytest.fixture(scope="module")
def node():
    with harness.Server(listen=WEB) as server:
        server.cli("domain", "add", DOMAIN)
        yield server
        assert server.is_alive()


class Person:
    """An account with a browser that is logged in."""

    def __init__(self, node, name, undo=0):
        self.node = node
        self.address = node.accounts(name, add_domain=False)[0]
        self.browser = Browser(node)
        self.browser.login(self.address)
        self.set(undo_seconds=str(undo))

    def set(self, **fields):
        page = self.browser.submit(self.browser.get("/settings").form("/settings", "save"), "save", fields)
        assert "Saved." in page.text, page.text
        return page

    def folder(self, name):
        found = re.findall(r'<option value="(\d+)">([^<]+)</option>', self.browser.get("/settings").html)
        return next(int(number) for number, label in found if label == name)

    def messages(self, folder="INBOX"):
        """Every message of a folder, by IMAP: (uid, flags, parsed message)."""
        imap = self.node.imap(self.address)
        imap.must(f'SELECT "{folder}"')
        found = []
        for items in imap.must("UID FETCH 1:* (UID FLAGS BODY.PEEK[])"):
            if len(items) < 3 or items[1] != "FETCH":
                continue
            of = dict(zip(items[2][::2], items[2][1::2]))
            raw = next(value for name, value in of.items() if name.startswith("BODY["))
            found.append((int(of["UID"]), set(of["FLAGS"]), email.message_from_bytes(raw, policy=email.policy.default)))
        return found

    def get_mail(self, text, folder="INBOX"):
        """Puts a message (LF) into a folder; its UID."""
        imap = self.node.imap(self.address)
        imap.must(f'APPEND "{folder}" %s', text.replace("\n", "\r\n").encode())
        return max(uid for uid, _, _ in self.messages(folder))

    def write(self, path="/compose"):
        return self.browser.get(path).form("/compose", "send")

    def send(self, form, files=(), **fields):
        return self.browser.submit(form, "send", fields, files)


@pytest.fixture
def ann(node, request):
    return Person(node, "ann" + re.sub(r"\W", "", request.node.name)[5:40])


@pytest.fixture
def bob(node, request):
    return Person(node, "bob" + re.sub(r"\W", "", request.node.name)[5:40])


def body(message):
    part = message.get_body(("plain",))
    return part.get_content().replace("\r\n", "\n") if part else ""


def test_a_message_goes_out_and_its_copy_is_kept(ann, bob):
    page = ann.send(ann.write(), to=f"Bob <{bob.address}>", bcc=ann.address, subject="Grüße 你好", text="Hello\n.\n\nFrom me")
    assert "The message was sent" in page.text, page.text
    (_, _, got), = bob.messages()
    assert got["subject"] == "Grüße 你好" and body(got).rstrip() == "Hello\n.\n\nFrom me"
    assert got["bcc"] is None and got["from"] == ann.address
    (_, flags, copy), = ann.messages("Sent")
    assert copy["bcc"] == ann.address and "\\Seen" in flags and copy["message-id"] == got["message-id"]
    assert len(ann.messages()) == 1, "the blind copy"
    # To whom one has written stands in the address book.
    assert bob.address in ann.browser.get("/contacts").text
    found = ann.browser.get("/contacts/complete?q=bob")
    assert found.headers["content-type"] == "application/json" and bob.address in found.body.decode()


def test_what_is_refused_is_said_and_nothing_is_lost(ann, bob):
    for to, why in [
        ("", "Nobody to send it to"),
        ("nobody", "no mail address"),
        (f"nobody@{DOMAIN}", "no such mailbox"),
        ("far@away.example", "elsewhere"),
        (f"{bob.address}, nobody@{DOMAIN}", "Nothing was sent"),
    ]:
        page = ann.send(ann.write(), to=to, subject="kept", text="my words")
        assert why in page.text, (to, page.text)
        form = page.form("/compose", "send")
        assert dict(form.fields)["text"].strip() == "my words"
        # The form goes on with the draft that was saved.
        assert ann.browser.submit(form, "discard", {}).status == 200
    assert bob.messages() == [] and ann.messages("Drafts") == [] and ann.messages("Sent") == []


LETTER = """From: Carl <carl@far.example>
Reply-To: Carl's desk <desk@{domain}>
To: {ann}, "Lee, Dan" <dan@{domain}>
Cc: Eve <eve@far.example>, DAN@{domain}
Subject: Plan
Message-ID: <2@far.example>
References: <0@far.example> <1@far.example>
Date: Tue, 17 Nov 2026 10:00:00 +0000

one
> two
"""


def test_answers_go_where_they_should(ann):
    uid = ann.get_mail(LETTER.format(ann=ann.address, domain=DOMAIN))
    inbox = ann.folder("Inbox")
    fields = dict(ann.write(f"/compose?reply={inbox}.{uid}").fields)
    assert fields["to"] == f"\"Carl's desk\" <desk@{DOMAIN}>" or fields["to"] == f"Carl's desk <desk@{DOMAIN}>"
    assert fields["cc"] == "" and fields["subject"] == "Re: Plan"
    assert fields["in_reply_to"] == "<2@far.example>"
    assert fields["references"] == "<0@far.example> <1@far.example> <2@far.example>"
    assert "> one\n>> two" in fields["text"] and "Carl wrote:" in fields["text"]
    fields = dict(ann.write(f"/compose?all={inbox}.{uid}").fields)
    assert fields["cc"].lower() == f'"lee, dan" <dan@{DOMAIN}>, eve <eve@far.example>', "each once, not oneself"
    fields = dict(ann.write(f"/compose?forward={inbox}.{uid}").fields)
    assert fields["to"] == "" and fields["subject"] == "Fwd: Plan" and "Forwarded message" in fields["text"]


def test_an_answer_threads_and_marks_what_it_answers(ann, bob):
    uid = ann.get_mail(f"From: {bob.address}\nTo: {ann.address}\nSubject: Re: x\nMessage-ID: <7@x>\nIn-Reply-To: <6@x>\n\nhi\n")
    inbox = ann.folder("Inbox")
    page = ann.send(ann.write(f"/compose?reply={inbox}.{uid}"))
    assert "sent" in page.text
    (_, _, got), = bob.messages()
    assert got["in-reply-to"] == "<7@x>" and got["references"].split() == ["<6@x>", "<7@x>"] and got["subject"] == "Re: x"
    (_, flags, _), = ann.messages()
    assert "\\Answered" in flags


def test_a_forward_as_an_attachment_is_the_message_itself(ann, bob):
    inner = f"From: {bob.address}\nTo: {ann.address}\nSubject: inner\nContent-Type: text/plain; charset=utf-8\n\nGrüße\n"
    uid = ann.get_mail(inner)
    form = ann.write(f"/compose?attach={ann.folder('Inbox')}.{uid}")
    assert dict(form.fields)["subject"] == "Fwd: inner"
    # Saved first, then sent from the draft.
    ann.browser.submit(form, "save", {"to": bob.address, "text": "see this"})
    (draft, _, _), = ann.messages("Drafts")
    assert "sent" in ann.send(ann.write(f"/compose?draft={draft}")).text
    assert ann.messages("Drafts") == []
    (_, _, got), = bob.messages()
    part = next(part for part in got.walk() if part.get_content_type() == "message/rfc822")
    assert part["content-transfer-encoding"] == "8bit" and part.get_filename() == "inner.eml"
    assert part.get_payload(0).as_bytes().replace(b"\r\n", b"\n") == inner.encode()
    assert body(got).strip() == "see this"


def test_a_draft_replaces_the_one_before_and_a_second_window_is_warned(ann):
    imap = ann.node.imap(ann.address)
    imap.must('SELECT "Drafts"')
    first = ann.browser.submit(ann.write(), "autosave", {"subject": "one", "to": "half an addr", "text": "1"})
    uid = int(re.search(r'"draft":\s*(\d+)', first.body.decode())[1])
    form = ann.write(f"/compose?draft={uid}")
    other = ann.write(f"/compose?draft={uid}")
    second = ann.browser.submit(form, "autosave", {"subject": "two", "text": "2"})
    assert second.status == 200
    (now, flags, message), = ann.messages("Drafts")
    assert now > uid and message["subject"] == "two" and "\\Draft" in flags
    # The other window still has the first one: nothing is overwritten, and nothing it wrote is lost.
    late = ann.browser.submit(other, "autosave", {"subject": "three", "text": "3"})
    assert late.status == 400 and "another window" in late.body.decode()
    page = ann.browser.submit(other, "send", {"to": ann.address, "subject": "three", "text": "3"})
    assert "another window" in page.text and ann.messages() == [], "not sent unasked"
    assert sorted(m["subject"] for _, _, m in ann.messages("Drafts")) == ["three", "two"]
    assert "sent" in ann.browser.submit(page.form("/compose", "send"), "send").text
    assert [m["subject"] for _, _, m in ann.messages()] == ["three"]
    assert [m["subject"] for _, _, m in ann.messages("Drafts")] == ["two"]
    # A client that watches sees one come and one go, and never an empty folder.
    seen = [items for items in imap.must("NOOP") if items[-1] in ("EXISTS", "EXPUNGE")]
    assert seen


def test_a_save_whose_answer_was_lost_is_not_there_twice(ann, bob):
    form = ann.write()
    for text in ("one", "two"):
        # The form does not know of the one before.
        assert ann.browser.submit(form, "autosave", {"subject": "lost", "text": text}).status == 200
    (uid, _, draft), = ann.messages("Drafts")
    assert body(draft).strip() == "two"
    form = ann.write(f"/compose?draft={uid}")
    for text in ("three", "four"):
        assert ann.browser.submit(form, "autosave", {"text": text}).status == 200
    (_, _, draft), = ann.messages("Drafts")
    assert body(draft).strip() == "four"
    # Sent under a Message-ID of its own, and the draft goes.
    assert "sent" in ann.send(form, to=bob.address, text="five").text
    (_, _, got), = bob.messages()
    assert body(got).strip() == "five" and got["message-id"] != draft["message-id"] and ann.messages("Drafts") == []


def test_a_save_whose_answer_was_lost_keeps_its_attachments(ann, bob):
    same = [("file", "image.png", "image/png", data) for data in (b"one\n", b"another\n")]
    files = [*same, ("file", "a.txt", "text/plain", b"a\r\n")]
    form = ann.write()
    said = json.loads(ann.browser.submit(form, "autosave", {"to": bob.address, "subject": "lost"}, files).body.decode())
    kept = [place for place, *_ in said["kept"]]
    fields = {"to": bob.address, "subject": "lost", "text": "here", "draft": str(said["draft"])}
    # Its answer does not come: the form still has the places of before. Meanwhile one more is taken off.
    assert ann.browser.submit(form, "autosave", {**fields, "keep": kept}).status == 200
    answer = ann.browser.submit(form, "autosave", {**fields, "keep": kept[1:]})
    assert [name for _, name, *_ in json.loads(answer.body.decode())["kept"]] == ["image.png", "a.txt"], answer.body
    (_, _, draft), = ann.messages("Drafts")
    assert [part.get_content() for part in draft.iter_attachments()] == [b"another\n", "a\r\n"]
    # Sent at once, where no save comes between.
    assert "sent" in ann.send(form, **{**fields, "keep": kept[1:]}).text
    (_, _, got), = bob.messages()
    assert [part.get_filename() for part in got.iter_attachments()] == ["image.png", "a.txt"] and ann.messages("Drafts") == []
    # What is discarded is the draft that is there.
    form = ann.write()
    assert ann.browser.submit(form, "autosave", {"subject": "lost again"}).status == 200
    ann.browser.submit(form, "discard", {"subject": "lost again"})
    assert ann.messages("Drafts") == []


def test_attachments_go_and_come_back_from_drafts(ann, bob):
    data = os.urandom(300_000)
    files = [("file", "räume.bin", "application/octet-stream", data), ("file", "a.txt", "text/plain", b"attached\r\n")]
    form = ann.write()
    page = ann.browser.submit(form, "save", {"to": bob.address, "subject": "files"}, files)
    assert "saved" in page.text
    (draft, _, _), = ann.messages("Drafts")
    form = ann.write(f"/compose?draft={draft}")
    kept = [value for name, value in form.fields if name == "keep"]
    assert len(kept) == 2
    page = ann.send(form, keep=kept[:1], text="here")
    assert "sent" in page.text, page.text
    (_, _, got), = bob.messages()
    (part,) = list(got.iter_attachments())
    assert part.get_filename() == "räume.bin" and part.get_content() == data


def test_a_forgotten_attachment_is_asked_about_once(ann, bob):
    page = ann.send(ann.write(), to=bob.address, subject="x", text="see the attached plan")
    assert "there is none" in page.text and bob.messages() == []
    assert "sent" in ann.send(page.form("/compose", "send")).text
    assert len(bob.messages()) == 1


def test_further_senders_must_be_ones_own(ann, bob):
    alias, team = f"alias-{ann.address}", f"team-{bob.address}"
    ann.node.cli("alias", "add", alias, ann.address)
    ann.node.cli("alias", "add", team, bob.address)
    form = ann.browser.get("/settings").form("/settings", "save")
    page = ann.browser.submit(form, "save", {"identities": f"Evil <{team}>"})
    assert "does not lead to you" in page.text
    ann.set(display_name="Ann", identities=f"Ann at work <{alias}>")
    form = ann.write()
    assert dict(form.fields)["from"] == ann.address
    assert "sent" in ann.send(form, **{"from": alias}, to=bob.address, subject="1").text
    # An address that is not hers is not taken, whatever a form says.
    assert "sent" in ann.send(ann.write(), **{"from": team}, to=bob.address, subject="2").text
    assert [m["from"] for _, _, m in bob.messages()] == [f"Ann at work <{alias}>", f"Ann <{ann.address}>"]
    uid = ann.get_mail(f"From: {bob.address}\nTo: {alias}\nSubject: q\n\nq\n")
    fields = dict(ann.write(f"/compose?reply={ann.folder('Inbox')}.{uid}").fields)
    assert fields["from"] == alias, "answered as the one who was asked"
    ann.node.cli("alias", "remove", alias)
    page = ann.send(ann.write(), **{"from": alias}, to=bob.address, subject="3")
    assert "not one of yours any more" in page.text and len(bob.messages()) == 2


def test_signature_and_mailto(ann):
    ann.set(signature="Ann\nDesk 5")
    assert dict(ann.write().fields)["text"].endswith("-- \nAnn\nDesk 5")
    link = "mailto:bob%40far.example,%22Lee%2C%20A%22%20%3Clee%40x.example%3E?cc=c+c@x.example&subject=a%20b&body=1%0D%0A2&attach=/etc/passwd"
    fields = dict(ann.write("/compose?" + urllib.parse.urlencode({"mailto": link})).fields)
    assert fields["to"] == 'bob@far.example, "Lee, A" <lee@x.example>' and fields["cc"] == "c+c@x.example"
    assert fields["subject"] == "a b" and fields["text"].startswith("1\n2") and "passwd" not in str(fields)
    hostile = "mailto:a@x.example%0D%0ABcc:evil@x.example?from=boss@x.example&in-reply-to=%3C1@x%3E&subject=x%0D%0ABcc:evil@x.example&body=%3C/textarea%3E"
    page = ann.browser.get("/compose?" + urllib.parse.urlencode({"mailto": hostile}))
    fields = dict(page.form("/compose", "send").fields)
    assert fields["from"] == ann.address and fields["bcc"] == fields["in_reply_to"] == ""
    assert fields["to"] == "a@x.example" and fields["subject"] == "x  Bcc:evil@x.example"
    assert fields["text"].startswith("</textarea>") and page.html.count("</textarea>") == 1


def test_mail_addresses_in_mail_lead_to_the_composer(ann):
    uid = ann.get_mail(f"From: x@x.example\nTo: {ann.address}\nSubject: links\n\nWrite to desk@x.example or mailto:b@x.example?subject=hi\n")
    page = ann.browser.get(f"/f/{ann.folder('Inbox')}/m/{uid}")
    links = [link for link in page.links if link.startswith("/compose?mailto=")]
    assert links == ["/compose?mailto=mailto%3Adesk%40x.example", "/compose?mailto=mailto%3Ab%40x.example%3Fsubject%3Dhi"]
    fields = dict(ann.write(links[1]).fields)
    assert fields["to"] == "b@x.example" and fields["subject"] == "hi"


RICH = '<div>Hello <b>Bob</b>,</div><ul><li>one</li><li>two &amp; <a href="https://x.example/y">more</a></li></ul><blockquote type="cite">old</blockquote>'
PLAIN = "Hello Bob,\n- one\n- two & more <https://x.example/y>\n> old\n"
HOSTILE = (
    '<script>alert(1)</script><p onclick="alert(2)" style="position:fixed" class="x">Hi<img src="https://leak.example/x.png" onerror="alert(3)"></p>'
    '<a href="javascript:alert(4)">a</a><a href="/compose">b</a><form action="https://leak.example"><input name="q"></form>'
    '<style>@import "https://leak.example/x.css"</style><svg><script>5</script></svg><iframe src="https://leak.example"></iframe><base href="//leak.example">'
)


def forms(message):
    """The two forms of a text: (plain, what stands in the body)."""
    (alternative,) = [part for part in message.walk() if part.get_content_type() == "multipart/alternative"]
    plain, rich = alternative.iter_parts()
    assert (plain.get_content_type(), rich.get_content_type()) == ("text/plain", "text/html"), "the plainest first"
    inner = re.search(r"</head>(.*)</html>", rich.get_content(), re.S)[1]
    return plain.get_content().replace("\r\n", "\n"), inner.strip()


def html_of(page):
    found = re.search(r'data-html="([^"]*)"', page.html)
    return html.unescape(found[1]) if found else None


def test_text_with_formats_goes_out_in_two_forms(ann, bob):
    page = ann.send(ann.write(), to=bob.address, subject="two forms", text="not this", html=RICH)
    assert "sent" in page.text
    (_, _, got), = bob.messages()
    assert got.get_content_type() == "multipart/alternative" and forms(got) == (PLAIN, RICH)
    assert forms(ann.messages("Sent")[0][2]) == (PLAIN, RICH)
    ann.send(ann.write(), [("file", "a.txt", "text/plain", b"attached\n")], to=bob.address, subject="with a file", html=RICH)
    (_, _, got) = bob.messages()[1]
    assert got.get_content_type() == "multipart/mixed" and forms(got) == (PLAIN, RICH)
    assert [part.get_filename() for part in got.iter_attachments()] == ["a.txt"]
    ann.send(ann.write(), to=bob.address, subject="plain", text="as ever")
    assert bob.messages()[2][2].get_content_type() == "text/plain"
    # Answered, it is quoted as text.
    uid = bob.messages()[0][0]
    fields = dict(bob.write(f"/compose?reply={bob.folder('Inbox')}.{uid}").fields)
    assert "> Hello Bob," in fields["text"] and "<b>" not in fields["text"]


def test_hostile_markup_in_a_form_comes_out_clean(ann, bob):
    ann.send(ann.write(), to=bob.address, subject="evil", html=HOSTILE)
    (_, _, got), = bob.messages()
    assert forms(got) == ("Hi\n\nab\n", "<p>Hi</p><a>a</a><a>b</a>")
    assert "leak.example" not in got.as_string()
    # Another program put it into Drafts: it is cleaned on its way into the form.
    draft = f"From: {ann.address}\nSubject: evil\nMIME-Version: 1.0\nContent-Type: text/html; charset=utf-8\n\n{HOSTILE}\n"
    page = ann.browser.get(f"/compose?draft={ann.get_mail(draft, 'Drafts')}")
    assert html_of(page) == "<p>Hi</p><a>a</a><a>b</a>" and "leak.example" not in page.html
    page = ann.send(ann.write(), to=bob.address, html="<div>" * 5000)
    assert page.status == 400 and "too deeply" in page.text and len(bob.messages()) == 1


def test_a_draft_keeps_its_form(ann, bob):
    said = ann.browser.submit(ann.write(), "autosave", {"to": bob.address, "subject": "form", "html": RICH}).body.decode()
    uid = json.loads(said)["draft"]
    page = ann.browser.get(f"/compose?draft={uid}")
    assert html_of(page) == RICH and dict(page.form("/compose", "send").fields)["text"] == PLAIN
    assert forms(ann.messages("Drafts")[0][2]) == (PLAIN, RICH)
    # Held and called back.
    ann.set(undo_seconds="30")
    held = ann.browser.submit(page.form("/compose", "send"), "send", {"html": RICH})
    page = ann.browser.submit(held.form("/compose/undo"))
    assert html_of(page) == RICH
    ann.set(undo_seconds="0")
    # A form of no use to who has no script: what stands in it is plain, and goes on so.
    assert "sent" in ann.browser.submit(page.form("/compose", "send"), "send").text
    (_, _, got), = bob.messages()
    assert got.get_content_type() == "text/plain" and body(got) == PLAIN


def test_saves_by_the_script_go_on_with_attachments(ann):
    files = [("file", "one.bin", "application/octet-stream", os.urandom(3000)), ("file", "two.txt", "text/plain", b"two\n")]
    form, said = ann.write(), {}
    for count in range(3):
        fields = {"subject": str(count), "draft": str(said.get("draft", 0)), "keep": [place for place, *_ in said.get("kept", [])]}
        answer = ann.browser.submit(form, "autosave", fields, files if count == 0 else ())
        said = json.loads(answer.body.decode())
        assert [name for _, name, _, _ in said["kept"]] == ["one.bin", "two.txt"], said
    fields = {"draft": str(said["draft"]), "keep": [said["kept"][0][0]]}
    said = json.loads(ann.browser.submit(form, "autosave", fields, [("file", "three.txt", "text/plain", b"3\n")]).body.decode())
    assert [name for _, name, _, _ in said["kept"]] == ["one.bin", "three.txt"], "those of before come first"
    (_, _, draft), = ann.messages("Drafts")
    assert [part.get_filename() for part in draft.iter_attachments()] == ["one.bin", "three.txt"]


def test_what_is_for_good_is_asked_about(ann):
    for number in range(3):
        ann.get_mail(f"Subject: {number}\n\nx\n", "Trash")
    trash = ann.folder("Trash")
    page = ann.browser.get(f"/f/{trash}")
    uid = max(uid for uid, _, _ in ann.messages("Trash"))
    asked = ann.browser.submit(page.form(f"/f/{trash}/act", "delete"), "delete", {"uids": str(uid)})
    assert "Delete this message for good?" in asked.text and len(ann.messages("Trash")) == 3
    gone = ann.browser.submit(asked.form(f"/f/{trash}/act"))
    assert "1 message deleted for good" in gone.text and gone.path.startswith(f"/f/{trash}")
    asked = ann.browser.submit(gone.form(f"/f/{trash}/act", "empty"), "empty")
    assert "Delete all messages in Trash?" in asked.text and f"/f/{trash}" in asked.links and len(ann.messages("Trash")) == 2
    assert ann.browser.submit(asked.form(f"/f/{trash}/act"), drop=("token",)).status == 403
    assert "2 messages deleted for good" in ann.browser.submit(asked.form(f"/f/{trash}/act")).text
    assert ann.messages("Trash") == []


def test_a_message_is_called_back(node):
    ann, bob = Person(node, "ann-back", undo=30), Person(node, "bob-back")
    page = ann.send(ann.write(), to=bob.address, subject="wait", text="stop")
    assert "is sent in 30 seconds" in page.text and page.headers["refresh"].startswith("31; url=/f/")
    (uid, flags, _), = ann.messages("Drafts")
    assert "$SubmitPending" in flags and bob.messages() == [] and ann.messages("Sent") == []
    back = page.form("/compose/undo")
    page = ann.browser.submit(back)
    form = page.form("/compose", "send")
    assert dict(form.fields)["subject"] == "wait" and dict(form.fields)["to"] == bob.address
    assert "sent already" in ann.browser.submit(back).text, "once"
    ann.set(undo_seconds="0")
    assert "sent" in ann.browser.submit(form, "send", {"text": "go"}).text
    (_, _, got), = bob.messages()
    assert body(got).strip() == "go" and ann.messages("Drafts") == []


def test_what_is_held_goes_by_itself_and_when_the_node_stops():
    with harness.Server(listen=WEB) as server:
        server.cli("domain", "add", DOMAIN)
        ann, bob = Person(server, "ann", undo=5), Person(server, "bob")
        uid = ann.get_mail(f"From: {bob.address}\nTo: {ann.address}\nSubject: q\nMessage-ID: <1@x>\n\nq\n")
        ann.send(ann.write(f"/compose?reply={ann.folder('Inbox')}.{uid}"), text="one")
        harness.eventually(lambda: len(bob.messages()) == 1, what="the message")
        harness.eventually(lambda: not ann.messages("Drafts") and ann.messages("Sent"), what="its copy")
        harness.eventually(lambda: "\\Answered" in ann.messages()[0][1], what="the flag")
        ann.set(undo_seconds="30")
        ann.send(ann.write(), to=bob.address, subject="two", text="two")
        assert server.stop() == 0
        server.start()
        assert [m["subject"] for _, _, m in bob.messages()] == ["Re: q", "two"]
        assert ann.messages("Drafts") == []
        # A node that dies has sent nothing, and lost nothing.
        ann.send(ann.write(), to=bob.address, subject="three", text="three")
        server.kill()
        server.start()
        assert len(bob.messages()) == 2
        (_, flags, draft), = ann.messages("Drafts")
        assert draft["subject"] == "three"


def test_contacts_come_in_and_go_out(ann):
    cards = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Ann Lee\r\nEMAIL;TYPE=INTERNET:Lee@X.example\r\nEND:VCARD\r\n"
    form = ann.browser.get("/contacts").form("/contacts/import")
    page = ann.browser.submit(form, files=[("file", "a.vcf", "text/vcard", cards.encode())])
    assert "1 contacts came in" in page.text and "lee@x.example" in page.text and "Ann Lee" in page.text
    table = "Name,Email\n=cmd(),dan@x.example\n,lee@x.example\n" + "".join(f"N{n},n{n}@x.example\n" for n in range(300))
    page = ann.browser.submit(form, files=[("file", "a.csv", "text/csv", table.encode())])
    assert "301 contacts came in, of 302" in page.text
    page = ann.browser.submit(form, files=[("file", "a.csv", "text/csv", b"nothing here")])
    assert "neither vCard nor" in page.text
    assert ann.browser.submit(form, drop=("token",), files=[("file", "a.vcf", "text/vcard", cards.encode())]).status == 403
    csv = ann.browser.get("/contacts/export/contacts.csv")
    assert csv.headers["content-disposition"] == 'attachment; filename="contacts.csv"'
    lines = csv.body.decode().splitlines()
    assert lines[0] == "Name,Email" and '"Ann Lee","lee@x.example"' in lines and '"\'=cmd()","dan@x.example"' in lines
    cards = ann.browser.get("/contacts/export/contacts.vcf").body.decode()
    assert cards.count("BEGIN:VCARD") == 302 and "FN:Ann Lee\r\nEMAIL:lee@x.example" in cards


def test_a_folder_goes_out_and_comes_in(ann, bob):
    originals = [
        f"From: a@x.example\nTo: {ann.address}\nSubject: {n}\n\nFrom the start\n>From quoted\n\nFrom again\n{'x' * 70}\n".replace("\n", "\r\n")
        for n in range(5)
    ]
    originals.append("Subject: large\r\n\r\n" + "From line of a large one\r\n" * 40_000)
    imap = ann.node.imap(ann.address)
    for n, text in enumerate(originals):
        imap.must(f'APPEND "INBOX" "1{n}-Nov-2020 10:00:00 +0000" %s', text.encode())
    saved = ann.browser.get(f"/f/{ann.folder('Inbox')}/export")
    assert saved.headers["content-type"] == "application/mbox" and "INBOX.mbox" in saved.headers["content-disposition"]
    with tempfile.NamedTemporaryFile(suffix=".mbox") as file:
        file.write(saved.body)
        file.flush()
        read = mailbox.mbox(file.name)
        assert [m["subject"] for m in read] == ["0", "1", "2", "3", "4", "large"], "as another program reads it"
    form = bob.browser.get("/settings").form("/folders/import")
    to = {"to": str(bob.folder("Archive"))}
    page = bob.browser.submit(form, fields=to, files=[("file", "in.mbox", "application/mbox", saved.body)])
    assert "6 messages came in." in page.text, page.text
    imap = bob.node.imap(bob.address)
    imap.must('SELECT "Archive"')
    got = []
    for items in imap.must("UID FETCH 1:* (INTERNALDATE BODY.PEEK[])"):
        if len(items) > 2 and items[1] == "FETCH":
            of = dict(zip(items[2][::2], items[2][1::2]))
            got.append((of["INTERNALDATE"], of["BODY[]"]))
    assert [text for _, text in got] == [text.encode() for text in originals], "byte for byte"
    dates = [date.decode() if isinstance(date, bytes) else date for date, _ in got]
    assert [date[:11] for date in dates] == [f"1{n}-Nov-2020" for n in range(6)]
    page = bob.browser.submit(form, fields=to, files=[("file", "x", "text/plain", b"no mail at all\n")])
    assert "no message in the file" in page.text
    page = bob.browser.submit(form, fields=to, drop=("token",), files=[("file", "x", "text/plain", saved.body)])
    assert page.status == 403
    imap.must("NOOP")
    assert len([1 for items in imap.must("UID FETCH 1:* (UID)") if len(items) > 2]) == 6
    assert bob.browser.get("/f/999/export").status == 404
