"""The operator's console in Chromium: no page has a barrier, nothing is loaded from elsewhere, and pages show what changes by
themselves."""

import pytest

from browser import PATIENCE_MS, SIZES, View
from cluster import Cluster
from harness import DOMAIN, Server, message

PAGES = {
    "overview": "/", "nodes": "/nodes", "partitions": "/partitions", "accounts": "/accounts", "account": f"/accounts/ann@{DOMAIN}",
    "domains": "/domains", "domain": f"/domains/{DOMAIN}", "sessions": "/sessions", "events": "/events", "scrub": "/scrub",
    "remove": f"/accounts/ann@{DOMAIN}/remove", "nowhere": "/nodes/nowhere",
}


@pytest.fixture(scope="module")
def one():
    with Server() as server:
        server.accounts("ann")
        server.cli("alias", "add", f"sales@{DOMAIN}", f"ann@{DOMAIN}")
        for number in range(3):
            assert server.smtp().deliver(message(number), f"ann@{DOMAIN}")[0] == 250
        with server.imap(f"ann@{DOMAIN}").line.sock:
            yield server


@pytest.fixture(scope="module")
def three():
    with Cluster() as cluster:
        cluster.until_whole()
        cluster["a"].accounts("ann")
        yield cluster


def window(chromium, node, size="wide", js=True, dark=False):
    """A window at the console of a node, signed in."""
    context = chromium.browser.new_context(
        base_url=f"http://127.0.0.1:{node.ports['admin']}", java_script_enabled=js, viewport=SIZES[size],
        color_scheme="dark" if dark else "light",
    )
    context.set_default_timeout(PATIENCE_MS)
    view = View(context, size, js, dark)
    # An answer that is no page is told in the console of the browser.
    view.expected.append("404")
    with open(f"{node.data}/admin.token") as f:
        view.page.fill("#secret", f.read().strip())
    view.page.click("button:has-text('Sign in')")
    view.page.wait_for_selector(".top")
    return view


def look(view, name, path):
    view.page.goto(path)
    view.assert_accessible(name)
    over = view.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert over <= 0, f"{name} is {over} pixels too wide"
    view.shot(name, full=True)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", ["wide", "phone"])
def test_no_page_of_one_node_has_a_barrier(chromium, one, size, dark):
    with window(chromium, one, size, dark=dark) as view:
        for name, path in {**PAGES, "node": "/nodes/one"}.items():
            look(view, f"one-{name}", path)
        view.page.click("button:has-text('Sign out')")
        view.page.wait_for_selector("#secret")
        view.assert_accessible("sign in")
        view.shot("sign-in")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", ["wide", "phone"])
def test_no_page_of_three_nodes_has_a_barrier(chromium, three, size, dark):
    with window(chromium, three["a"], size, dark=dark) as view:
        for name, path in {**PAGES, "node": "/nodes/b", "drain": "/nodes/b/drain", "move": f"/accounts/ann@{DOMAIN}/move?to=b"}.items():
            look(view, f"three-{name}", path)


def test_a_page_shows_what_changes_by_itself(chromium, one):
    with window(chromium, one) as view:
        view.page.goto("/events?kind=changed")
        one.cli("domain", "add", "seen.test")
        view.page.wait_for_selector("td:has-text('seen.test')")
        view.page.click("button:has-text('Pause updates')")
        assert view.page.get_attribute("button:has-text('Pause updates')", "aria-pressed") == "true"
        one.cli("domain", "remove", "seen.test")


def test_an_order_without_javascript(chromium, one):
    with window(chromium, one, "phone", js=False) as view:
        page = view.page
        page.goto("/domains")
        page.fill("#domain", "plain.test")
        page.click("button:has-text('Add domain')")
        page.wait_for_selector(".notice.done:has-text('plain.test is added')")
        page.click("a:has-text('Remove… plain.test')")
        page.click("button:has-text('Remove it')")
        page.wait_for_selector(".notice.done:has-text('plain.test is removed')")
    assert "plain.test" not in one.cli("domain", "list").stdout
