"""mbsync keeps 2,000 messages the same on both sides: flags, deletions and moves from either, nothing lost or doubled."""

import os
import random
import re

from harness import PASSWORD, Server, message, need, run_tool

FLAGS = {"F": r"\Flagged", "R": r"\Answered", "S": r"\Seen", "D": r"\Draft"}
FOLDERS = ("INBOX", "Archive", "Work/Deep")


class Remote:
    """One account, by IMAP."""

    def __init__(self, server, account):
        self.client = server.imap(account)

    def fill(self, folder, mails):
        """Adds {key: (flags, bytes)} in batches of MULTIAPPEND."""
        keys = list(mails)
        for at in range(0, len(keys), 100):
            part = [mails[key] for key in keys[at: at + 100]]
            text = "".join(f" ({' '.join(sorted(FLAGS[f] for f in flags))}) %s" for flags, _ in part)
            self.client.must(f'APPEND "{folder}"{text}', *[data for _, data in part])

    def read(self):
        """{folder: {key: (flags, bytes, uid)}}"""
        out = {}
        for folder in FOLDERS:
            found = out[folder] = {}
            if self.client.command(f'EXAMINE "{folder}"')[0] != "OK":
                continue
            for uid, data in self.client.fetch("1:*", "(FLAGS BODY.PEEK[])").items():
                key = key_of(data["BODY[]"])
                assert key not in found, f"{key} is twice in {folder}"
                flags = frozenset(short for short, long in FLAGS.items() if long in data["FLAGS"])
                found[key] = (flags, clean(data["BODY[]"]), uid)
        return out

    def uids(self, folder, keys):
        self.client.must(f'SELECT "{folder}"')
        heads = self.client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (X-Key)])")
        by_key = {key_of(next(v for k, v in it.items() if k.startswith("BODY"))): uid for uid, it in heads.items()}
        return ",".join(str(by_key[key]) for key in keys)


class Local:
    """A Maildir with sub-folders as directories."""

    def __init__(self, path):
        self.path = path

    def directory(self, folder):
        return self.path / folder

    def fill(self, folder, mails):
        for sub in ("cur", "new", "tmp"):
            (self.directory(folder) / sub).mkdir(parents=True, exist_ok=True)
        for key, (flags, data) in mails.items():
            name = f"{key}.local:2,{''.join(sorted(flags))}"
            (self.directory(folder) / "cur" / name).write_bytes(data.replace(b"\r\n", b"\n"))

    def paths(self, folder):
        out = {}
        for sub in ("cur", "new"):
            for path in (self.directory(folder) / sub).glob("*"):
                key = key_of(path.read_bytes().replace(b"\n", b"\r\n"))
                assert key not in out, f"{key} is twice in the local {folder}"
                out[key] = path
        return out

    def read(self):
        out = {}
        for folder in FOLDERS:
            out[folder] = {}
            for key, path in self.paths(folder).items():
                flags = path.name.partition(":2,")[2]
                out[folder][key] = (frozenset(flags) & set(FLAGS), clean(path.read_bytes().replace(b"\n", b"\r\n")))
        return out


def key_of(data):
    return re.search(rb"X-Key: (\S+)", data)[1].decode()


def clean(data):
    """Without the header by which mbsync finds its uploads."""
    return re.sub(rb"X-TUID: [^\r\n]*\r\n", b"", data)


def compare(model, remote, local, bodies):
    for side, found in (("remote", remote), ("local", local)):
        for folder in FOLDERS:
            got, wanted = found[folder], model[folder]
            assert sorted(got) == sorted(wanted), f"{side} {folder}: {set(got) ^ set(wanted)}"
            for key, flags in wanted.items():
                assert got[key][0] == flags, f"{side} {folder} {key}: {set(got[key][0])} in place of {set(flags)}"
                assert got[key][1] == bodies[key], f"{side} {folder} {key} is damaged"


def test_mbsync_2000_messages_both_ways(fresh, tmp_path):
    rng = random.Random(4)
    (account,) = fresh.accounts("sync")
    remote, local = Remote(fresh, account), Local(tmp_path / "mail")
    (tmp_path / "mail").mkdir()
    (tmp_path / "rc").write_text(
        f"FSync no\n\nIMAPStore far\nHost 127.0.0.1\nPort {fresh.ports['imap']}\nUser {account}\nPass \"{PASSWORD}\"\nSSLType None\n"
        f"AuthMechs LOGIN\nPipelineDepth 20\n\nMaildirStore near\nPath {tmp_path}/mail/\nInbox {tmp_path}/mail/INBOX\n"
        f"SubFolders Verbatim\n\nChannel all\nFar :far:\nNear :near:\nPatterns INBOX Archive Work/Deep\nCreate Both\n"
        "Expunge Both\nSync All\nSyncState *\nCopyArrivalDate yes\n"
    )

    def sync():
        home = dict(os.environ, HOME=str(tmp_path))
        return run_tool([need("mbsync"), "-c", str(tmp_path / "rc"), "-a"], env=home, timeout=300)

    model, bodies = {folder: {} for folder in FOLDERS}, {}
    for side, folder, count in ((remote, "INBOX", 700), (remote, "Archive", 300), (local, "INBOX", 600),
                                (local, "Work/Deep", 400)):
        mails = {}
        for number in range(count):
            key = f"{type(side).__name__}-{folder.replace('/', '.')}-{number}"
            flags = frozenset(rng.sample(sorted(FLAGS), rng.choice((0, 0, 1, 2))))
            bodies[key] = message(key, size=rng.choice((400, 2_000, 9_000)))
            mails[key] = (flags, bodies[key])
            model[folder][key] = flags
        side.fill(folder, mails)
    sync()
    compare(model, remote.read(), local.read(), bodies)
    assert sum(map(len, model.values())) == 2000

    # Both sides change different messages.
    keys = {folder: rng.sample(sorted(model[folder]), len(model[folder])) for folder in FOLDERS}

    def take(folder, count):
        taken, keys[folder] = keys[folder][:count], keys[folder][count:]
        return taken

    flag_far, delete_far, move_far = take("INBOX", 200), take("INBOX", 100), take("INBOX", 100)
    flag_near, delete_near, move_near = take("INBOX", 200), take("INBOX", 100), take("Work/Deep", 100)
    client = remote.client
    client.must(rf"UID STORE {remote.uids('INBOX', flag_far)} +FLAGS (\Flagged)")
    client.must(rf"UID STORE {remote.uids('INBOX', flag_far)} -FLAGS (\Seen)")
    client.must(f'UID MOVE {remote.uids("INBOX", move_far)} Archive')
    gone = remote.uids("INBOX", delete_far)
    client.must(rf"UID STORE {gone} +FLAGS.SILENT (\Deleted)")
    client.must(f"UID EXPUNGE {gone}")
    paths = local.paths("INBOX")
    for key in flag_near:
        flags = (model["INBOX"][key] | {"R"}) - {"S"}
        paths[key].rename(paths[key].with_name(paths[key].name.partition(":")[0] + ":2," + "".join(sorted(flags))))
        model["INBOX"][key] = flags
    for key in delete_near:
        paths[key].unlink()
        del model["INBOX"][key]
    deep = local.paths("Work/Deep")
    for key in move_near:
        flags = deep[key].name.partition(":2,")[2]
        deep[key].rename(local.directory("Archive") / "cur" / f"{key}.moved:2,{flags}")
        model["Archive"][key] = model["Work/Deep"].pop(key)
    for key in flag_far:
        model["INBOX"][key] = (model["INBOX"][key] | {"F"}) - {"S"}
    for key in delete_far:
        del model["INBOX"][key]
    for key in move_far:
        model["Archive"][key] = model["INBOX"].pop(key)
    sync()
    first = remote.read()
    compare(model, first, local.read(), bodies)
    sync()
    second = remote.read()
    assert second == first, "the second run found something to do"
    compare(model, second, local.read(), bodies)
    assert sum(map(len, model.values())) == 1800
