"""The webmail in Chromium: how soon a list of a very large folder is there, what it weighs, how soon the next message is."""
import http.client
import pathlib
import statistics
import sys
import time
import urllib.parse

from servers import DOMAIN, PASSWORD

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

# Lists asked for, pages opened, messages stepped to.
LISTS, OPENED, STEPS = 200, 15, 60
SERVED_MS, WIRE_BYTES, PAINT_MS, NEXT_MS = 15, 50_000, 300, 100

# The policy of the pages forbids what would wait for it from outside.
PAINTED = """() => new Promise((painted) => new PerformanceObserver((list) => {
  for (const it of list.getEntries()) if (it.name === "first-contentful-paint") painted(it.startTime);
}).observe({ type: "paint", buffered: true }))"""


class Client:
    """A log-in over one connection that stays open."""

    def __init__(self, port, user):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        form = urllib.parse.urlencode({"address": f"{user}@{DOMAIN}", "password": PASSWORD, "next": "/"})
        answer, _ = self.ask("POST", "/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
        self.cookie = {"Cookie": answer.getheader("set-cookie").split(";")[0], "Accept-Encoding": "deflate"}
        answer, _ = self.ask("GET", "/", None, self.cookie)
        self.inbox = answer.getheader("location")

    def ask(self, *request):
        self.connection.request(*request)
        answer = self.connection.getresponse()
        return answer, answer.read()

    def timed(self, path):
        """Milliseconds until all of it was there."""
        begun = time.perf_counter()
        answer, _ = self.ask("GET", path, None, self.cookie)
        took = (time.perf_counter() - begun) * 1e3
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        return took


def served(client, count):
    """Milliseconds of a list: the first page, and pages all over the folder."""
    for _ in range(10):
        client.timed(client.inbox)
    first = [client.timed(client.inbox) for _ in range(LISTS)]
    pages = count // 50
    jumps = [client.timed(f"{client.inbox}?page={1 + number * 7919 % pages}") for number in range(LISTS)]
    return statistics.median(first), statistics.median(jumps)


def in_browser(port, user):
    """Bytes of a page with nothing kept, milliseconds to the first paint of content, and to the next message."""
    from browser import Chromium, driver

    with driver() as steering:
        browser = Chromium(steering).browser
        page = browser.new_context(base_url=f"http://127.0.0.1:{port}", viewport={"width": 1280, "height": 800}).new_page()
        page.goto("/login")
        page.fill("#address", f"{user}@{DOMAIN}")
        page.fill("#password", PASSWORD)
        page.click("button.primary")
        page.wait_for_selector(".lines a")
        inbox, devtools, sizes = page.url, page.context.new_cdp_session(page), []
        devtools.send("Network.enable")
        devtools.send("Network.setCacheDisabled", {"cacheDisabled": True})
        devtools.on("Network.loadingFinished", lambda it: sizes.append(it["encodedDataLength"]))
        page.goto(inbox, wait_until="load")
        page.wait_for_timeout(500)
        wire = sum(sizes)
        devtools.send("Network.setCacheDisabled", {"cacheDisabled": False})
        paints = []
        for _ in range(OPENED):
            page.goto(inbox)
            paints.append(page.evaluate(PAINTED))
        steps = next_message(page)
        browser.close()
    return wire, statistics.median(paints), statistics.median(steps)


def next_message(page):
    """Milliseconds from the key to the frame that shows the next message, within the page."""
    page.locator(".lines a").first.click()
    page.wait_for_selector("article")
    steps = """async (count) => {
      const times = [];
      for (let step = 0; step < count; step++) {
        const before = document.querySelector("article");
        const begun = performance.now();
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key: step % 40 < 20 ? "j" : "k", bubbles: true }));
        await new Promise((shown) => {
          const look = () => (document.querySelector("article") === before ? requestAnimationFrame(look) : requestAnimationFrame(() => shown()));
          look();
        });
        times.push(performance.now() - begun);
        await new Promise((read) => setTimeout(read, 150));
      }
      return times;
    }"""
    return page.evaluate(steps, STEPS)


def run(bench, server, count):
    """The four figures of a folder of `count` messages."""
    client = Client(server.ports["http"], "u1")
    first, jump = served(client, count)
    bench.row(f"webmail: list of {count:,} messages served, ms", first, "", None, f"<= {SERVED_MS}", "", first <= SERVED_MS)
    bench.row("  a page anywhere in it, ms", jump, "", None, f"<= {SERVED_MS}", "", jump <= SERVED_MS)
    wire, paint, step = in_browser(server.ports["http"], "u1")
    bench.row("  over the wire with nothing kept, bytes", wire, "", None, f"<= {WIRE_BYTES:,}", "", wire <= WIRE_BYTES)
    bench.row("  first contentful paint, ms", paint, "", None, f"<= {PAINT_MS}", "Chromium", paint <= PAINT_MS)
    bench.row("  moving to the next message, ms", step, "", None, f"<= {NEXT_MS}", "Chromium", step <= NEXT_MS)
    bench.save({"test": "webmail", "n": count, "list_ms": first, "jump_ms": jump, "wire_bytes": wire, "paint_ms": paint, "next_ms": step})
