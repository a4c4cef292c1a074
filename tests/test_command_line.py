"""Every command of the command line against a running node: what it does, what it prints, its exit codes 0, 1 and 2."""

import json
import mailbox
import os
import random
import re
import shutil
import string
import subprocess

import pytest

from harness import DOMAIN, PASSWORD, ROOT, ImapError, binary, eventually, message, need


def test_exit_codes_and_help():
    def run(*args):
        done = subprocess.run([binary(), *args], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    for command in (["serve"], ["config", "check"], ["config", "show"], ["domain", "add"], ["domain", "set"], ["alias", "add"],
                    ["account", "add"], ["account", "import"], ["account", "set"], ["session", "list"], ["session", "kick"],
                    ["import"], ["export"], ["status"], ["where"], ["check"], ["backup"], ["restore"], ["move"]):
        code, out, _ = run(*command, "--help")
        assert code == 0 and re.search(f"Example: .*hikyaku {' '.join(command)}", out), command
    for wrong in (["no-such-command"], ["domain", "add"], ["import", "x"], ["session", "kick"], ["status", "--no-such-option"], []):
        code, out, err = run(*wrong)
        assert code == 2 and not out and err, f"{wrong}: {code} {out} {err}"
    code, _, err = run("status", "--admin", "127.0.0.1:1", "--data", "/nonexistent")
    assert code == 1 and "hikyaku: " in err


def test_config_check_lists_every_error(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('[limits]\nmessage_size = "many"\nno_such_key = 1\n[store]\nsync = "yes"\n[nonsense]\n')
    done = subprocess.run([binary(), "--config", str(path), "config", "check"], capture_output=True, text=True)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    for key in ("limits.message_size", "no_such_key", "store.sync", "nonsense"):
        assert key in said, f"{key} is not named:\n{said}"
    good = subprocess.run([binary(), "--config", os.path.join(ROOT, "cluster.toml"), "config", "check"], capture_output=True, text=True)
    assert good.returncode == 0, good.stderr
    shown = subprocess.run([binary(), "--config", os.path.join(ROOT, "cluster.toml"), "--json", "config", "show"],
                           capture_output=True, text=True)
    assert json.loads(shown.stdout)


def test_domains_aliases_accounts(fresh):
    cli = fresh.cli
    cli("domain", "add", DOMAIN)
    cli("domain", "add", DOMAIN, code=1)
    cli("account", "add", f"ann@{DOMAIN}", "--password-file", "-", input=PASSWORD + "\n")
    secret = os.path.join(fresh.dir, "secret")
    with open(secret, "w") as f:
        f.write(PASSWORD + "\n")
    cli("account", "add", f"bob@{DOMAIN}", "--password-file", secret)
    failed = cli("account", "add", "x@unknown.test", "--password-file", secret, code=1)
    assert "unknown.test" in failed.stderr
    assert {it["address"] for it in fresh.cli_json("account", "list")} == {f"ann@{DOMAIN}", f"bob@{DOMAIN}"}
    assert f"ann@{DOMAIN}" in cli("account", "list", DOMAIN).stdout
    cli("alias", "add", f"sales@{DOMAIN}", f"ann@{DOMAIN}", f"bob@{DOMAIN}")
    listed = {it["alias"]: it["targets"] for it in fresh.cli_json("alias", "list")}
    assert sorted(listed[f"sales@{DOMAIN}"]) == [f"ann@{DOMAIN}", f"bob@{DOMAIN}"]

    smtp = fresh.smtp()
    assert smtp.deliver(message("alias"), f"sales@{DOMAIN}")[0] == 250
    assert smtp.deliver(message("postmaster"), f"postmaster@{DOMAIN}")[0] == 250
    assert smtp.deliver(message("detail"), f"ann+lists@{DOMAIN}")[0] == 250
    assert smtp.deliver(message("nobody"), f"nobody@{DOMAIN}")[0] == 550
    cli("domain", "set", DOMAIN, "--catch-all", f"bob@{DOMAIN}", "--separator", "-")
    assert smtp.deliver(message("caught"), f"nobody@{DOMAIN}")[0] == 250
    assert smtp.deliver(message("dashed"), f"ann-lists@{DOMAIN}")[0] == 250
    (domain,) = fresh.cli_json("domain", "list")
    assert domain["domain"] == DOMAIN and domain["catch_all"] == f"bob@{DOMAIN}"
    ann, bob = (keys(fresh, f"{name}@{DOMAIN}") for name in ("ann", "bob"))
    assert ann == ["alias", "dashed", "detail", "postmaster"]
    assert bob == ["alias", "caught"]
    cli("domain", "set", DOMAIN, "--catch-all", "none")
    cli("alias", "remove", f"sales@{DOMAIN}")
    assert smtp.deliver(message("gone"), f"sales@{DOMAIN}")[0] == 550
    cli("alias", "remove", f"sales@{DOMAIN}", code=1)
    cli("domain", "remove", DOMAIN, code=1)

    # Quota.
    cli("account", "set", f"ann@{DOMAIN}", "--quota", "20 KiB", "--name", "Ann Ames")
    code, text = smtp.deliver(message("large", size=40_000), f"ann@{DOMAIN}")
    assert code == 452 and "4.2.2" in text
    cli("account", "set", f"ann@{DOMAIN}", "--quota", "none")
    assert smtp.deliver(message("large", size=40_000), f"ann@{DOMAIN}")[0] == 250

    # A changed password and a disabled account end sessions within a second.
    client = fresh.imap(f"ann@{DOMAIN}")
    cli("account", "password", f"ann@{DOMAIN}", "--password-file", "-", input="another one\n")
    assert said_goodbye(client)
    with pytest.raises(ImapError):
        fresh.imap(f"ann@{DOMAIN}")
    fresh.imap(f"ann@{DOMAIN}", "another one").logout()
    client = fresh.imap(f"ann@{DOMAIN}", "another one")
    cli("account", "disable", f"ann@{DOMAIN}")
    assert said_goodbye(client)
    with pytest.raises(ImapError):
        fresh.imap(f"ann@{DOMAIN}", "another one")
    cli("account", "enable", f"ann@{DOMAIN}")
    fresh.imap(f"ann@{DOMAIN}", "another one").logout()
    cli("account", "remove", f"ann@{DOMAIN}")
    assert smtp.deliver(message("removed"), f"ann@{DOMAIN}")[0] == 550
    assert [it["address"] for it in fresh.cli_json("account", "list")] == [f"bob@{DOMAIN}"]


def keys(server, account, folder="INBOX"):
    client = server.imap(account)
    found = sorted(re.search(rb"X-Key: (\S+)", it)[1].decode() for it in client.bodies(folder).values())
    client.logout()
    return found


def said_goodbye(client):
    client.line.sock.settimeout(3)
    items = client.response()
    return items[:2] == ["*", "BYE"]


def test_account_import_takes_hashes(fresh):
    fresh.cli("domain", "add", DOMAIN)
    crypt = subprocess.check_output([need("openssl"), "passwd", "-6", "-salt", "saltysalt", "old secret"], text=True).strip()
    fresh.cli("account", "import", "-", input=f"sha@{DOMAIN}:{{SHA512-CRYPT}}{crypt}\nplain@{DOMAIN}:plain secret\n")
    fresh.imap(f"plain@{DOMAIN}", "plain secret").logout()
    for _ in range(2):
        fresh.imap(f"sha@{DOMAIN}", "old secret").logout()
    with pytest.raises(ImapError):
        fresh.imap(f"sha@{DOMAIN}", "wrong")
    failed = fresh.cli("account", "import", "-", input=f"bad@{DOMAIN}:{{MD5}}x\n", code=1)
    assert "MD5" in failed.stderr


def test_sessions(fresh):
    (account,) = fresh.accounts("ann")
    client = fresh.imap(account)
    listed = [it for it in fresh.cli_json("session", "list") if it["account"] == account]
    assert len(listed) == 1 and listed[0]["protocol"] == "imap" and listed[0]["ip"] == "127.0.0.1"
    fresh.cli("session", "kick", "--account", account)
    assert said_goodbye(client)
    assert [it for it in fresh.cli_json("session", "list") if it["account"] == account] == []


def test_status_and_where(fresh):
    (account,) = fresh.accounts("ann")
    status = fresh.cli_json("status")
    listeners = {it["name"]: it["address"] for it in status["listeners"]}
    assert listeners["imap"] == f"127.0.0.1:{fresh.ports['imap']}"
    assert status["partitions"]["count"] == 1024 and status["stages"] and status["sync"] is True
    for stage in status["stages"]:
        assert {"name", "depth", "processed", "wakes", "hops", "refusals"} <= set(stage)
    fresh.cli("status")
    (where,) = fresh.cli_json("where", account)
    assert where["account"] == account and where["node"] == "one"
    failed = fresh.cli("where", f"nobody@{DOMAIN}", code=1)
    assert "nobody" in failed.stderr
    page = subprocess.check_output([need("curl"), "-sS", f"http://127.0.0.1:{fresh.ports['admin']}/metrics"], text=True)
    assert "hikyaku_" in page and account not in page
    for path in ("healthz", "readyz"):
        subprocess.check_call([need("curl"), "-fsS", "-o", "/dev/null", f"http://127.0.0.1:{fresh.ports['admin']}/{path}"])
    for command in (["node", "join", "two"], ["move", account, "--to", "two"]):
        assert 'no [[node]] is named "two"' in fresh.cli(*command, code=1).stderr
    # Without the token nothing is told.
    token = os.path.join(fresh.data, "admin.token")
    assert os.stat(token).st_mode & 0o777 == 0o600
    os.rename(token, token + ".away")
    assert "admin.token" in fresh.cli("status", code=1).stderr
    os.rename(token + ".away", token)


def sample(directory):
    """An mbox with two identical messages, a Maildir with folders and flags, and an .eml file."""
    twin = message("twin").replace(b"\r\n", b"\n")
    box = mailbox.mbox(os.path.join(directory, "old.mbox"))
    for data in (twin, twin, message("escaped").replace(b"\r\n", b"\n") + b"From the start of a line\n>From quoted\n"):
        box.add(data)
    box.close()
    maildir = mailbox.Maildir(os.path.join(directory, "Maildir"))
    for key, flags in (("seen", "S"), ("answered", "RS"), ("new", "")):
        it = mailbox.MaildirMessage(message(key).replace(b"\r\n", b"\n"))
        it.set_subdir("cur" if flags else "new")
        it.set_flags(flags)
        it.set_date(1_600_000_000)
        maildir.add(it)
    maildir.add_folder("Work.Deep").add(message("deep").replace(b"\r\n", b"\n"))
    with open(os.path.join(directory, "one.eml"), "wb") as f:
        f.write(message("eml", size=300_000))


def snapshot(server, account):
    client = server.imap(account)
    out = []
    for items in client.must('LIST "" "*"'):
        name = items[3] if isinstance(items[3], str) else items[3].decode()
        if "\\Noselect" in items[1]:
            continue
        client.must(f'EXAMINE "{name}"')
        for data in client.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])").values() if client.search("ALL") else []:
            out.append((name, data["BODY[]"], tuple(sorted(set(data["FLAGS"]) - {"\\Recent"})), data["INTERNALDATE"]))
    client.logout()
    return sorted(out, key=repr)


def test_import_and_export(fresh, tmp_path):
    ann, bob = fresh.accounts("ann", "bob")
    sample(str(tmp_path))
    paths = [str(tmp_path / it) for it in ("old.mbox", "Maildir", "one.eml")]
    for _ in range(2):
        fresh.cli("import", "--account", ann, *paths)
        found = snapshot(fresh, ann)
        by_folder = {}
        for folder, body, flags, _ in found:
            by_folder.setdefault(folder, []).append((re.search(rb"X-Key: (\S+)", body)[1].decode(), flags))
        assert len(found) == 8, [(f, re.search(rb"X-Key: (\S+)", b)[1]) for f, b, _, _ in found]
        inbox = sorted(by_folder["INBOX"])
        assert [key for key, _ in inbox] == ["answered", "eml", "escaped", "new", "seen", "twin", "twin"]
        assert dict(inbox)["answered"] == ("\\Answered", "\\Seen") and dict(inbox)["new"] == ()
        assert [key for key, _ in by_folder["Work/Deep"]] == ["deep"]
    bodies = {re.search(rb"X-Key: (\S+)", body)[1].decode(): body for _, body, _, _ in found}
    assert bodies["eml"] == message("eml", size=300_000) and bodies["deep"] == message("deep")
    dates = {re.search(rb"X-Key: (\S+)", body)[1].decode(): date for _, body, _, date in found}
    assert dates["seen"].startswith(b"13-Sep-2020")
    # Out as a Maildir, and in again elsewhere: the same.
    fresh.cli("export", "--account", ann, str(tmp_path / "out"))
    fresh.cli("import", "--account", bob, str(tmp_path / "out"))
    assert snapshot(fresh, bob) == found
    failed = fresh.cli("import", "--account", f"nobody@{DOMAIN}", paths[2], code=1)
    assert "nobody" in failed.stderr
    assert "no-such-file" in fresh.cli("import", "--account", ann, str(tmp_path / "no-such-file"), code=1).stderr


def filled(server, count=30):
    accounts = server.accounts("ann", "bob")
    smtp = server.smtp()
    for number in range(count):
        assert smtp.deliver(message(f"kept-{number}", size=(3_000, 200_000)[number % 2]), accounts)[0] == 250
    smtp.close()
    # A message for several is accepted first and delivered then.
    for account in accounts:
        eventually(lambda: len(keys(server, account)) == count, what="all deliveries")
    return accounts


def test_backup_and_restore(fresh, tmp_path):
    ann, bob = filled(fresh)
    client = fresh.imap(ann)
    client.must("SELECT INBOX")
    client.must(r"STORE 1:5 +FLAGS (\Seen $Kept)")
    client.logout()
    before = {account: snapshot(fresh, account) for account in (ann, bob)}
    place = str(tmp_path / "backup")
    fresh.cli("backup", place)
    assert fresh.cli("backup", place, code=1).stderr
    fresh.cli("check", "--offline", "--data", place)
    assert fresh.smtp().deliver(message("later"), ann)[0] == 250
    fresh.kill()
    shutil.rmtree(fresh.data)
    fresh.cli("restore", place)
    fresh.start()
    assert {account: snapshot(fresh, account) for account in (ann, bob)} == before
    assert fresh.smtp().deliver(message("after"), ann)[0] == 250
    assert "after" in keys(fresh, ann)


def test_no_client_cache_is_wrong_after_a_restore(fresh, tmp_path):
    """UIDs and modification numbers that were served after the backup are not given again."""
    ann, _ = filled(fresh)
    place = str(tmp_path / "backup")
    fresh.cli("backup", place)
    assert fresh.smtp().deliver(message("later"), ann)[0] == 250
    client = fresh.imap(ann)
    served = status(client)
    client.logout()
    fresh.kill()
    shutil.rmtree(fresh.data)
    fresh.cli("restore", place)
    fresh.start()
    client = fresh.imap(ann)
    now = status(client)
    client.logout()
    assert now["UIDNEXT"] > served["UIDNEXT"] + 1000 and now["HIGHESTMODSEQ"] > served["HIGHESTMODSEQ"] + 1000


def status(client):
    (items,) = [it[2] for it in client.must("STATUS INBOX (UIDNEXT HIGHESTMODSEQ)") if it[0] == "STATUS"]
    return dict(zip(items[::2], map(int, items[1::2]), strict=True))


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x40]))


def test_a_damaged_backup_is_noticed(fresh, tmp_path):
    filled(fresh)
    place = tmp_path / "backup"
    fresh.cli("backup", str(place))
    files = sorted((it for it in place.rglob("*") if it.is_file() and it.suffix in (".sst", ".blob", ".log")), key=lambda it: it.stat().st_size)
    assert files, list(place.rglob("*"))
    flip(files[-1], files[-1].stat().st_size // 2)
    found = fresh.cli("check", "--offline", "--data", str(place), code=1)
    assert files[-1].name in found.stdout + found.stderr
    shutil.rmtree(fresh.data + "-other", ignore_errors=True)
    fresh.cli("restore", str(place), "--data", fresh.data + "-other", code=1)


def mail_files(store):
    return [os.path.join(at, name) for at, _, names in os.walk(store) for name in names if name.endswith((".sst", ".blob"))]


def spoil(server, pattern, count=None):
    """Changes one byte right behind each `pattern`, or the first `count`, in the files of a stopped node: what was written once and rotted."""
    hits = 0
    for path in mail_files(os.path.join(server.data, "store")):
        with open(path, "rb") as f:
            data = f.read()
        for found in re.finditer(pattern, data):
            if hits != count:
                flip(path, found.end())
                hits += 1
    assert hits, f"{pattern} stands in no file"


def test_check_notices_planted_damage(fresh):
    """Bodies that rotted are named, in a running node and in a data directory; the rest is served."""
    ann, bob = filled(fresh)
    clean = fresh.cli_json("check")
    assert clean["findings"] == [] and clean["users"] == 2 and clean["messages"] == 60 and clean["entries"] and clean["bytes"]
    fresh.stop()
    assert fresh.cli_json("check", "--offline", "--data", fresh.data)["findings"] == []
    spoil(fresh, rb"This is kept-7\.")
    offline = fresh.cli_json("check", "--offline", "--data", fresh.data, code=1)
    fresh.start()
    report = fresh.cli_json("check", code=1)
    for findings in (offline["findings"], report["findings"]):
        assert all(it["thing"] and it["reason"] and it["next_step"] for it in findings)
        named = {it["thing"] for it in findings}
        assert any(re.fullmatch(r"(ann|bob)@example.test INBOX UID 8", it) for it in named), findings
    text = fresh.cli("check", code=1).stdout
    assert "INBOX UID 8" in text and f"{len(report['findings'])} findings" in text
    client = fresh.imap(ann)
    client.must("EXAMINE INBOX")
    assert b"kept-0." in client.fetch("1", "(BODY.PEEK[])")[1]["BODY[]"]
    assert fresh.is_alive()


def test_backup_notices_planted_damage(fresh, tmp_path):
    """What is damaged is copied as it is, and said: nobody throws the older backup away."""
    filled(fresh)
    fresh.stop()
    spoil(fresh, rb"This is kept-7\.")
    fresh.start()
    found = fresh.cli("backup", str(tmp_path / "backup"), code=1)
    assert "INBOX UID 8" in found.stdout and "keep older backups" in found.stdout
    report = fresh.cli_json("backup", str(tmp_path / "second"), code=1)
    assert report["findings"] and (tmp_path / "second" / "backup.json").exists()


def test_where_and_status_notice_planted_damage(fresh):
    """A mailbox whose records can't be read is named with the reason; others are served."""
    ann, bob = filled(fresh, count=4)
    assert fresh.cli_json("where", ann)[0]["loaded"] is True
    # Enough of them that some block of the files holds nothing else.
    client = fresh.imap(ann)
    rng = random.Random(7)
    names = ["".join(rng.choices(string.ascii_letters, k=60)) for _ in range(800)]
    for name in names:
        client.must(f"CREATE {name}")
    client.logout()
    fresh.restart()
    (where,) = fresh.cli_json("where", bob)
    assert where["loaded"] is False and where["trouble"] is None
    assert fresh.cli_json("where", bob)[0]["loaded"] is True
    fresh.cli("status")
    fresh.stop()
    # Blocks are compressed: not every name stands there as it is.
    spoil(fresh, "|".join(names[390:410]).encode(), count=1)
    fresh.start()
    (where,) = fresh.cli_json("where", ann, code=1)
    assert "damaged" in where["trouble"] and "hikyaku check" in where["trouble"]
    status = fresh.cli_json("status", code=1)
    assert status["partitions"]["unavailable"] >= 1 and any("damaged" in it for it in status["store"]["errors"])
    assert "damaged" in fresh.cli("status", code=1).stdout
    findings = fresh.cli_json("check", code=1)["findings"]
    assert any(it["thing"].startswith(ann) for it in findings), sorted((it["thing"], it["reason"][-90:]) for it in findings)


def test_fail2ban_filter_matches_the_log(fresh, tmp_path):
    filter_ = find("fail2ban", ".conf")
    (account,) = fresh.accounts("ann")
    for _ in range(3):
        with pytest.raises(ImapError):
            fresh.imap(account, "wrong")
    fresh.imap(account).logout()
    eventually(lambda: fresh.log().count("auth failed") == 3, what="three failures in the log")
    done = subprocess.run([need("fail2ban-regex"), "--print-all-matched", fresh.log_path, filter_], capture_output=True, text=True)
    assert re.search(r"Lines: \d+ lines, 0 ignored, 3 matched", done.stdout), done.stdout[-1500:] + done.stderr[-500:]
    assert "127.0.0.1" in done.stdout


def find(word, suffix):
    for at, directories, names in os.walk(ROOT):
        directories[:] = [it for it in directories if it not in (".git", "target", "node_modules")]
        for name in names:
            path = os.path.join(at, name)
            if name.endswith(suffix) and word in path[len(ROOT):]:
                return path
    raise AssertionError(f"no {word}*{suffix} is shipped")


def test_systemd_unit_is_valid(tmp_path):
    unit = find("hikyaku", ".service")
    with open(unit) as f:
        text = f.read()
    # The binary stands elsewhere here than where a package puts it.
    copy = tmp_path / os.path.basename(unit)
    copy.write_text(re.sub(r"(?m)^(ExecStart(?:Pre)?=)(\S+)", lambda it: it[1] + binary(), text))
    done = subprocess.run([need("systemd-analyze"), "verify", str(copy)], capture_output=True, text=True)
    ours = [line for line in done.stderr.splitlines() if os.path.basename(unit) in line]
    assert done.returncode == 0 and not ours, done.stderr
    for wanted in ("Type=notify", "CAP_NET_BIND_SERVICE", "NoNewPrivileges", "ProtectSystem"):
        assert wanted in text, wanted
