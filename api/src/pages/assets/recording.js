// Plays a recording along its transcript, sends what a person decides, and shows what becomes of the recording meanwhile.
(() => {
  "use strict";

  const audio = document.getElementById("audio");
  if (!audio) return;
  const part = () => document.getElementById("recording");
  const lines = () => [...document.querySelectorAll("#transcript > li[data-start]")];
  const now = () => 1000 * audio.currentTime;

  // --- Playing ---------------------------------------------------------------------------------------------------------

  // A browser's own recordings do not say how long they are, and without that nobody can go anywhere in them: the end has to
  // be looked for.
  audio.addEventListener("loadedmetadata", () => {
    if (audio.duration !== Infinity) return;
    const back = () => {
      audio.removeEventListener("durationchange", back);
      audio.currentTime = 0;
    };
    audio.addEventListener("durationchange", back);
    audio.currentTime = Number.MAX_SAFE_INTEGER;
  });

  function seek(milliseconds) {
    audio.currentTime = milliseconds / 1000;
    audio.play().catch(() => {});
  }

  const isFollowed = () => document.getElementById("follow")?.getAttribute("aria-pressed") === "true";
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  function follow() {
    const time = now();
    const current = lines().findLast((line) => Number(line.dataset.start) <= time);
    const is = current && time < Number(current.dataset.end) ? current : null;
    const was = document.querySelector("#transcript > [aria-current]");
    if (is === was) return;
    was?.removeAttribute("aria-current");
    is?.setAttribute("aria-current", "true");
    if (is && isFollowed() && !document.querySelector("#transcript form")) {
      is.scrollIntoView({ block: "center", behavior: calm.matches ? "instant" : "smooth" });
    }
  }

  async function lament() {
    const answer = await fetch(audio.currentSrc || audio.src, { headers: { Range: "bytes=0-0" } }).catch(() => null);
    const told = answer && !answer.ok ? await answer.json().catch(() => null) : null;
    if (typeof told?.detail === "string") say(told.detail);
    else say(answer?.ok ? "This browser cannot play the recording." : "crm does not answer, so the recording cannot be played at the moment.");
  }
  audio.addEventListener("error", lament);
  // It may have failed before there was anybody to hear of it.
  if (audio.error) lament();

  audio.addEventListener("timeupdate", follow);
  audio.addEventListener("seeked", follow);

  // --- Sending ---------------------------------------------------------------------------------------------------------

  function say(text) {
    const said = document.getElementById("said");
    said.hidden = !text;
    const line = document.createElement("p");
    line.textContent = text;
    said.replaceChildren(line);
  }

  async function send(method, address, body) {
    const headers = { "Content-Type": "application/json" };
    if (crypto.randomUUID) headers["Idempotency-Key"] = crypto.randomUUID();
    try {
      const answer = await fetch(address, { method, headers, body: body && JSON.stringify(body) });
      if (answer.ok) {
        say("");
        return true;
      }
      const { detail } = await answer.json();
      say(Array.isArray(detail) ? detail.map((fault) => fault.msg).join(". ") : detail);
    } catch (error) {
      say(`crm does not answer (${error.message}), so nobody knows whether this was done. Reload the page to see, and try again if not.`);
    }
    return false;
  }

  // The fields of a form that say something, numbers as numbers, and null for those that did and were emptied.
  function said(form) {
    const fields = {};
    for (const [name, value] of new FormData(form)) {
      if (value !== "") fields[name] = form.elements[name].hasAttribute("data-number") ? Number(value) : value;
      else if (form.elements[name].defaultValue) fields[name] = null;
    }
    return fields;
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.send) return;
    event.preventDefault();
    if (form.dataset.confirm && !confirm(form.dataset.confirm)) return;
    const fields = said(form);
    const query = "query" in form.dataset ? `?${new URLSearchParams(fields)}` : "";
    const body = query || !Object.keys(fields).length ? undefined : fields;
    for (const button of form.querySelectorAll("button")) button.disabled = true;
    const done = await send(form.dataset.method ?? "POST", form.dataset.send + query, body);
    for (const button of form.querySelectorAll("button")) button.disabled = false;
    if (done && form.dataset.then) location.assign(form.dataset.then);
    else if (done) await refresh();
  });

  // --- Correcting ------------------------------------------------------------------------------------------------------

  function edit(line) {
    const text = line.querySelector("p");
    const form = document.getElementById("editor").content.cloneNode(true).firstElementChild;
    const field = form.elements.text;
    // Where nothing was understood the paragraph says why; that is no text to begin with.
    field.value = "empty" in line.dataset ? "" : text.textContent;
    const hidden = [text, line.querySelector("[data-edit]")];
    for (const element of hidden) element.hidden = true;
    const close = () => {
      form.remove();
      for (const element of hidden) element.hidden = false;
      hidden[1].focus();
      if (isStale) refresh();
    };
    // What the line says on the server: somebody else may have corrected it while it was edited here.
    const current = async () => {
      const answer = await fetch(`${part().dataset.address}/transcript`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.statusText);
      const { segments } = await answer.json();
      return segments.find((segment) => Math.round(1000 * segment.start) === Number(line.dataset.start))?.text ?? "";
    };
    let seen = field.value;
    const save = async (text) => {
      // Whoever cannot be asked will not take the correction either, and say why.
      const there = await current().catch(() => seen);
      if (!form.isConnected) return;
      if (there.trim() !== seen.trim()) {
        seen = there;
        say(`Somebody has changed this line meanwhile. It says now: “${there}”. Save again to replace that.`);
        return;
      }
      const segment = { start: line.dataset.start / 1000, end: line.dataset.end / 1000, text };
      if (!(await send("PATCH", `${part().dataset.address}/transcript`, { segments: [segment] }))) return;
      form.remove();
      await refresh();
      document.querySelector(`#transcript > li[data-start="${line.dataset.start}"] [data-edit]`)?.focus();
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      save(field.value);
    });
    form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save(field.value);
    });
    form.querySelector("[data-cancel]").addEventListener("click", close);
    const heard = form.querySelector("[data-heard]");
    heard.hidden = !("corrected" in line.dataset);
    heard.addEventListener("click", () => save(null));
    line.append(form);
    field.focus();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.dataset.seek) return seek(Number(button.dataset.seek));
    if (button && "edit" in button.dataset) return edit(button.closest("li"));
    if (button?.id === "follow") {
      return button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    }
    const line = event.target.closest("#transcript > li[data-start] > p");
    if (line && !getSelection().toString()) seek(Number(line.parentElement.dataset.start));
  });

  // --- What becomes of it meanwhile ------------------------------------------------------------------------------------

  let source = null;
  let isStale = false;

  // Not under the hands of somebody who is writing.
  async function refresh() {
    isStale = document.querySelector("#transcript form") !== null;
    if (isStale) return;
    const pressed = document.getElementById("follow")?.getAttribute("aria-pressed");
    await htmx.ajax("GET", location.pathname, { target: "#recording", select: "#recording", swap: "outerHTML" });
    if (pressed) document.getElementById("follow")?.setAttribute("aria-pressed", pressed);
    follow();
    watch();
  }

  function watch() {
    if (!("underWay" in part().dataset)) {
      source?.close();
      source = null;
      return;
    }
    if (source) return;
    source = new EventSource(part().dataset.address);
    source.addEventListener("recording", (event) => {
      const { state, why, progress } = JSON.parse(event.data);
      const standing = document.getElementById("standing");
      if (state !== standing.dataset.state || why !== (standing.dataset.why ?? null)) {
        standing.dataset.state = state;
        if (why === null) delete standing.dataset.why;
        else standing.dataset.why = why;
        return refresh();
      }
      const bar = document.getElementById("progress");
      if (bar && progress !== null) bar.value = progress;
    });
  }

  watch();
})();
