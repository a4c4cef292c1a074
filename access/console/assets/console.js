// Shows the parts of a page that change, again and again. Without it every page works as it stands.
'use strict';
(() => {
  const EVERY_MS = 4000;
  const parts = document.querySelectorAll('[data-live]');
  if (!parts.length) return;
  let paused = false;

  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'plain';
  button.textContent = 'Pause updates';
  button.setAttribute('aria-pressed', 'false');
  button.addEventListener('click', () => {
    paused = !paused;
    button.setAttribute('aria-pressed', String(paused));
  });
  document.querySelector('.top .out').before(button);

  // Whoever is about to use something in a part keeps it as it is; so does a selection of text.
  const inUse = (part) => {
    const chosen = getSelection();
    const at = document.activeElement;
    const held = at !== null && part.contains(at) && at.matches('a, button, input, select');
    return held || (!chosen.isCollapsed && part.contains(chosen.anchorNode));
  };

  const refresh = async () => {
    const reply = await fetch(location.href, { headers: { 'x-refresh': '1' }, redirect: 'manual' });
    // Signed out: the next click says so.
    if (!reply.ok) throw new Error(String(reply.status));
    const fresh = new DOMParser().parseFromString(await reply.text(), 'text/html');
    for (const old of document.querySelectorAll('[data-live]')) {
      const next = fresh.getElementById(old.id);
      if (!next || inUse(old) || next.innerHTML === old.innerHTML) continue;
      const scrolled = [...old.querySelectorAll('.scroll')].map((it) => it.scrollLeft);
      old.className = next.className;
      old.replaceChildren(...next.childNodes);
      old.querySelectorAll('.scroll').forEach((it, at) => { it.scrollLeft = scrolled[at] ?? 0; });
    }
  };

  let failed = 0;
  const look = async () => {
    if (!paused && !document.hidden) {
      try {
        await refresh();
        failed = 0;
      } catch {
        failed += 1;
      }
      document.body.classList.toggle('stale', failed > 1);
    }
    // A node that does not answer is asked more and more rarely.
    setTimeout(look, EVERY_MS * Math.min(1 + failed, 15));
  };
  setTimeout(look, EVERY_MS);
})();
