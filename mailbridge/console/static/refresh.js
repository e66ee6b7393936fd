// Asks every few seconds for the part of the page that changes. Without this script the page works as well; it only stays as it is.
"use strict";
(() => {
  const part = document.querySelector("[data-part]");
  if (!part) return;
  let tag = "";
  const ask = async () => {
    if (document.hidden) return;
    let answer;
    try {
      answer = await fetch(part.dataset.part, { headers: tag ? { "If-None-Match": tag } : {}, redirect: "manual", cache: "no-store" });
    } catch {
      return;
    }
    if (answer.status === 401 || answer.status === 403 || answer.status === 404) {
      clearInterval(timer);
      location.reload();
      return;
    }
    if (answer.status !== 200) return;
    const html = await answer.text();
    const first = tag === "";
    tag = answer.headers.get("ETag") || "";
    // What a person reads, marks or has the focus in is not taken away.
    const selection = getSelection();
    if (selection && !selection.isCollapsed && part.contains(selection.anchorNode)) {
      tag = "";
      return;
    }
    if (first && html.trim() === part.innerHTML.trim()) return;
    const focused = document.activeElement;
    const place = part.contains(focused) ? focused.getAttribute("href") || focused.id : "";
    part.innerHTML = html;
    if (place) {
      const again = [...part.querySelectorAll("a[href], [id]")].find((one) => one.getAttribute("href") === place || one.id === place);
      if (again) again.focus({ preventScroll: true });
    }
  };
  const timer = setInterval(ask, 5000);
  document.addEventListener("visibilitychange", ask);
})();
