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
  let isMeasured = false;
  audio.addEventListener("loadedmetadata", () => {
    if (audio.duration !== Infinity) return;
    isMeasured = true;
    const back = () => {
      audio.removeEventListener("durationchange", back);
      audio.addEventListener("seeked", () => (isMeasured = false), { once: true });
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

  // Whoever scrolls or writes looks at something else, until they play, go somewhere or ask to follow.
  let isElsewhere = false;
  const SCROLLING = ["ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End"];
  const leave = () => (isElsewhere = true);
  const come = () => (isElsewhere = isElsewhere && isMeasured);
  addEventListener("wheel", leave, { passive: true });
  addEventListener("touchmove", leave, { passive: true });
  addEventListener("keydown", ({ key, target }) => target !== audio && SCROLLING.includes(key) && leave());
  audio.addEventListener("play", come);
  audio.addEventListener("seeking", come);
  const isWriting = () => document.activeElement?.matches("input, textarea, select") || document.querySelector("#transcript form");

  function follow() {
    if (isMeasured) return;
    const time = now();
    const current = lines().findLast((line) => Number(line.dataset.start) <= time);
    const is = current && time < Number(current.dataset.end) ? current : null;
    const was = document.querySelector("#transcript > [aria-current]");
    if (is === was) return;
    was?.removeAttribute("aria-current");
    is?.setAttribute("aria-current", "true");
    if (is && isFollowed() && !isElsewhere && !isWriting()) {
      is.scrollIntoView({ block: "center", behavior: calm.matches ? "instant" : "smooth" });
    }
  }

  async function lament() {
    const answer = await fetch(audio.currentSrc || audio.src, { headers: { Range: "bytes=0-0" } }).catch(() => null);
    const told = answer && !answer.ok ? await answer.json().catch(() => null) : null;
    if (typeof told?.detail === "string") say(told.detail);
    else if (answer?.ok) say("This browser cannot play the recording.");
    else lack("crm does not answer, so the recording cannot be played at the moment.");
  }
  audio.addEventListener("error", lament);
  // It may have failed before there was anybody to hear of it.
  if (audio.error) lament();

  audio.addEventListener("timeupdate", follow);
  audio.addEventListener("seeked", follow);

  // --- Sending ---------------------------------------------------------------------------------------------------------

  function say(text) {
    const said = document.getElementById("said");
    delete said.dataset.lacking;
    said.hidden = !text;
    const line = document.createElement("p");
    line.textContent = text;
    said.replaceChildren(line);
  }

  // Says what is wrong as long as crm does not answer.
  function lack(text) {
    say(text);
    document.getElementById("said").dataset.lacking = "";
  }
  const isLacking = () => "lacking" in document.getElementById("said").dataset;

  // The answer; null if there is none to go on with.
  async function send(method, address, body) {
    const headers = { "Content-Type": "application/json" };
    if (crypto.randomUUID) headers["Idempotency-Key"] = crypto.randomUUID();
    try {
      const answer = await fetch(address, { method, headers, body: body && JSON.stringify(body) });
      if (answer.ok) {
        say("");
        return await answer.json();
      }
      const { detail } = await answer.json();
      say(Array.isArray(detail) ? detail.map((fault) => fault.msg).join(". ") : detail);
    } catch (error) {
      lack(`crm does not answer (${error.message}), so nobody knows whether this was done. When it does, the page shows that: try again if not.`);
    }
    return null;
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
    if (!done) return;
    // What is not quite done is told where it goes on.
    if (form.dataset.then) return location.assign(form.dataset.then + (done.audio ? `=${done.audio}` : ""));
    // What was written in it is sent.
    form.reset();
    if (form.contains(document.activeElement)) document.activeElement.blur();
    await refresh();
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
    const end = () => {
      form.remove();
      for (const element of hidden) element.hidden = false;
    };
    const close = () => {
      end();
      hidden[1].focus();
      refresh();
    };
    // What the line says on the server: somebody else may have corrected it while it was edited here.
    const current = async () => {
      const answer = await fetch(`${part().dataset.address}/transcript`, { headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(answer.statusText);
      const { segments } = await answer.json();
      return segments.find((segment) => Math.round(1000 * segment.start) === Number(line.dataset.start))?.text ?? "";
    };
    let seen = field.value;
    // Says that the line is another now. Who saves after that knows what is replaced.
    const differs = (there) => {
      if (there.trim() === seen.trim()) return false;
      seen = there;
      tell(form, `Somebody has changed this line meanwhile. It says now: “${there}”. Save to replace that.`);
      return true;
    };
    form.addEventListener("overtaken", ({ detail: fresh }) => {
      if (fresh) differs("empty" in fresh.dataset ? "" : fresh.querySelector("p").textContent);
      else tell(form, "This line is not in the transcript any more. What you have written can only be copied from here.");
    });
    const save = async (text) => {
      // Whoever cannot be asked will not take the correction either, and say why.
      const there = await current().catch(() => seen);
      if (!form.isConnected || differs(there)) return;
      const segment = { start: line.dataset.start / 1000, end: line.dataset.end / 1000, text };
      if (!(await send("PATCH", `${part().dataset.address}/transcript`, { segments: [segment] }))) return;
      end();
      await refresh();
      // Unless the person has gone on meanwhile.
      if (document.activeElement === document.body)
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
      isElsewhere = false;
      return button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    }
    const line = event.target.closest("#transcript > li[data-start] > p");
    if (line && !getSelection().toString()) seek(Number(line.parentElement.dataset.start));
  });

  // --- What becomes of it meanwhile ------------------------------------------------------------------------------------

  // A form in which somebody writes what is not sent yet. One that corrects a line is there for nothing else.
  const isAsItWas = (control) =>
    control.options
      ? control.selectedIndex === Math.max(0, [...control.options].findIndex((option) => option.defaultSelected))
      : control.value === (control.defaultValue ?? control.value);
  // What is half typed, as a day may be, is no value yet.
  const isBusy = (control) =>
    control.validity?.badInput || (control === document.activeElement && control.matches("input, textarea, select"));
  const isWrittenIn = (form) =>
    form.matches("#transcript form") || [...form.elements].some((control) => !isAsItWas(control) || isBusy(control));
  const formsOf = (element) => (element.matches("form") ? [element] : [...element.querySelectorAll("form")]);
  const writtenIn = (element) => formsOf(element).filter(isWrittenIn);

  function tell(form, text) {
    const line = form.querySelector(".meanwhile") ?? document.createElement("p");
    line.className = "meanwhile";
    line.setAttribute("role", "alert");
    line.textContent = text;
    form.prepend(line);
    return line;
  }

  // Says that a form is about what is not so any more. Its own listener, if it has one, has more to say.
  function tellOvertaken(form, fresh) {
    if (form.matches("#transcript form")) return form.dispatchEvent(new CustomEvent("overtaken", { detail: fresh }));
    const line = tell(form, "Somebody has changed this meanwhile; what you write here is kept. ");
    const show = document.createElement("button");
    show.type = "button";
    show.textContent = "Show it as it is now";
    show.addEventListener("click", () => {
      line.remove();
      form.reset();
      refresh();
    });
    line.append(show);
  }

  // What the server has shown last.
  let shown = part().cloneNode(true);

  // A part in which somebody writes stays, and tells if the server shows another one now, or none.
  function stays(part, fresh) {
    const forms = writtenIn(part);
    if (!forms.length) return false;
    const before = shown.querySelector(`#${CSS.escape(part.id)}`);
    if (before && !(fresh && before.isEqualNode(fresh))) for (const form of forms) tellOvertaken(form, fresh);
    return true;
  }

  const isPart = (node) => node instanceof Element && node.hasAttribute("data-part");
  // What the page, or who looks at it, has set.
  const OWN = ["aria-current", "aria-pressed", "disabled", "open"];
  const callbacks = {
    beforeNodeMorphed: (old, fresh) => !(isPart(old) && stays(old, fresh)),
    beforeNodeRemoved: (old) => {
      if (!(old instanceof Element) || !writtenIn(old).length) return true;
      for (const part of isPart(old) ? [old] : old.querySelectorAll("[data-part]")) stays(part, null);
      return false;
    },
    beforeAttributeUpdated: (name) => !OWN.includes(name),
  };

  function become(page) {
    window.crmLocalise(page);
    const fresh = page.getElementById("recording");
    Idiomorph.morph(document.getElementById("lead"), page.getElementById("lead"));
    Idiomorph.morph(part(), fresh, { callbacks });
    document.title = page.title;
    const player = document.getElementById("player");
    if (player.hidden || isLacking()) say("");
    if (audio.error) audio.load();
    player.hidden = false;
    shown = fresh;
    heard = Number(fresh.dataset.position);
    follow();
  }

  // It may come back, with its note.
  function vanish() {
    const player = document.getElementById("player");
    // It is told once, with what was written by then.
    if (player.hidden) return;
    const texts = writtenIn(part()).flatMap((form) => [...form.elements].filter((control) => control.matches("input, textarea")));
    const written = texts.map((control) => control.value.trim()).filter((text) => text);
    audio.pause();
    player.hidden = true;
    part().replaceChildren();
    delete part().dataset.underWay;
    shown = part().cloneNode(true);
    // The name of what was erased is not kept on the screen either.
    const heading = document.createElement("h1");
    heading.textContent = document.title = "A recording that is not there any more";
    document.getElementById("lead").replaceChildren(heading);
    const kept = written.length ? ` What you were writing: “${written.join("”, “")}”` : "";
    say(`This recording is not there any more: it was removed, or its note was deleted or erased.${kept}`);
  }

  const AGAIN = 2000;
  const PATIENCE = 30000;
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  const cutOff = (text) => (document.getElementById("cut-off").textContent = text);

  // The page as it is after this position.
  async function fetched(position) {
    const answer = await fetch(`${location.pathname}?min_position=${position}`, {
      headers: { Accept: "text/html" },
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.headers.has("x-read-model")) throw new Error("it is behind");
    if (answer.status === 404) return null;
    if (!answer.ok) throw new Error(answer.statusText);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  let wanted = null;
  let renewing = null;
  async function renew() {
    while (wanted !== null) {
      const position = wanted;
      wanted = null;
      try {
        const page = await fetched(position);
        if (page) become(page);
        else vanish();
        cutOff("");
      } catch (error) {
        wanted = Math.max(wanted ?? 0, position);
        cutOff(`What is shown here may be old: crm does not tell what is new (${error.message}). Trying again…`);
        await pause(AGAIN);
      }
    }
    watch();
  }

  // Shows what the server shows, at least as it is after this position.
  function refresh(position = 0) {
    wanted = Math.max(wanted ?? 0, position);
    renewing ??= renew().finally(() => (renewing = null));
    return renewing;
  }

  // Everything up to here was heard of.
  let heard = Number(part().dataset.position);
  let changes = null;
  let progress = null;

  // A browser has few connections for all of its pages: those that nobody looks at have none, and go on later from where they
  // were.
  function watch() {
    const isSeen = document.visibilityState === "visible";
    const { feed, address } = part().dataset;
    if (changes && (!isSeen || changes.feed !== feed || changes.source.readyState === EventSource.CLOSED)) {
      changes.source.close();
      changes = null;
    }
    if (isSeen) changes ??= { feed, source: hear(`${feed}&after=${heard}`) };
    if (progress && !(isSeen && "underWay" in part().dataset && progress.readyState !== EventSource.CLOSED)) {
      progress.close();
      progress = null;
    }
    if (isSeen && "underWay" in part().dataset) progress ??= seeProgress(address);
  }

  // What anybody does with the recording, its note, and the todos that came of it.
  function hear(address) {
    const source = new EventSource(address);
    source.onopen = () => {
      cutOff("");
      if (isLacking()) refresh();
    };
    source.onerror = () => {
      cutOff("Cut off from crm: what is shown here may be old. Trying again…");
      // A browser does not come back to a server that refuses.
      if (source.readyState === EventSource.CLOSED) pause(AGAIN).then(() => changes?.source === source && refresh());
    };
    source.onmessage = ({ lastEventId }) => {
      heard = Number(lastEventId);
      if (heard > Number(part().dataset.position)) refresh(heard);
    };
    return source;
  }

  // What no event tells: how far the work is, and why it waits.
  function seeProgress(address) {
    const source = new EventSource(address);
    source.onerror = () => source.readyState === EventSource.CLOSED && pause(AGAIN).then(watch);
    source.addEventListener("recording", (event) => {
      const { state, why, progress } = JSON.parse(event.data);
      const standing = document.getElementById("standing");
      if (!standing) return;
      if (state !== standing.dataset.state || why !== (standing.dataset.why ?? null)) {
        standing.dataset.state = state;
        if (why === null) delete standing.dataset.why;
        else standing.dataset.why = why;
        return refresh();
      }
      const bar = document.getElementById("progress");
      if (!bar || progress === null) return;
      bar.value = progress;
      document.getElementById("progress-told").textContent = `${Math.round(100 * progress)} %`;
    });
    return source;
  }

  document.addEventListener("visibilitychange", watch);
  watch();
})();
