// What the pages do beyond plain HTML: times in the reader's own zone, a live timeline, a slider that answers at once.
// Every page works without it.
(() => {
  "use strict";

  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });
  const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

  // Days are grouped in UTC, so a time whose day is another here says so.
  function localise(root) {
    for (const time of root.querySelectorAll("time[data-show]")) {
      const moment = new Date(time.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      time.title = time.dateTime;
      if (time.dataset.show === "full") {
        time.textContent = full.format(moment);
      } else {
        const same = moment.getDate() === moment.getUTCDate() && moment.getMonth() === moment.getUTCMonth();
        time.textContent = (same ? "" : day.format(moment) + ", ") + clock.format(moment);
      }
      delete time.dataset.show;
    }
  }

  // The slider tells where it stands while it moves, and asks when it is let go.
  function slide(root) {
    for (const range of root.querySelectorAll("input[type=range][data-count]")) {
      const told = document.getElementById(range.getAttribute("aria-describedby"));
      const tell = () => {
        const text = `Change ${range.value} of ${range.dataset.count}`;
        range.setAttribute("aria-valuetext", text);
        if (told) told.textContent = text;
      };
      range.addEventListener("input", tell);
      range.addEventListener("change", () => range.form.requestSubmit());
      tell();
    }
  }

  // A filter that is empty has no place in the address.
  function tidy(root) {
    for (const form of root.querySelectorAll("form[data-tidy]")) {
      form.addEventListener("formdata", (event) => {
        for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
      });
    }
  }

  // What the reader had opened stays open when the timeline is replaced.
  let opened = [];
  document.addEventListener("htmx:beforeSwap", () => {
    opened = [...document.querySelectorAll("#timeline details[open][id]")].map((details) => details.id);
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    prepare(document.getElementById("results") ?? document);
  });
  // An answer that says what is wrong with a filter is shown as well.
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.pathInfo?.finalRequestPath) location.assign(event.detail.pathInfo.finalRequestPath);
  });

  // The live timeline: each change that is heard of is fetched with what is filtered by, told and marked.
  let source = null;
  let wanted = 0;
  let fetching = false;
  function say(text) {
    const status = document.getElementById("live-status");
    if (status) status.textContent = text;
  }
  async function fetchNews() {
    if (fetching) return;
    fetching = true;
    try {
      while (wanted) {
        const position = wanted;
        wanted = 0;
        const address = new URL(location.href);
        address.searchParams.set("min_position", position);
        await htmx.ajax("GET", address.pathname + address.search, { target: "#results", select: "#results", swap: "outerHTML" });
        say("A change was recorded just now");
      }
    } finally {
      fetching = false;
    }
  }
  function live(on) {
    source?.close();
    source = null;
    if (!on) return say("");
    const feed = document.getElementById("live").dataset.feed;
    source = new EventSource(feed);
    source.onopen = () => say("Waiting for changes");
    source.onerror = () => say("Cut off; trying again");
    source.onmessage = (event) => {
      wanted = Number(event.lastEventId);
      fetchNews();
    };
  }
  function offerLive() {
    const button = document.getElementById("live");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      live(on);
    });
  }

  // On a narrow screen the filters are folded; the line above them says which are set.
  function fold() {
    const filters = document.getElementById("filters");
    if (filters && matchMedia("(max-width: 60rem)").matches) filters.open = false;
  }

  window.crmLocalise = localise;

  function prepare(root) {
    localise(root);
    slide(root);
    tidy(root);
  }
  prepare(document);
  offerLive();
  fold();
  addEventListener("pagehide", () => source?.close());
})();
