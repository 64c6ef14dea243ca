// Looks again while the operation is live, less and less often while nothing happens, and not at all once it is over or
// nobody looks at the page.
"use strict";

const SOONEST = 700;
const LATEST = 15000;
let pause = SOONEST;

function shown() {
  return document.getElementById("operation");
}

function replaceBy(fresh) {
  const old = shown();
  for (const opened of old.querySelectorAll("details[open]")) {
    const same = fresh.querySelector("#" + CSS.escape(opened.id));
    if (same) same.open = true;
  }
  const scrolled = old.querySelector(".scroll").scrollLeft;
  pause = fresh.dataset.version === old.dataset.version ? Math.min(LATEST, pause * 1.3) : SOONEST;
  old.replaceWith(fresh);
  fresh.querySelector(".scroll").scrollLeft = scrolled;
}

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    replaceBy(new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("operation"));
  } catch {
    pause = Math.min(LATEST, pause * 2);
  }
  later();
}

function later() {
  if (shown().dataset.live !== "true") return;
  setTimeout(() => (document.hidden ? document.addEventListener("visibilitychange", look, { once: true }) : look()), pause);
}

later();
