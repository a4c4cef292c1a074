"""smtplib, imaplib and poplib of Python's standard library: plain, STARTTLS and implicit TLS."""

import email.message
import imaplib
import poplib
import smtplib

import pytest

from harness import DOMAIN, PASSWORD, message, trusting_tls, without_trace

imaplib._MAXLINE = 10_000_000


def letter(sender, to, subject, text):
    it = email.message.EmailMessage()
    it["From"], it["To"], it["Subject"] = sender, to, subject
    it["Date"] = "Tue, 17 Nov 2026 10:00:00 +0000"
    it.set_content(text)
    return it


def imap_login(server, user, tls):
    if tls == "implicit":
        client = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=trusting_tls())
    else:
        client = imaplib.IMAP4("127.0.0.1", server.ports["imap"])
        if tls == "starttls":
            client.starttls(trusting_tls())
    client.login(user, PASSWORD)
    return client


def pop3_login(server, user, tls):
    if tls == "implicit":
        client = poplib.POP3_SSL("127.0.0.1", server.ports["pop3s"], context=trusting_tls())
    else:
        client = poplib.POP3("127.0.0.1", server.ports["pop3"])
        if tls == "starttls":
            client.stls(trusting_tls())
    client.user(user)
    client.pass_(PASSWORD)
    return client


def submission(server, tls):
    if tls == "implicit":
        return smtplib.SMTP_SSL("127.0.0.1", server.ports["submissions"], context=trusting_tls())
    client = smtplib.SMTP("127.0.0.1", server.ports["submission"])
    if tls == "starttls":
        client.starttls(context=trusting_tls())
    return client


TLS = pytest.mark.parametrize("tls", ["plain", "starttls", "implicit"])


@TLS
def test_imaplib_reads_what_smtplib_sent(shared, account, tls):
    sent = message(f"imaplib-{tls}", size=20_000)
    with smtplib.SMTP("127.0.0.1", shared.ports["smtp"]) as smtp:
        if tls != "plain":
            smtp.starttls(context=trusting_tls())
        assert smtp.sendmail(f"someone@elsewhere.test", [account], sent) == {}
    imap = imap_login(shared, account, tls)
    assert imap.select("INBOX") == ("OK", [b"1"])
    kind, data = imap.fetch("1", "(FLAGS RFC822.SIZE BODY.PEEK[])")
    assert kind == "OK"
    stored = data[0][1]
    assert without_trace(stored) == sent
    assert b"\r\nX-Key: imaplib-" in stored
    assert b"RFC822.SIZE %d " % len(stored) in data[0][0] + b" "
    assert imap.store("1", "+FLAGS", r"(\Seen $Work)")[0] == "OK"
    kind, data = imap.fetch("1", "(FLAGS)")
    assert set(imaplib.ParseFlags(data[0])) >= {b"\\Seen", b"$Work"}
    assert imap.search(None, "SUBJECT", '"message imaplib"') == ("OK", [b"1"])
    assert imap.search(None, "BODY", '"no such text"') == ("OK", [b""])
    assert imap.create("Projects/Käse".encode("utf-7").replace(b"+", b"&").decode())[0] == "OK"
    assert imap.copy("1", "Projects/K&AOQ-se")[0] == "OK"
    assert imap.select("Projects/K&AOQ-se") == ("OK", [b"1"])
    assert imap.fetch("1", "(BODY.PEEK[])")[1][0][1] == stored
    imap.select("INBOX")
    assert imap.store("1", "+FLAGS", r"(\Deleted)")[0] == "OK"
    assert imap.expunge() == ("OK", [b"1"])
    assert imap.select("INBOX") == ("OK", [b"0"])
    assert imap.logout()[0] == "BYE"


@TLS
def test_poplib_reads_and_deletes(shared, account, tls):
    sent = [message(f"poplib-{tls}-{i}", size=3_000 * i) for i in range(3)]
    with smtplib.SMTP("127.0.0.1", shared.ports["smtp"]) as smtp:
        for it in sent:
            smtp.sendmail("someone@elsewhere.test", [account], it)
    pop = pop3_login(shared, account, tls)
    assert pop.stat()[0] == 3
    uidls = [it.split()[1] for it in pop.uidl()[1]]
    assert len(set(uidls)) == 3 and all(len(it) <= 70 for it in uidls)
    for number, it in enumerate(sent, 1):
        stored = b"\r\n".join(pop.retr(number)[1]) + b"\r\n"
        assert without_trace(stored) == it
        assert pop.list(number).split()[2] == b"%d" % len(stored)
    top = pop.top(2, 1)[1]
    assert top[-2:] == [b"", b"This is poplib-%b-1." % tls.encode()]
    pop.dele(2)
    pop.quit()
    pop = pop3_login(shared, account, tls)
    assert [it.split()[1] for it in pop.uidl()[1]] == [uidls[0], uidls[2]]
    pop.dele(1)
    pop.rset()
    pop.dele(2)
    pop.close()
    # Without QUIT nothing is deleted.
    pop = pop3_login(shared, account, "implicit")
    assert pop.stat()[0] == 2
    pop.quit()


@TLS
def test_smtplib_submits(shared, account, tls):
    smtp = submission(shared, tls)
    smtp.ehlo()
    assert "auth" in smtp.esmtp_features
    smtp.login(account, PASSWORD)
    smtp.send_message(letter(account, account, f"submitted {tls}", "Grüße aus Köln\r\n"))
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        smtp.sendmail(account, ["someone@elsewhere.test"], b"Subject: x\r\n\r\nx\r\n")
    assert refused.value.recipients["someone@elsewhere.test"][0] == 550
    with pytest.raises((smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError)) as refused:
        smtp.sendmail(f"else@{DOMAIN}", [account], b"Subject: x\r\n\r\nx\r\n")
    assert "553" in str(refused.value)
    smtp.quit()
    imap = imap_login(shared, account, "plain")
    imap.select("INBOX")
    stored = imap.fetch("1", "(BODY.PEEK[])")[1][0][1]
    read = email.message_from_bytes(stored, policy=email.policy.default)
    assert read["Subject"] == f"submitted {tls}"
    assert read.get_content().replace("\r\n", "\n") == "Grüße aus Köln\n"
    assert read["Message-ID"], "submission adds a missing Message-ID"
    assert "ESMTPSA" in read["Received"] if tls != "plain" else "ESMTPA" in read["Received"]
    imap.logout()


def test_wrong_passwords_and_unknown_users(shared, account):
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        imaplib.IMAP4("127.0.0.1", shared.ports["imap"]).login(account, "wrong")
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        imaplib.IMAP4("127.0.0.1", shared.ports["imap"]).login(f"nobody@{DOMAIN}", "wrong")
    with pytest.raises(poplib.error_proto, match="AUTH"):
        pop = poplib.POP3("127.0.0.1", shared.ports["pop3"])
        pop.user(account)
        pop.pass_("wrong")
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        submission(shared, "starttls").login(account, "wrong")
    assert refused.value.smtp_code == 535
    with smtplib.SMTP("127.0.0.1", shared.ports["smtp"]) as smtp:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            smtp.sendmail("a@elsewhere.test", [f"nobody@{DOMAIN}"], b"x")
        assert refused.value.recipients[f"nobody@{DOMAIN}"][0] == 550


def test_lmtp_of_smtplib(shared, account):
    sent = message("lmtp")
    with smtplib.LMTP("127.0.0.1", shared.ports["lmtp"]) as lmtp:
        refused = lmtp.sendmail("a@elsewhere.test", [account, f"nobody@{DOMAIN}"], sent)
        assert refused[f"nobody@{DOMAIN}"][0] == 550
    imap = imap_login(shared, account, "plain")
    imap.select("INBOX")
    assert without_trace(imap.fetch("1", "(BODY[])")[1][0][1]) == sent


def test_idle_tells_of_new_mail(shared, account):
    watcher = shared.imap(account)
    watcher.must("SELECT INBOX")
    tag = watcher.send("IDLE")
    assert watcher.response()[0] == "+"
    with smtplib.SMTP("127.0.0.1", shared.ports["smtp"]) as smtp:
        smtp.sendmail("a@elsewhere.test", [account], message("idle"))
    assert watcher.response()[1:] == ["1", "EXISTS"]
    watcher.line.send(b"DONE\r\n")
    assert watcher.finish(tag)[0] == "OK"
    assert watcher.fetch("1", "(UID FLAGS)", uid=False)[1]["FLAGS"] == ["\\Recent"]
    watcher.logout()
