"""Chromium for the tests of the webmail: sizes, themes, with and without JavaScript.

A `View` is a window with a cookie jar of its own. When it closes it has fetched nothing but from its own server, no script of it
has failed, and no policy has been broken. HIKYAKU_SCREENSHOTS names a directory for the pictures that tests take.
"""

import email
import email.utils
import os
import sys
from urllib.parse import urlsplit

from harness import PASSWORD, ROOT

TOOLS = os.environ.get("HIKYAKU_BROWSER_TOOLS") or os.path.expanduser("~/.cache/hikyaku/browser")
# Behind everything else: Debian's pytest comes first.
sys.path.append(TOOLS)
SCREENSHOTS = os.environ.get("HIKYAKU_SCREENSHOTS")
SIZES = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
# Nothing takes so long, in milliseconds, on a machine that does other things too.
PATIENCE_MS = 20_000
MAIL = os.path.join(ROOT, "node/src/demo/mail")
# As the demonstration has it: file, folder, flags.
DEMO = (
    ("01-welcome.eml", "INBOX", ""),
    ("02-photograph.eml", "INBOX", "\\Seen \\Flagged \\Answered"),
    ("03-invoice.eml", "INBOX", "\\Seen"),
    ("04-invitation.eml", "INBOX", ""),
    ("05-newsletter.eml", "Newsletters", ""),
    ("06-list-1.eml", "Lists/stages", "\\Seen"),
    ("07-list-2.eml", "Lists/stages", "\\Seen"),
    ("08-list-3.eml", "Lists/stages", "\\Seen"),
    ("09-list-4.eml", "Lists/stages", ""),
    ("10-japanese.eml", "INBOX", "\\Seen"),
    ("11-russian.eml", "INBOX", ""),
    ("12-chinese.eml", "INBOX", ""),
    ("13-arabic.eml", "INBOX", ""),
    ("14-hebrew.eml", "INBOX", "\\Seen"),
    ("15-forwarded.eml", "INBOX", "\\Seen"),
    ("16-bounce.eml", "INBOX", ""),
    ("17-draft.eml", "Drafts", "\\Seen \\Draft"),
    ("18-sent.eml", "Sent", "\\Seen"),
)


def fill(server, address):
    """Puts the mail of the demonstration into a mailbox."""
    client = server.imap(address)
    for folder in ("Newsletters", "Lists/stages", "Drafts", "Sent"):
        client.command(f'CREATE "{folder}"')
    for name, folder, flags in DEMO:
        with open(os.path.join(MAIL, name), "rb") as f:
            data = f.read()
        sent = email.utils.parsedate_to_datetime(email.message_from_bytes(data)["Date"])
        client.append(folder, data, flags, sent.strftime("%d-%b-%Y %H:%M:%S %z"))
    client.logout()


def driver():
    """What steers browsers; one of it, for all of them."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise SystemExit(f"what steers the browser is not in {TOOLS}: run tests/install.sh") from error
    return sync_playwright()


class Chromium:
    """One browser process; every view of it is a stranger to the others."""

    def __init__(self, steering, arguments=()):
        # In containers there is often no sandbox to be had, and /dev/shm is small.
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", *arguments]
        self.browser = steering.chromium.launch(executable_path="/usr/bin/chromium", args=flags)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.browser.close()

    def view(self, server, size="wide", js=True, dark=False, **options):
        options.setdefault("viewport", SIZES[size])
        context = self.browser.new_context(
            base_url=f"http://127.0.0.1:{server.ports['http']}", java_script_enabled=js,
            color_scheme="dark" if dark else "light", **options,
        )
        context.set_default_timeout(PATIENCE_MS)
        return View(context, size, js, dark)


class View:
    """A window, and what it was seen to do."""

    def __init__(self, context, size, js, dark):
        self.context, self.size, self.js, self.dark = context, size, js, dark
        self.requests, self.troubles = [], []
        # Troubles that a test brings about itself, by a part of their text.
        self.expected = []
        context.on("request", lambda request: self.requests.append(request.url))
        context.on("weberror", lambda error: self.troubles.append(f"script: {error.error}"))
        context.on("console", self._on_console)
        self.page = context.new_page()
        self.page.goto("/login")
        parts = urlsplit(self.page.url)
        self.origin = f"{parts.scheme}://{parts.netloc}"

    def _on_console(self, message):
        if message.type in ("error", "warning"):
            self.troubles.append(f"console: {message.text} ({message.location.get('url', '')})")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.context.close()

    def close(self):
        """Ends the window; it must have behaved."""
        self.context.close()
        self.assert_own_requests()
        left = [it for it in self.troubles if not any(part in it for part in self.expected)]
        assert not left, left

    def is_phone(self):
        return self.size == "phone"

    def login(self, address, password=PASSWORD, next="/"):
        """Signs in by the form, and ends where that leads."""
        self.page.goto(f"/login?next={next}")
        self.page.fill("#address", address)
        self.page.fill("#password", password)
        self.page.click("button:has-text('Sign in')")
        self.page.wait_for_selector(".top")
        return self

    def goto(self, path):
        return self.page.goto(path)

    def folder(self, name):
        """Opens a folder by the text of its link."""
        link = self.page.locator(f'.folders a:has(.name:text-is("{name}"))')
        self.page.goto(link.get_attribute("href"))

    def line(self, text):
        """The line of the list that has this text."""
        return self.page.locator(".lines li", has_text=text).first

    def open(self, text):
        """Opens a message by the text of its line, and waits until it is there."""
        self.line(text).locator("a").click()
        self.page.wait_for_selector("article #subject")

    def choose(self, *texts):
        for text in texts:
            self.line(text).locator("input[type=checkbox]").check()

    def act(self, what, sure=False):
        """Presses a button of the message that is read, or else of the list, and waits until it is done."""
        pane = ".message" if self.page.locator("article").count() else ".list"
        button = self.page.locator(f'{pane} .tools button[value="{what}"]')
        if not button.is_visible():
            self.page.locator(f"{pane} .tools details.menu summary").click()
        if sure and self.js:
            self.page.once("dialog", lambda dialog: dialog.accept())
        with self.page.expect_response(lambda it: it.request.method == "POST" and it.url.endswith("/act")):
            button.click()
        if sure and not self.js:
            # A page asks.
            self.page.locator("main.page button.danger").wait_for()
            self.shot("sure")
            with self.page.expect_navigation():
                self.page.click("main.page button.danger")
        self.page.wait_for_load_state()

    def notice(self, text):
        """Waits for what the page tells."""
        return self.page.locator(".notice", has_text=text).wait_for()

    def subjects(self):
        return [it.strip() for it in self.page.locator(".lines .subject").all_text_contents()]

    def shot(self, name, full=False):
        """A picture for people, where they asked for it."""
        if SCREENSHOTS:
            os.makedirs(SCREENSHOTS, exist_ok=True)
            kind = f"{self.size}-{'dark' if self.dark else 'light'}{'' if self.js else '-plain'}"
            self.page.screenshot(path=os.path.join(SCREENSHOTS, f"{name}-{kind}.png"), full_page=full)

    def assert_accessible(self, what=""):
        """axe-core finds nothing in the page. Needs JavaScript."""
        assert self.js, "axe-core is a script"
        if not self.page.evaluate("typeof axe === 'object'"):
            with open(os.path.join(TOOLS, "axe_playwright_python/axe.min.js"), encoding="utf-8") as f:
                # Through the debugger: no page of ours may load it.
                self.page.evaluate(f"{f.read()};0")
        options = "{resultTypes: ['violations'], iframes: false}"
        found = self.page.evaluate(f"axe.run(document, {options})")["violations"]
        said = [f"{it['id']}: {it['help']}: {[n['html'][:160] for n in it['nodes'][:4]]}" for it in found]
        assert not said, f"{what or self.page.url}: " + "\n".join(said)

    def assert_own_requests(self):
        """Nothing was asked of anybody but the server."""
        foreign = [it for it in self.requests if not it.startswith((f"{self.origin}/", "data:", "about:", "blob:"))]
        assert not foreign, foreign
