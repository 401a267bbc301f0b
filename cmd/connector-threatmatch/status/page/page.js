// Keeps the page up to date. The connector draws it; this puts what is new in the place of what was there and touches nothing else, so
// that focus, selection, what is scrolled and what is unfolded stay.
"use strict";
(() => {
  const live = document.getElementById("live");
  const pause = document.getElementById("pause");
  const patience = 30_000; // the connector says something every ten seconds
  let source, watch, again, paused = false;

  const keyOf = node => node.nodeType === Node.ELEMENT_NODE ? node.dataset.key : undefined;

  function update(old, now) {
    if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) return old.replaceWith(now);
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== now.data) old.data = now.data;
      return;
    }
    if ("keep" in old.dataset) return;
    for (const { name } of [...old.attributes]) {
      if (!now.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
    }
    for (const { name, value } of now.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    updateChildren(old, now);
  }

  // What has a key is the same as what had it before. Lists grow at their begin and shrink at their end, so that what stands in the
  // way of the same is new.
  function updateChildren(old, now) {
    let at = old.firstChild;
    for (const child of [...now.childNodes]) {
      if (!at || keyOf(at) !== keyOf(child)) {
        old.insertBefore(child, at);
        continue;
      }
      const same = at;
      at = at.nextSibling;
      update(same, child);
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  function show(html) {
    const drawn = document.createElement("template");
    drawn.innerHTML = html;
    const now = drawn.content.firstElementChild;
    if (now.dataset.build !== live.dataset.build) return location.reload();
    update(live, now);
    document.title = live.dataset.title;
  }

  function lost() {
    if (live.classList.contains("lost")) return;
    live.classList.add("lost");
    const since = document.querySelector(".asof time").textContent;
    const says = `This page is not updated any more: the connector does not answer, or too many have the page open. It shows what was at ${since}. It tries again by itself.`;
    for (const id of ["says", "state-read-out"]) document.getElementById(id).textContent = says;
    document.title = "Not updated · " + document.querySelector("h1").textContent;
  }

  function listen() {
    stop();
    if (paused || document.hidden) return;
    source = new EventSource("api/events");
    source.onmessage = event => {
      wait();
      show(event.data);
    };
    source.onerror = () => {
      lost();
      if (source.readyState === EventSource.CLOSED) again = setTimeout(listen, 5_000);
    };
    wait();
  }

  // A connection can be gone without a word.
  function wait() {
    clearTimeout(watch);
    watch = setTimeout(() => {
      lost();
      listen();
    }, patience);
  }

  function stop() {
    clearTimeout(watch);
    clearTimeout(again);
    if (source) source.close();
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    listen();
  });
  document.addEventListener("visibilitychange", listen);
  listen();
})();
