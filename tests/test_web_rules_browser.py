"""Rules and settings in Chromium: on both sizes, with and without JavaScript, light and dark; axe-core finds nothing."""

import pytest


def test_a_rule_is_made_from_a_message_applied_and_moved(view):
    page = view.page
    page.goto(page.locator(".lines a").first.get_attribute("href"))
    page.wait_for_selector("article #subject")
    page.locator(".message details.menu summary").click()
    view.shot("message-menu")
    page.click("text=Make a rule from this message")
    page.wait_for_selector("#rule-name")
    sender = page.locator(".conditions input[name=text]").first.input_value()
    assert "@" in sender
    page.fill("#rule-name", "First")
    page.locator(".conditions select[name=what]").nth(1).select_option("")
    page.check("input[name=flagged]")
    page.fill("#rule-keywords", "seen-by-rule")
    page.click("main button[value=save]")
    page.locator(f".rows li:has-text('{sender}')").wait_for()
    page.fill("#rule-name", "Second")
    page.locator(".conditions select[name=what]").first.select_option("larger")
    page.locator(".conditions input[name=text]").first.fill("100")
    page.select_option("#rule-place", label="Archive")
    page.click("main button[value=save]")
    page.locator(".rows li", has_text="Second").wait_for()
    view.shot("rules", full=True)
    if view.js:
        view.assert_accessible("rules")
    page.locator(".rows li", has_text="Second").locator("button[value=up]").click()
    page.wait_for_load_state()
    assert page.locator(".rows .name").all_text_contents() == ["Second", "First"]
    row = page.locator(".rows li", has_text="First")
    row.locator("button[value=switch]").click()
    page.locator(".rows li:has-text('(off)')").wait_for()
    page.locator(".rows li", has_text="First").locator("button[value=apply]").click()
    view.notice("was applied to INBOX")
    view.shot("rules-applied")
    width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0, f"{width} pixels too wide"


@pytest.mark.parametrize("size", ["wide", "phone"])
def test_rules_and_settings_in_the_dark(open_view, mailbox, size):
    view = open_view(mailbox, size, True, True)
    page = view.page
    page.goto("/rules?from=ann%40example.org&subject=Plan")
    page.fill("#rule-name", "Plans of Ann")
    page.select_option("#rule-place", label="Archive")
    page.click("main button[value=save]")
    page.locator(".rows li", has_text="Plans of Ann").wait_for()
    page.goto("/rules?edit=0")
    view.shot("rules", full=True)
    view.assert_accessible("rules")
    page.goto("/settings")
    view.shot("settings", full=True)
    view.assert_accessible("settings")


def test_settings_choose_expiry_and_dates(view):
    page = view.page
    page.goto("/settings")
    page.select_option("#trash-days", label="7 days after it was put there")
    page.select_option("#junk-days", label="never")
    page.select_option("#dates", label="2024-03-05, 14:30")
    page.click("main button[value=save]")
    view.notice("Saved.")
    view.shot("settings", full=True)
    if view.js:
        view.assert_accessible("settings")
    page.goto("/settings")
    assert page.locator("#trash-days").input_value() == "7"
    assert page.locator("#junk-days").input_value() == "0"
    assert page.locator("#dates").input_value() == "year-first"
