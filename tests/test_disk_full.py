"""A full disk and a disk that fails: nothing acknowledged is lost, and nobody is lied to."""

import errno
import os
import re
import subprocess
import tempfile
import time

from harness import Closed, Server, eventually, message, need, without_trace
from survival import disk

SPACE = 'write_buffer = "8 MiB"\nspace_low = "40 MiB"\nspace_exhausted = "16 MiB"\nballast = "8 MiB"'


class Small:
    """A tmpfs of its own."""

    def __init__(self, size):
        assert os.getuid() == 0, "mounting a tmpfs needs root"
        self.path = tempfile.mkdtemp(prefix="hikyaku-small-")
        subprocess.run([need("mount"), "-t", "tmpfs", "-o", f"size={size}", "hikyaku-test", self.path], check=True)

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        subprocess.run([need("umount"), "-l", self.path], check=True)
        os.rmdir(self.path)


def deliver(server, account, key, size):
    smtp = server.smtp()
    data = message(key, size=size)
    code, text = smtp.deliver(data, account)
    smtp.close()
    return code, text, data


def test_disk_full():
    with Small("256m") as place, Server(dir=place, store=SPACE) as server:
        (account,) = server.accounts("full")
        sent, refused = {}, 0
        for number in range(20_000):
            code, text, data = deliver(server, account, f"full-{number}", 40_000)
            if code == 250:
                sent[f"full-{number}"] = data
                refused = 0
                continue
            assert 400 <= code < 500, f"{code} {text}: a full disk is a temporary error"
            refused += 1
            if refused == 3:
                break
            time.sleep(0.2)
        assert refused == 3, "the disk never filled up"
        assert len(sent) > 1000, f"only {len(sent)} messages of 40 KB on 256 MiB"
        # Something else takes nearly all that is left, so that only deletions pass.
        fill_up(place, 12 << 20)
        # Reading goes on, every message is what was sent; so does a deletion.
        client = server.imap(account)
        client.must("SELECT INBOX")
        for key, data in list(sent.items())[::100]:
            (uid,) = client.search(f'HEADER X-Key "{key}"')[:1]
            (got,) = client.fetch(str(uid), "(BODY.PEEK[])").values()
            assert without_trace(got["BODY[]"]) == data
        count = len(client.search("ALL"))
        assert count == len(sent), "what was refused is not there, what was accepted is"
        refused = client.command(r"STORE 1 +FLAGS.SILENT (\Flagged)")
        assert refused[0] == "NO" and "UNAVAILABLE" in str(refused), refused
        keep = count - count * 4 // 5
        client.must(rf"STORE 1:{count - keep} +FLAGS.SILENT (\Deleted)")
        client.must("EXPUNGE")
        left = client.search("ALL")
        assert len(left) == keep
        # There is space again, by itself, and mail is taken again.
        late = eventually(lambda: room(server, account), 60, "a delivery after the deletion")
        bodies = client.bodies()
        client.logout()
        assert without_trace(bodies[max(bodies)]) == late and len(bodies) >= keep + 1
        assert server.restart() < 30
        client = server.imap(account)
        assert client.bodies() == bodies
        client.logout()


def fill_up(place, left):
    """Leaves that many free bytes on the device, on which others write meanwhile."""
    with open(os.path.join(place, "junk"), "wb") as junk:
        for attempt in range(20):
            stat = os.statvfs(place)
            try:
                return os.posix_fallocate(junk.fileno(), 0, stat.f_bavail * stat.f_frsize - left)
            except OSError as error:
                if error.errno != errno.ENOSPC or attempt == 19:
                    raise
                os.ftruncate(junk.fileno(), 0)


def room(server, account):
    code, text, data = deliver(server, account, f"late-{time.monotonic_ns()}", 10_000)
    assert code == 250 or 400 <= code < 500, text
    return data if code == 250 else None


def test_a_failed_fsync_stops_the_node():
    with disk.ForgetfulServer() as server:
        (account,) = server.accounts("sync")
        sent = []
        for number in range(20):
            code, text, data = deliver(server, account, f"sync-{number}", 3_000)
            assert code == 250, text
            sent.append(data)
        with open(server.fault, "w"):
            pass
        answered = 0
        try:
            answered = deliver(server, account, "lie", 3_000)[0]
        except (Closed, OSError):
            pass
        assert answered != 250, "a 250 after a failed fsync"
        code = eventually(lambda: server.process.poll(), 20, "the end of the node")
        assert code not in (None, 0)
        assert re.search(r"(?i)store has failed|fsync|sync failed|I/O error|Input/output", server.log()), server.log()[-500:]
        os.unlink(server.fault)
        server.power_failure()
        server.start()
        client = server.imap(account)
        bodies = [without_trace(it) for it in client.bodies().values()]
        client.logout()
        assert bodies[:20] == sent and len(bodies) <= 21
