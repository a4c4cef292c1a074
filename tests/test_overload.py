"""More work than one node can do at once: what waits is bounded by what was let in."""

import re
import subprocess
import threading

from harness import Server, message, need

SENDERS = 60
# The longest that a stage's queue may be: what each session may have under way, and what the node does of its own accord.
PER_SENDER = 8
OWN = 256


def test_queues_are_bounded_by_what_was_admitted():
    with Server() as server:
        accounts = server.accounts("one", "two", "three")
        taken = []

        def send(number):
            smtp = server.smtp()
            for index in range(20):
                size = 120_000 if index % 4 == 0 else 3_000
                data = message(f"load-{number}-{index}", size=size)
                code, text = smtp.deliver(data, accounts[index % 3] if index % 5 else accounts)
                assert code == 250 or 400 <= code < 500, text
                taken.append(code == 250)
            smtp.close()

        threads = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == SENDERS * 20 and any(taken)
        peaks = depth_peaks(server)
        print(f"{sum(taken)} of {len(taken)} taken, most that ever waited: {peaks}")
        assert peaks["writer"] > 1
        for stage, peak in peaks.items():
            assert peak <= SENDERS * PER_SENDER + OWN, f"{peak} waited for {stage}"


def depth_peaks(server):
    page = subprocess.check_output([need("curl"), "-sS", f"http://127.0.0.1:{server.ports['admin']}/metrics"], text=True)
    return {stage: int(peak) for stage, peak in re.findall(r'^hikyaku_stage_depth_peak\{stage="([^"]+)"\} (\d+)$', page, re.M)}
