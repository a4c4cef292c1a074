// Makes the pages instant: what a page can do, it does without this, too.
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  document.documentElement.classList.add("scripted");

  // The list: which lines are chosen, ranges with shift, all of them.
  let last = null;
  const boxes = () => all(".lines input[name=uid]");
  const chosen = () => boxes().filter((box) => box.checked);
  const show_tools = () => {
    const tools = one(".list .tools");
    if (tools) tools.classList.toggle("some", chosen().length > 0);
  };
  document.addEventListener("click", (event) => {
    const box = event.target.closest(".lines input[name=uid]");
    if (!box) return;
    const list = boxes();
    if (event.shiftKey && last && list.includes(last)) {
      const [from, to] = [list.indexOf(last), list.indexOf(box)].sort((a, b) => a - b);
      for (const between of list.slice(from, to + 1)) between.checked = box.checked;
    }
    last = box;
    show_tools();
  });
  const all_box = one("[data-all]");
  if (all_box) {
    all_box.closest("label").hidden = false;
    all_box.addEventListener("change", () => {
      for (const box of boxes()) box.checked = all_box.checked;
      show_tools();
    });
  }

  // A message opens in its pane; the rest of the page stays.
  const is_wide = () => matchMedia("(min-width: 1001px)").matches;
  const kept = new Map();
  const fetch_message = (href) => {
    if (!kept.has(href)) {
      if (kept.size > 20) kept.delete(kept.keys().next().value);
      const answer = fetch(href, { headers: { "x-fragment": "message" }, credentials: "same-origin" });
      kept.set(href, answer.then((it) => (it.ok && !it.redirected ? it.text() : Promise.reject(it.status))));
      kept.get(href).catch(() => kept.delete(href));
    }
    return kept.get(href);
  };
  const line_of = (uid) => one(`.lines li[data-uid="${uid}"]`);
  const open_message = async (href, push = true) => {
    const pane = one("main.message");
    if (!pane) return void (location.href = href);
    try {
      pane.innerHTML = await fetch_message(href);
    } catch {
      return void (location.href = href);
    }
    pane.classList.remove("none");
    document.body.classList.replace("listing", "reading");
    if (push) history.pushState({ message: href }, "", href);
    kept.delete(href);
    const uid = one("article", pane).dataset.uid;
    for (const line of all(".lines li[aria-current]")) line.removeAttribute("aria-current");
    const line = line_of(uid);
    if (line) {
      line.setAttribute("aria-current", "true");
      line.classList.remove("unread");
      one(".dot", line)?.remove();
      line.scrollIntoView({ block: "nearest" });
      // The next one is most likely wanted next.
      const next = line.nextElementSibling && one("a", line.nextElementSibling);
      if (next) fetch_message(next.getAttribute("href")).catch(() => {});
    }
    document.title = one("h2", pane).textContent + " · Hikyaku";
    pane.scrollTop = 0;
    pane.focus({ preventScroll: true });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".lines a, .steps a");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || !one("main.message")) return;
    event.preventDefault();
    open_message(link.getAttribute("href"));
  });
  addEventListener("popstate", () => (/\/m\/\d+/.test(location.pathname) && is_wide() ? open_message(location.pathname + location.search, false) : location.reload()));

  // Keys.
  const step = (by) => {
    const lines = all(".lines li");
    const here = lines.findIndex((line) => line.hasAttribute("aria-current"));
    const to = lines[here < 0 ? (by > 0 ? 0 : -1) : here + by];
    if (to) open_message(one("a", to).getAttribute("href"));
  };
  const press = (selector) => {
    const it = one(selector);
    if (it) it.click();
    return Boolean(it);
  };
  const act = (name) => {
    if (chosen().length) return press(`.list .tools button[value="${name}"]`);
    return press(`.message .tools button[value="${name}"]`);
  };
  const folder = (icon) => press(`.folders a[data-icon="${icon}"]`);
  const keys = {
    j: ["Next message", () => step(1)], n: ["Next message", () => step(1)],
    k: ["Previous message", () => step(-1)], p: ["Previous message", () => step(-1)],
    o: ["Open the first message", () => step(1)],
    x: ["Select the message", () => press(".lines li[aria-current] input[name=uid]")],
    u: ["Back to the list", () => press(".message .back")],
    c: ["New message", () => press('.folders [data-key="c"]')],
    r: ["Reply", () => press('.message [data-key="r"]')],
    a: ["Reply to all", () => press('.message [data-key="a"]')],
    f: ["Forward", () => press('.message [data-key="f"]')],
    e: ["Archive", () => act("archive")],
    "#": ["Delete", () => act("delete")],
    "!": ["Junk", () => act("junk")],
    s: ["Flag", () => act("flag") || act("unflag")],
    U: ["Mark unread", () => act("unseen")],
    "/": ["Search", () => one("#q")?.focus()],
    "?": ["These keys", () => help()],
  };
  const places = { i: ["Inbox", "inbox"], s: ["Sent", "sent"], d: ["Drafts", "drafts"], t: ["Trash", "trash"], a: ["Archive", "archive"], j: ["Junk", "junk"] };
  const help = () => {
    let dialog = one("dialog.keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.className = "keys";
      const rows = [...Object.entries(keys).map(([key, [what]]) => [key, what]), ...Object.entries(places).map(([key, [what]]) => [`g ${key}`, `Go to ${what}`])];
      const table = document.createElement("table");
      for (const [key, what] of rows) {
        const row = table.insertRow();
        const kbd = document.createElement("kbd");
        kbd.textContent = key;
        row.insertCell().append(kbd);
        row.insertCell().textContent = what;
      }
      const close = document.createElement("button");
      close.textContent = "Close";
      close.addEventListener("click", () => dialog.close());
      dialog.append(table, close);
      document.body.append(dialog);
    }
    dialog.showModal();
  };
  let go = false;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const was_go = go;
    go = !was_go && event.key === "g";
    const done = was_go ? places[event.key] && folder(places[event.key][1]) : keys[event.key] && keys[event.key][1]();
    if (done !== undefined && done !== false) event.preventDefault();
  });

  // New mail appears by itself.
  const list = one(".list[data-folder]");
  if (list && window.EventSource) {
    const source = new EventSource(`/live?folder=${list.dataset.folder}`);
    let waiting = false;
    const refresh = async () => {
      if (waiting) return;
      waiting = true;
      await new Promise((done) => setTimeout(done, 150));
      waiting = false;
      const here = one("article")?.dataset.uid;
      const address = list.dataset.here || location.href;
      const answer = await fetch(address, { credentials: "same-origin", headers: { "x-fragment": "page" } });
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const ticked = new Set(chosen().map((box) => box.value));
      for (const part of [".lines", ".folders ul", ".range"]) {
        const [old, fresh] = [one(part), one(part, page)];
        if (old && fresh) old.replaceWith(fresh);
      }
      for (const box of boxes()) box.checked = ticked.has(box.value);
      if (here) line_of(here)?.setAttribute("aria-current", "true");
      show_unread();
    };
    source.addEventListener("changed", refresh);
    source.addEventListener("reset", () => location.reload());
  }
  const title = document.title;
  const show_unread = () => {
    const count = one('.folders a[data-icon="inbox"] .count')?.textContent;
    if (!one("article")) document.title = count ? `(${count}) ${title}` : title;
    const icon = one('link[rel="icon"]');
    if (!icon || !count) return;
    const dot = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect x="2" y="6" width="28" height="20" rx="4" fill="#2a5bd7"/><path d="M5 10l11 8 11-8" fill="none" stroke="#fff" stroke-width="2.5"/><circle cx="25" cy="9" r="7" fill="#d22"/></svg>`;
    icon.href = `data:image/svg+xml,${encodeURIComponent(dot)}`;
  };
  show_unread();

  // Writing: saved by itself, files by drop and paste, a last question.
  const form = one("form.compose");
  if (form) {
    const state = () => JSON.stringify(["to", "cc", "bcc", "subject", "text"].map((name) => form.elements[name].value));
    let saved = state();
    const tell = (text) => (one(".saved", form).textContent = text);
    const save = async () => {
      const now = state();
      if (now === saved) return;
      const data = new FormData(form);
      data.delete("file");
      data.set("do", "autosave");
      try {
        const answer = await fetch("/compose", { method: "POST", body: data, credentials: "same-origin" });
        const done = await answer.json();
        if (!answer.ok) return tell(done.error || "Not saved");
        form.elements.draft.value = done.draft;
        saved = now;
        tell(`Saved ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`);
      } catch {
        tell("Not saved: no connection");
      }
    };
    const timer = setInterval(save, 5000);
    let leaving = false;
    form.addEventListener("submit", () => ((leaving = true), clearInterval(timer)));
    addEventListener("beforeunload", (event) => {
      if (!leaving && state() !== saved) event.preventDefault();
    });
    const files = form.elements.file;
    const add = (more) => {
      const transfer = new DataTransfer();
      for (const file of [...files.files, ...more]) transfer.items.add(file);
      files.files = transfer.files;
    };
    form.addEventListener("dragover", (event) => event.preventDefault());
    form.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      add(event.dataTransfer.files);
    });
    form.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) add(event.clipboardData.files);
    });
    const people = one("#people");
    let asked = "";
    form.addEventListener("input", async (event) => {
      if (!["to", "cc", "bcc"].includes(event.target.name)) return;
      const typed = event.target.value.split(/[,;]/).pop().trim();
      if (typed.length < 2 || typed === asked) return;
      asked = typed;
      const answer = await fetch(`/contacts/complete?q=${encodeURIComponent(typed)}`, { credentials: "same-origin" });
      if (!answer.ok || asked !== typed) return;
      const before = event.target.value.slice(0, event.target.value.length - event.target.value.split(/[,;]/).pop().length);
      people.replaceChildren(...(await answer.json()).map((it) => Object.assign(document.createElement("option"), { value: before + (before ? " " : "") + it })));
    });
  }
})();
