// Makes the pages instant: what a page can do, it does without this, too.
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  document.documentElement.classList.add("scripted");
  // Who signs in for the first time has the time zone of the browser.
  const zone = one(".login [name=zone]");
  if (zone) return (zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone);
  const get = (href, headers = {}) => fetch(href, { headers, credentials: "same-origin" });
  const parsed = (text) => new DOMParser().parseFromString(text, "text/html");
  const is_wide = () => matchMedia("(min-width: 1001px)").matches;
  const element = (name, properties = {}, ...inside) => {
    const it = Object.assign(document.createElement(name), properties);
    it.append(...inside);
    return it;
  };
  // What the page shows; a step to a place within it is none away from it.
  const address = () => location.pathname + location.search;
  let here = address();
  const note_address = (href, how = "pushState") => {
    history[how]({}, "", href);
    here = address();
  };

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
      if (push) note_address(href);
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
    if (push) note_address(href);
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
    const link = event.target.closest(".lines a, .steps a, .folders li a, .pages a, .filter a, .also a, .message .back");
    if (!link) return;
    const href = link.getAttribute("href");
    if (!href.startsWith("/f/")) return;
    event.preventDefault();
    if (/\/m\/\d+/.test(href)) open_message(href);
    else visit(href);
  });
  addEventListener("popstate", () => {
    const href = address();
    if (href === here) return;
    here = href;
    if (!one(".list") || !href.startsWith("/f/")) return location.reload();
    if (/\/m\/\d+/.test(href)) open_message(href, false);
    else visit(href, false);
  });

  // What is done with messages: the list comes back without them, and the next one opens where one was being read.
  const is_for_good = (what) => what.value === "empty" || what.textContent === "Delete for good";
  const done = async (form, submitter) => {
    const from_message = Boolean(form.closest("article"));
    const at = all(".lines li").indexOf(line_here());
    const reading = from_message ? address() : null;
    const body = new URLSearchParams(new FormData(form, submitter));
    // It was asked here.
    if (is_for_good(submitter)) body.set("sure", "1");
    const answer = await fetch(form.action, { method: "POST", body, credentials: "same-origin" });
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
      if (document.body.classList.contains("listing")) note_address(list, "replaceState");
      else mark_here();
    } else if (stays) {
      put(page, [".list", ".folders", ".notices"]);
      kept.delete(reading);
      await open_message(reading, false);
    } else {
      const fresh = all(".lines a", page);
      const next = is_wide() && submitter.value !== "unseen" && fresh[Math.min(Math.max(at, 0), fresh.length - 1)];
      put_all(page);
      note_address(list);
      if (next) await open_message(next.getAttribute("href"));
    }
    kept.clear();
  };
  document.addEventListener("submit", (event) => {
    const [form, submitter] = [event.target, event.submitter];
    if (!submitter || !/\/f\/\d+\/act$/.test(form.action)) return;
    if (!one(".list") || submitter.closest(".notice")) return;
    event.preventDefault();
    if (is_for_good(submitter) && !confirm(`${submitter.textContent}? This can't be undone.`)) return;
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
    // Signed out elsewhere: nothing of it stays on the screen.
    if (answer?.redirected) return location.reload();
    if (!answer?.ok || one(".list")?.dataset.here !== list.dataset.here) return;
    const page = parsed(await answer.text());
    if (!one(".list", page)) return;
    const ticked = new Set(chosen().map((box) => box.value));
    const focused = document.activeElement?.closest(".lines li")?.dataset.uid;
    const same_shape = [".empty", ".also"].every((part) => Boolean(one(`.list ${part}`)) === Boolean(one(`.list ${part}`, page)));
    put(page, [...(same_shape ? [".lines", ".range", ".list .empty", ".also"] : [".list"]), ".folders ul", ".quota"]);
    for (const box of boxes()) box.checked = ticked.has(box.value);
    if (focused) one(`.lines li[data-uid="${focused}"] a`)?.focus({ preventScroll: true });
    mark_here();
    show_tools();
    const count = /^\(\d+\) /.exec(page.title)?.[0] ?? "";
    document.title = count + document.title.replace(/^\(\d+\) /, "");
  };
  // Behind a stream that broke off, what came meanwhile is looked for; behind one that is refused, it is tried again.
  let pause = 2000;
  const listen = () => {
    const folder = one(".list")?.dataset.folder;
    if (!folder || !window.EventSource || source?.url.endsWith(`=${folder}`)) return;
    source?.close();
    const stream = new EventSource(`/live?folder=${folder}`);
    let missed = false;
    source = stream;
    const again = (after) => {
      if (source !== stream) return;
      stream.close();
      source = null;
      setTimeout(() => refresh().then(listen), after);
    };
    stream.addEventListener("open", () => {
      pause = 2000;
      if (missed) refresh();
      missed = false;
    });
    stream.addEventListener("error", () => {
      missed = true;
      if (stream.readyState !== EventSource.CLOSED) return;
      again(pause);
      pause = Math.min(pause * 2, 60000);
    });
    stream.addEventListener("changed", refresh);
    stream.addEventListener("reset", () => again(0));
    stream.addEventListener("out", () => location.reload());
  };
  ready();
  listen();

  // Work in slices goes on by itself.
  one("[data-go-on]")?.click();

  // Text with formats: what may be in it, as the server has it.
  const written = /^(A|B|BLOCKQUOTE|BR|CODE|DIV|EM|I|LI|OL|P|PRE|STRONG|U|UL)$/;
  const block = /^(BLOCKQUOTE|DIV|LI|OL|P|PRE|UL)$/;
  const copy = (from, to) => {
    for (const node of from.childNodes) {
      if (node.nodeType === 3) to.append(node.data);
      if (node.nodeType !== 1 || /^(SCRIPT|STYLE|TITLE|TEMPLATE|NOSCRIPT|SELECT|TEXTAREA|IFRAME)$/i.test(node.nodeName)) continue;
      const name = /^(H\d|TR|D[DLT]|TABLE|SECTION|ARTICLE|HEADER|FOOTER)$/.test(node.nodeName) ? "DIV" : node.nodeName;
      const into = written.test(name) ? document.createElement(name) : to;
      const href = node.getAttribute("href");
      if (name === "A" && /^(https?|mailto):/i.test(href)) into.setAttribute("href", href);
      if (name === "BLOCKQUOTE") into.setAttribute("type", "cite");
      if (into !== to) to.append(into);
      copy(node, into);
      if (/^T[DH]$/.test(name)) to.append(" ");
    }
    return to;
  };
  const lines_of = (node) => {
    const lines = [];
    let [open, number] = [false, 0];
    const more = (text) => {
      lines.push((open ? lines.pop() : "") + text);
      open = true;
    };
    for (const it of node.childNodes) {
      const name = it.nodeName;
      if (it.nodeType === 3) {
        let text = node.closest?.("pre") ? it.data : it.data.replace(/[ \n\t]+/g, " ");
        if (!open) text = text.replace(/^ /, "");
        if (text) more(text.replace(/\u00a0/g, " "));
      } else if (name === "BR") {
        if (!open) lines.push("");
        open = false;
      } else if (block.test(name)) {
        open = false;
        if (name === "P" && lines.length) lines.push("");
        const mark = node.nodeName === "OL" ? `${++number}. ` : "- ";
        const leads = { BLOCKQUOTE: (line) => (/^[^>]/.test(line) ? "> " : ">"), LI: (_, at) => (at ? "  " : mark) };
        const lead = leads[name] ?? (() => "");
        lines.push(...lines_of(it).map((line, at) => lead(line, at) + line));
      } else {
        lines_of(it).forEach((line, at) => {
          if (at) open = false;
          more(line);
        });
        const href = it.getAttribute?.("href");
        if (href && !href.includes(it.textContent.trim())) more(` <${href}>`);
      }
    }
    return lines;
  };
  const put_text = (text, into) => {
    const at = [into];
    for (const line of text.replace(/\n$/, "").split("\n")) {
      const [, marks, rest] = /^((?:> ?)*)(.*)$/.exec(line);
      const depth = marks.replace(/ /g, "").length;
      while (at.length - 1 > depth) at.pop();
      while (at.length - 1 < depth) {
        const quote = element("blockquote");
        quote.setAttribute("type", "cite");
        at.at(-1).append(quote);
        at.push(quote);
      }
      // Spaces that HTML would fold.
      at.at(-1).append(element("div", {}, rest.replace(/^ | (?= )| $/g, "\u00a0") || element("br")));
    }
  };
  const size_of = (bytes) => {
    if (bytes < 1000) return `${bytes} bytes`;
    const [unit, of] = bytes < 1e6 ? ["KB", 1e3] : ["MB", 1e6];
    return `${(bytes / of).toFixed(bytes < 10 * of ? 1 : 0)} ${unit}`;
  };

  // Writing: saved by itself, with formats, files with their progress, a last question.
  const form = one("form.compose");
  if (form) {
    const [editor, area, bar] = [one(".rich", form), form.elements.text, one(".format", form)];
    const html = element("input", { type: "hidden", name: "html", disabled: true });
    form.append(html);
    bar.hidden = false;
    const set_form = (rich) => {
      editor.hidden = html.disabled = one('[data-form="plain"]', bar).hidden = one(".marks", bar).hidden = !rich;
      area.hidden = one('[data-form="rich"]', bar).hidden = rich;
    };
    const fill = () => {
      if (!editor.hidden) html.value = copy(editor, element("div")).innerHTML;
    };
    if (editor.dataset.html !== undefined) {
      copy(parsed(editor.dataset.html).body, editor);
      set_form(true);
      if (area.autofocus) editor.focus();
    }
    bar.addEventListener("mousedown", (event) => event.preventDefault());
    const mark = (what) => {
      editor.focus();
      document.execCommand("styleWithCSS", false, false);
      // Chromium would indent with a style, which the policy of the page forbids.
      const at = getSelection().anchorNode;
      if (what === "indent" && !(at.closest ? at : at.parentElement).closest("li")) return document.execCommand("formatBlock", false, "blockquote");
      if (what !== "link") return document.execCommand(what);
      const range = getSelection().rangeCount ? getSelection().getRangeAt(0) : null;
      const typed = prompt("Address of the link", "https://")?.trim();
      if (!typed || typed === "https://") return;
      const href = /^(https?|mailto):/i.test(typed) ? typed : (typed.includes("@") ? "mailto:" : "https://") + typed;
      editor.focus();
      const selected = getSelection();
      if (range?.collapsed !== false) {
        document.execCommand("insertText", false, typed);
        for (const _ of typed) selected.modify("extend", "backward", "character");
      }
      document.execCommand("createLink", false, href);
      selected.collapseToEnd();
    };
    bar.addEventListener("click", (event) => {
      const { mark: what, form: kind } = event.target.closest("button")?.dataset ?? {};
      if (what) mark(what);
      if (kind === "rich") {
        editor.replaceChildren();
        put_text(area.value, editor);
        set_form(true);
        editor.focus();
      }
      if (kind === "plain") {
        if (one("a, b, code, em, i, li, pre, strong, u", editor) && !confirm("Plain text has no formats: those of this text are lost.")) return;
        area.value = lines_of(editor).join("\n");
        set_form(false);
        area.focus();
      }
    });
    document.addEventListener("selectionchange", () => {
      if (editor.hidden || !editor.contains(getSelection().anchorNode)) return;
      for (const button of all('[data-mark="bold"], [data-mark="italic"], [data-mark$="List"]', bar)) button.setAttribute("aria-pressed", document.queryCommandState(button.dataset.mark));
    });
    editor.addEventListener("paste", (event) => {
      const [rich, plain] = ["text/html", "text/plain"].map((kind) => event.clipboardData.getData(kind));
      if (event.clipboardData.files.length && !plain) return;
      event.preventDefault();
      if (rich) document.execCommand("insertHTML", false, copy(parsed(rich).body, element("div")).innerHTML);
      else document.execCommand("insertText", false, plain);
    });

    // Files: those of the saved draft, and those that were chosen since.
    const [list, input] = [one(".files", form), form.elements.file];
    const warn = (text) => {
      const place = one(".trouble", form);
      place.textContent = text;
      place.hidden = !text;
    };
    let kept = all("[name=keep]", list).map((box) => [box.value, one(".name", box.parentNode).textContent, one(".size", box.parentNode).textContent, Number(box.dataset.bytes)]);
    let picked = [];
    const show_files = () => {
      const line = (place, name, size, remove) => {
        const button = element("button", { type: "button", className: "quiet", textContent: "Remove", ariaLabel: `Remove ${name}` });
        button.addEventListener("click", () => {
          remove();
          warn("");
          show_files();
          input.focus();
        });
        const keep = place ? [element("input", { type: "hidden", name: "keep", value: place })] : [];
        return element("li", {}, element("span", { className: "name", dir: "auto", textContent: name }), element("span", { className: "size", textContent: size }), ...keep, button);
      };
      list.replaceChildren(
        ...kept.map((it) => line(it[0], it[1], it[2], () => (([kept, saved] = [kept.filter((other) => other !== it), ""])))),
        ...picked.map((it) => line("", it.name, size_of(it.size), () => (picked = picked.filter((other) => other !== it)))),
      );
      const transfer = new DataTransfer();
      for (const file of picked) transfer.items.add(file);
      input.files = transfer.files;
    };
    const add = (files) => {
      warn("");
      for (const file of files) {
        const sum = [...kept.map((it) => it[3]), ...picked.map((it) => it.size)].reduce((a, b) => a + b, file.size);
        if (sum > Number(input.dataset.bytesMax)) warn(`${file.name} (${size_of(file.size)}) does not fit: attachments may have ${input.dataset.limit} together.`);
        else picked.push(file);
      }
      show_files();
    };
    show_files();
    input.addEventListener("change", () => add([...input.files]));
    form.addEventListener("dragover", (event) => event.preventDefault());
    form.addEventListener("drop", (event) => {
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      add([...event.dataTransfer.files]);
    });
    form.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length && !event.clipboardData.getData("text/plain")) add([...event.clipboardData.files]);
    });

    // Saving; with files it takes its time, and shows how far it is.
    const state = () => JSON.stringify([...["from", "to", "cc", "bcc", "subject"].map((name) => form.elements[name].value), editor.hidden || editor.innerHTML, area.value]);
    let saved = state();
    let saving = null;
    const tell = (text) => (one(".saved", form).textContent = text);
    const upload = one(".upload", form);
    const send_draft = (with_files) =>
      new Promise((done) => {
        const [now, sent, files] = [state(), kept, picked];
        fill();
        const data = new FormData(form);
        if (!with_files) data.delete("file");
        data.set("do", "autosave");
        const request = new XMLHttpRequest();
        request.open("POST", "/compose");
        if (with_files) {
          upload.hidden = false;
          one("button", upload).onclick = () => request.abort();
          request.upload.onprogress = (event) => (one("progress", upload).value = event.lengthComputable ? (100 * event.loaded) / event.total : 0);
        }
        let stopped = false;
        request.onabort = () => (stopped = true);
        request.onloadend = () => {
          upload.hidden = true;
          let said = {};
          try {
            said = JSON.parse(request.responseText);
          } catch {
            // A page that says why.
            said.error = one("main p", parsed(request.responseText))?.textContent;
          }
          if (stopped) return done("The upload was stopped.");
          if (!request.status) return done("Not saved: no connection");
          if (!request.responseURL.endsWith("/compose")) return done("Not saved: you were signed out. Keep a copy of your text.");
          if (request.status !== 200 || !said.draft) return done(said.error || "Not saved");
          form.elements.draft.value = said.draft;
          // What was taken off or chosen meanwhile stays so.
          const stays = said.kept.map((_, at) => at >= sent.length || kept.includes(sent[at]));
          saved = stays.includes(false) ? "" : now;
          kept = said.kept.filter((_, at) => stays[at]);
          if (with_files) picked = picked.filter((it) => !files.includes(it));
          show_files();
          done("");
        };
        request.send(data);
      });
    const save = async (with_files = false) => {
      saving = send_draft(with_files);
      const why = await saving;
      saving = null;
      tell(why || `Saved ${new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`);
      return why;
    };
    setInterval(() => !saving && !leaving && state() !== saved && save(), 5000);
    let leaving = false;
    form.addEventListener("submit", async (event) => {
      const by = event.submitter;
      const goes = picked.length && by?.value !== "discard";
      fill();
      if (!saving && !goes) return (leaving = true);
      event.preventDefault();
      if (!upload.hidden) return;
      warn("");
      await saving;
      const why = goes ? await save(true) : "";
      warn(why);
      if (why) return;
      leaving = true;
      form.requestSubmit(by);
    });
    addEventListener("beforeunload", (event) => {
      if (!leaving && (picked.length || state() !== saved)) event.preventDefault();
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      if (event.ctrlKey || event.metaKey) form.requestSubmit(one('[value="send"]', form));
      else if (event.target.matches("input[type=text]")) event.preventDefault();
    });
    const offer = one("[data-mailto]", form);
    offer.hidden = !navigator.registerProtocolHandler;
    offer.addEventListener("click", () => navigator.registerProtocolHandler("mailto", `${location.origin}/compose?mailto=%s`));
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
      people.replaceChildren(...(await answer.json()).map((it) => element("option", { value: before + (before ? " " : "") + it })));
    });
  }
})();
