// What pages do besides being read. Without it everything works, but nothing moves by itself.
(() => {
  "use strict";

  // The search, by Ctrl-K or a slash.
  document.addEventListener("keydown", (event) => {
    const find = document.getElementById("find");
    if (!find) return;
    const typing = event.target.closest && event.target.closest("input, textarea, select");
    const wanted = ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") || (event.key === "/" && !typing);
    if (wanted) {
      event.preventDefault();
      find.focus();
      find.select();
    }
  });

  // On a phone the menu is closed until it is asked for.
  const menu = document.querySelector(".menu");
  const narrow = window.matchMedia("(max-width: 52rem)");
  const fold = () => { if (menu) menu.open = !narrow.matches; };
  fold();
  narrow.addEventListener("change", fold);

  // A form is sent once.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    window.setTimeout(() => delete form.dataset.sent, 5000);
  });

  // Boards: told by the server, and only while somebody can see them.
  const live = document.querySelector("[data-live]");
  if (!live || !window.EventSource) return;
  const state = document.querySelector("[data-live-state]");
  const say = (text) => { if (state) state.textContent = text; };
  const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  const counted = (number) => (number >= 10000 ? "10\u202f000+" : grouped(number));
  const lasted = (seconds) => {
    if (seconds === null) return "–";
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  };
  const show = (pulse) => {
    for (const queue of pulse.queues) {
      for (const row of document.querySelectorAll("[data-queue]")) {
        if (row.dataset.queue !== queue.name) continue;
        const set = (name, text) => row.querySelectorAll(`[data-is="${name}"]`).forEach((cell) => {
          if (cell.textContent !== text) cell.textContent = text;
        });
        const hide = (name, hidden) => row.querySelectorAll(`[data-is="${name}"]`).forEach((cell) => { cell.hidden = hidden; });
        for (const name of ["ready", "delayed", "active", "dead"]) set(name, counted(queue[name]));
        set("oldest", lasted(queue.oldestReadySeconds));
        set("workers", String(queue.workers));
        hide("paused", !queue.paused);
        hide("nobody", queue.workers > 0);
      }
    }
    return `${pulse.at.slice(11, 19)} UTC.`;
  };
  let source = null;
  let timer = null;
  const stop = (text) => {
    if (source) source.close();
    source = null;
    window.clearTimeout(timer);
    say(text);
  };
  // Something between may gather the stream and pass on nothing: then the page asks by itself.
  const FIRST_NEWS_MS = 4000;
  const ASK_EVERY_MS = 5000;
  const ask = async () => {
    let text = "Not live: the service does not answer; asked again every 5 s.";
    try {
      const answer = await fetch(`${live.dataset.from}?once=yes`, { cache: "no-store" });
      if (answer.status === 401 || answer.status === 403) return stop("Not live: sign in again.");
      if (answer.ok) text = `Not live: something between holds the stream back; asked every 5 s. ${show(await answer.json())}`;
    } catch { /* Away: said above. */ }
    if (source || document.visibilityState !== "visible") return;
    say(text);
    timer = window.setTimeout(ask, ASK_EVERY_MS);
  };
  const start = () => {
    if (source) return;
    window.clearTimeout(timer);
    source = new EventSource(live.dataset.from);
    timer = window.setTimeout(() => { stop("Not live: no news so far; asking…"); ask(); }, FIRST_NEWS_MS);
    source.addEventListener("queues", (event) => {
      window.clearTimeout(timer);
      say(`Live: ${show(JSON.parse(event.data))}`);
    });
    source.onerror = () => {
      // The browser tries again, but where it was told to go away.
      if (source && source.readyState === EventSource.CLOSED) stop("Not live: reload the page, or sign in again.");
      else say("Not live: trying again…");
    };
  };
  const look = () => (document.visibilityState === "visible" ? start() : stop("Paused while nobody looks."));
  document.addEventListener("visibilitychange", look);
  window.addEventListener("pagehide", () => stop("Paused."));
  window.addEventListener("pageshow", look);
  look();
})();
