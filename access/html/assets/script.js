// Makes the pages instant: what a page can do, it does without this, too.
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  document.documentElement.classList.add("scripted");
  const get = (href, headers = {}) => fetch(href, { headers, credentials: "same-origin" });
  const parsed = (text) => new DOMParser().parseFromString(text, "text/html");
  const is_wide = () => matchMedia("(min-width: 1001px)").matches;

  // What only works with this script.
  const ready = () => {
    for (const hidden of all("[data-all], [data-print]")) (hidden.closest("label") ?? hidden).hidden = false;
    for (const line of all(".lines li")) line.draggable = true;
  };

  // Parts of another page take the place of ours.
  const put = (page, parts) => {
    for (const part of parts) {
      const [old, fresh] = [one(part), one(part, page)];
      if (old && fresh) old.replaceWith(document.adoptNode(fresh));
    }
    one('link[rel="icon"]').href = one('link[rel="icon"]', page).href;
    ready();
  };
  const put_all = (page) => {
    put(page, [".panes", ".search"]);
    document.body.className = page.body.className;
    document.title = page.title;
    listen();
  };
  const visit = async (href, push = true) => {
    try {
      const answer = await get(href);
      const page = parsed(await answer.text());
      if (!answer.ok || !one(".list", page)) throw answer.status;
      put_all(page);
      if (push) history.pushState({}, "", href);
      scrollTo(0, 0);
    } catch {
      location.href = href;
    }
  };

  // The list: which lines are chosen, ranges with shift, all of them.
  let last = null;
  const boxes = () => all(".lines input[name=uids]");
  const chosen = () => boxes().filter((box) => box.checked);
  const show_tools = () => {
    const [tools, some] = [one(".list .tools"), chosen().length];
    if (!tools) return;
    tools.classList.toggle("some", some > 0);
    const every = one("[data-all]");
    every.checked = some > 0 && some === boxes().length;
    every.indeterminate = some > 0 && !every.checked;
    const range = one(".range", tools);
    range.dataset.text ??= range.textContent;
    range.textContent = some ? `${some} selected` : range.dataset.text;
  };
  document.addEventListener("click", (event) => {
    const box = event.target.closest(".lines input[name=uids]");
    if (!box) return;
    const list = boxes();
    if (event.shiftKey && last && list.includes(last)) {
      const [from, to] = [list.indexOf(last), list.indexOf(box)].sort((a, b) => a - b);
      for (const between of list.slice(from, to + 1)) between.checked = box.checked;
    }
    last = box;
    show_tools();
  });
  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-all]")) return;
    for (const box of boxes()) box.checked = event.target.checked;
    show_tools();
  });

  // A message opens in its pane; the rest of the page stays. The next one is fetched ahead, without being marked.
  const kept = new Map();
  const fetch_message = (href, how) => {
    if (!kept.has(href)) {
      if (kept.size > 20) kept.delete(kept.keys().next().value);
      const answer = get(href, { "x-fragment": how }).then((it) => (it.ok && !it.redirected ? it.text() : Promise.reject(it.status)));
      kept.set(href, { answer, how });
      answer.catch(() => kept.delete(href));
    }
    return kept.get(href);
  };
  const post = (path, fields) => {
    const body = new URLSearchParams({ token: one("input[name=token]").value, ...fields });
    return fetch(path, { method: "POST", body, credentials: "same-origin", redirect: "manual" });
  };
  const own_uids = () => one("article input[name=uids]")?.value ?? "";
  // A conversation is listed as its newest message.
  const line_here = () => {
    const newest = own_uids().split(/[:,]/).pop();
    return newest ? one(`.lines li[data-uid="${newest}"]`) : null;
  };
  const mark_here = () => {
    for (const line of all(".lines li[aria-current]")) line.removeAttribute("aria-current");
    const line = line_here();
    line?.setAttribute("aria-current", "true");
    return line;
  };
  const open_message = async (href, push = true) => {
    const pane = one(".message");
    if (!pane) return void (location.href = href);
    const { answer, how } = fetch_message(href, "message");
    try {
      pane.innerHTML = await answer;
    } catch {
      return void (location.href = href);
    }
    kept.delete(href);
    pane.classList.remove("none");
    pane.id = "main";
    pane.setAttribute("role", "main");
    for (const name of ["id", "role"]) one(".list").removeAttribute(name);
    document.body.classList.replace("listing", "reading");
    if (push) history.pushState({}, "", href);
    ready();
    const line = mark_here();
    if (line) {
      if (how === "peek" && line.classList.contains("unread")) post(`/f/${one("article").dataset.folder}/act`, { do: "seen", uids: own_uids() });
      line.classList.remove("unread");
      one(".dot", line)?.remove();
      if (is_wide()) line.scrollIntoView({ block: "nearest" });
      const next = line.nextElementSibling && one("a", line.nextElementSibling);
      if (next) fetch_message(next.getAttribute("href"), "peek").answer.catch(() => {});
    }
    const count = /^\(\d+\) /.exec(document.title)?.[0] ?? "";
    document.title = `${count}${one("#subject", pane).textContent.trim()} · Hikyaku`;
    pane.scrollTop = 0;
    if (!is_wide()) scrollTo(0, 0);
    pane.tabIndex = -1;
    pane.focus({ preventScroll: true });
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-print]")) print();
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || !one(".list")) return;
    const link = event.target.closest(".lines a, .steps a, .folders li a, .pages a, .filter a, .message .back");
    if (!link) return;
    const href = link.getAttribute("href");
    if (!href.startsWith("/f/")) return;
    event.preventDefault();
    if (/\/m\/\d+/.test(href)) open_message(href);
    else visit(href);
  });
  addEventListener("popstate", () => {
    const href = location.pathname + location.search;
    if (!one(".list") || !href.startsWith("/f/")) return location.reload();
    if (/\/m\/\d+/.test(href)) open_message(href, false);
    else visit(href, false);
  });

  // What is done with messages: the list comes back without them, and the next one opens where one was being read.
  const sure = (what) => !["empty"].includes(what.value) && what.textContent !== "Delete for good" ? true : confirm(`${what.textContent}? This can't be undone.`);
  const done = async (form, submitter) => {
    const from_message = Boolean(form.closest("article"));
    const at = all(".lines li").indexOf(line_here());
    const reading = from_message ? location.pathname + location.search : null;
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form, submitter)), credentials: "same-origin" });
    const page = parsed(await answer.text());
    if (!answer.ok || !one(".list", page)) {
      document.body.replaceChildren(...page.body.childNodes);
      document.body.className = page.body.className;
      return;
    }
    const stays = ["flag", "unflag", "copy"].includes(submitter.value);
    const list = one(".list", page).dataset.here;
    if (!from_message) {
      put(page, [".list", ".folders", ".notices"]);
      if (document.body.classList.contains("listing")) history.replaceState({}, "", list);
      else mark_here();
    } else if (stays) {
      put(page, [".list", ".folders", ".notices"]);
      kept.delete(reading);
      await open_message(reading, false);
    } else {
      const fresh = all(".lines a", page);
      const next = is_wide() && submitter.value !== "unseen" && fresh[Math.min(Math.max(at, 0), fresh.length - 1)];
      put_all(page);
      history.pushState({}, "", list);
      if (next) await open_message(next.getAttribute("href"));
    }
    kept.clear();
  };
  document.addEventListener("submit", (event) => {
    const [form, submitter] = [event.target, event.submitter];
    if (!submitter || !/\/f\/\d+\/act$/.test(form.action)) return;
    if (!sure(submitter)) return event.preventDefault();
    if (!one(".list") || submitter.closest(".notice")) return;
    event.preventDefault();
    done(form, submitter).catch(() => location.reload());
  });

  // Messages are dragged onto folders.
  document.addEventListener("dragstart", (event) => {
    const line = event.target.closest?.(".lines li");
    if (!line) return;
    const box = one("input[name=uids]", line);
    if (!box.checked) for (const other of boxes()) other.checked = other === box;
    show_tools();
    event.dataTransfer.setData("application/x-messages", "1");
    event.dataTransfer.effectAllowed = "move";
  });
  const target_of = (event) => event.dataTransfer.types.includes("application/x-messages") && event.target.closest?.(".folders li a[data-folder]:not([aria-current])");
  document.addEventListener("dragover", (event) => target_of(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    const folder = target_of(event);
    if (!folder) return;
    event.preventDefault();
    one("#to").value = folder.dataset.folder;
    one('.list .tools button[value="move"]').click();
  });

  // Keys.
  const step = (by) => {
    const lines = all(".lines li");
    const focused = document.activeElement?.closest(".lines li");
    const reading = document.body.classList.contains("reading");
    const here = lines.indexOf(reading ? line_here() : focused);
    const to = lines[here < 0 ? (by > 0 ? 0 : lines.length - 1) : here + by];
    if (!to) return false;
    if (reading) open_message(one("a", to).getAttribute("href"));
    else one("a", to).focus();
  };
  // Within a conversation, and on to the next one when there is none.
  const letter = (by) => {
    const letters = all("article .letter");
    if (letters.length < 2) return step(by);
    const focused = letters.indexOf(document.activeElement?.closest(".letter"));
    const to = letters[(focused < 0 ? letters.findIndex((it) => it.classList.contains("main")) : focused) + by];
    if (!to) return step(by);
    if ("open" in to) to.open = true;
    const target = one("summary", to) ?? to;
    if (target === to) to.tabIndex = -1;
    target.focus();
  };
  const press = (selector) => {
    const it = one(selector);
    if (it) it.click();
    return Boolean(it);
  };
  const act = (name) => press(`${chosen().length || !one("article") ? ".list" : ".message"} .tools button[value="${name}"]`);
  const pick = () => {
    const line = document.activeElement?.closest(".lines li") ?? one(".lines li[aria-current]");
    if (line) one("input[name=uids]", line).click();
    return Boolean(line);
  };
  const keys = {
    j: ["Next message", () => step(1)],
    k: ["Previous message", () => step(-1)],
    n: ["Next of the conversation", () => letter(1)],
    p: ["Previous of the conversation", () => letter(-1)],
    o: ["Open the message", () => press(".lines li:focus-within a") || press(".lines li:first-child a")],
    x: ["Select the message", pick],
    u: ["Back to the list", () => press(".message .back")],
    c: ["New message", () => press('.folders [data-key="c"]')],
    r: ["Reply", () => press('.message [data-key="r"]')],
    a: ["Reply to all", () => press('.message [data-key="a"]')],
    f: ["Forward", () => press('.message [data-key="f"]')],
    e: ["Archive", () => act("archive")],
    "#": ["Delete", () => act("delete")],
    "!": ["Junk", () => act("junk")],
    s: ["Flag, or take the flag away", () => (one("article") && !chosen().length ? press('.message .tools button[value$="flag"]') : act("flag"))],
    U: ["Mark unread", () => act("unseen")],
    z: ["Undo", () => press('.notice [data-key="z"]')],
    "/": ["Search", () => one("#q")?.focus()],
    "?": ["These keys", () => help()],
  };
  const places = { i: ["Inbox", "inbox"], s: ["Sent", "sent"], d: ["Drafts", "drafts"], t: ["Trash", "trash"], a: ["Archive", "archive"], j: ["Junk", "junk"] };
  const help = () => {
    let dialog = one("dialog.keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.className = "keys";
      dialog.setAttribute("aria-labelledby", "keys");
      const title = Object.assign(document.createElement("h2"), { id: "keys", textContent: "Keys" });
      const list = document.createElement("ul");
      for (const [key, what] of [...Object.entries(keys).map(([key, [what]]) => [key, what]), ...Object.entries(places).map(([key, [what]]) => [`g ${key}`, `Go to ${what}`])]) {
        const row = document.createElement("li");
        row.append(Object.assign(document.createElement("kbd"), { textContent: key }), what);
        list.append(row);
      }
      const close = Object.assign(document.createElement("button"), { textContent: "Close" });
      close.addEventListener("click", () => dialog.close());
      dialog.append(title, list, close);
      document.body.append(dialog);
    }
    dialog.showModal();
  };
  let go = false;
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const menu of all("details.menu[open]")) ((menu.open = false), one("summary", menu).focus());
    if (event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]") || event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const was_go = go;
    go = !was_go && event.key === "g";
    const done = was_go ? places[event.key] && press(`.folders a[data-icon="${places[event.key][1]}"]`) : keys[event.key]?.[1]();
    if ((was_go ? places : keys)[event.key] && done !== false) event.preventDefault();
  });

  // New mail appears by itself.
  let source = null;
  let waiting = false;
  const refresh = async () => {
    if (waiting) return;
    waiting = true;
    await new Promise((done) => setTimeout(done, 150));
    waiting = false;
    const list = one(".list");
    if (!list) return;
    const answer = await get(list.dataset.here).catch(() => null);
    if (!answer?.ok || answer.redirected || one(".list")?.dataset.here !== list.dataset.here) return;
    const page = parsed(await answer.text());
    if (!one(".list", page)) return;
    const ticked = new Set(chosen().map((box) => box.value));
    const focused = document.activeElement?.closest(".lines li")?.dataset.uid;
    const same_shape = Boolean(one(".list .empty")) === Boolean(one(".list .empty", page));
    put(page, [...(same_shape ? [".lines", ".range", ".list .empty"] : [".list"]), ".folders ul", ".quota"]);
    for (const box of boxes()) box.checked = ticked.has(box.value);
    if (focused) one(`.lines li[data-uid="${focused}"] a`)?.focus({ preventScroll: true });
    mark_here();
    show_tools();
    const count = /^\(\d+\) /.exec(page.title)?.[0] ?? "";
    document.title = count + document.title.replace(/^\(\d+\) /, "");
  };
  const listen = () => {
    const folder = one(".list")?.dataset.folder;
    if (!folder || !window.EventSource || source?.url.endsWith(`=${folder}`)) return;
    source?.close();
    source = new EventSource(`/live?folder=${folder}`);
    source.addEventListener("changed", refresh);
    source.addEventListener("reset", () => {
      source.close();
      source = null;
      refresh().then(listen);
    });
  };
  ready();
  listen();

  // Work in slices goes on by itself.
  one("[data-go-on]")?.click();

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
