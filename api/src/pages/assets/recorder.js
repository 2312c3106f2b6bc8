// Records a meeting. What is recorded is kept in this browser and sent to the server while it goes on, so that neither a lost
// line nor a closed window costs more than the last seconds.
(() => {
  "use strict";

  const root = document.getElementById("recorder");
  if (!root) return;
  const { Upload } = window.crmUpload;
  const at = (id) => document.getElementById(id);
  const note = root.dataset.note;

  // How often the recorder hands over what it has, in milliseconds, and how much is sent at once, in bytes.
  const SLICE = 2000;
  const MOST = 4 << 20;
  // Below this level, in decibels, a microphone hears nothing.
  const SILENCE = -60;

  const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
  const ENDINGS = { "audio/webm": "webm", "audio/mp4": "m4a", "audio/ogg": "ogg" };

  const say = (text) => {
    at("recorder-state").textContent = text;
  };

  // Who reloads the page is not told once more what was done before.
  if (location.search) history.replaceState(null, "", location.pathname);

  // A recording by its name and that of its note; those of earlier releases have only the number of that.
  const ofNote = (facts) => (facts.title ? `“${facts.title}”` : `note ${facts.note}`);
  const whose = (facts) => `“${facts.name}” of ${ofNote(facts)}`;
  const isOurs = (facts) => facts.note === note;

  function link(text, address) {
    const link = document.createElement("a");
    link.textContent = text;
    link.href = address;
    return link;
  }

  // --- What this browser keeps -----------------------------------------------------------------------------------------

  const settled = (request) =>
    new Promise((done, failed) => {
      request.onsuccess = () => done(request.result);
      request.onerror = () => failed(request.error);
    });

  // Recordings by id, and their parts by recording and number. Without it, recordings live as long as the page.
  class Vault {
    static async open() {
      const request = indexedDB.open("crm-recorder", 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore("recordings", { keyPath: "id" });
        request.result.createObjectStore("parts", { keyPath: ["recording", "number"] });
      };
      const vault = new Vault();
      vault.db = await settled(request);
      return vault;
    }

    store(name, mode) {
      // What is kept is on the disk, or the server would have more of it after a crash of the machine.
      return this.db.transaction(name, mode, { durability: "strict" }).objectStore(name);
    }

    put(name, value) {
      return settled(this.store(name, "readwrite").put(value));
    }

    all() {
      return settled(this.store("recordings", "readonly").getAll());
    }

    parts(recording) {
      return settled(this.store("parts", "readonly").getAll(IDBKeyRange.bound([recording, 0], [recording, Infinity])));
    }

    async remove(recording) {
      await settled(this.store("recordings", "readwrite").delete(recording));
      await settled(this.store("parts", "readwrite").delete(IDBKeyRange.bound([recording, 0], [recording, Infinity])));
    }
  }

  let vault = null;
  async function keep(name, value) {
    try {
      await vault?.put(name, value);
    } catch (error) {
      vault = null;
      at("recorder-kept").textContent = `This browser cannot keep the recording (${error.message}): leave the page open until it is saved.`;
    }
  }

  // --- A recording, as the source of its upload ------------------------------------------------------------------------

  class Recorded {
    constructor(facts, parts = []) {
      this.facts = facts;
      this.parts = parts;
      this.size = parts.reduce((sum, part) => sum + part.bytes.byteLength, 0);
      this.wake = null;
    }

    // Nothing is sent before it is kept here.
    async add(bytes) {
      const part = { recording: this.facts.id, number: this.parts.length, bytes };
      await keep("parts", part);
      this.parts.push(part);
      this.size += bytes.byteLength;
      this.tell();
    }

    async end() {
      this.facts.ended = true;
      await keep("recordings", this.facts);
      this.tell();
    }

    tell() {
      this.wake?.();
      this.wake = null;
    }

    read(offset) {
      const chosen = [];
      let [begin, length] = [0, 0];
      for (const { bytes } of this.parts) {
        const end = begin + bytes.byteLength;
        if (end > offset && length < MOST) {
          chosen.push(offset > begin ? bytes.slice(offset - begin) : bytes);
          length += end - Math.max(begin, offset);
        }
        begin = end;
      }
      return chosen.length ? new Blob(chosen) : null;
    }

    total() {
      return this.facts.ended ? this.size : null;
    }

    more() {
      return new Promise((done) => {
        this.wake = done;
      });
    }
  }

  // A file that was chosen; it is on the disk already.
  class Chosen {
    constructor(file) {
      this.file = file;
    }
    read(offset) {
      return offset < this.file.size ? this.file.slice(offset, offset + MOST) : null;
    }
    total() {
      return this.file.size;
    }
    more() {
      return Promise.resolve();
    }
  }

  // --- Uploads ---------------------------------------------------------------------------------------------------------

  const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
  let unsent = 0;

  function saved(address, facts) {
    const line = document.createElement("p");
    if (isOurs(facts)) line.append("The recording is saved. ", link("Open it", address), ".");
    else {
      const of = link(ofNote(facts), `/audit/note/${facts.note}`);
      of.className = "of";
      line.append("The recording ", link(`“${facts.name}”`, address), " of ", of, " is saved.");
    }
    at("recorder-done").replaceChildren(line);
    at("recorder-done").hidden = false;
  }

  async function upload(source, facts, terms, remember, forget) {
    unsent += 1;
    const all = () => (source.size ?? source.file.size);
    const what = isOurs(facts) ? "" : `${whose(facts)}: `;
    const tell = ({ sent, place, waiting, reason }) => {
      if (place) return remember(place);
      at("recorder-kept").textContent = waiting
        ? `${what}Not connected (${reason}). Nothing is lost: crm goes on by itself.`
        : `${what}${size(sent)} of ${size(all())} are on the server.`;
    };
    try {
      const address = await new Upload(source, { note: facts.note, ...terms, tell }).run();
      await forget();
      unsent -= 1;
      at("recorder-kept").textContent = "";
      saved(address, facts);
      if (isOurs(facts)) say("Saved.");
    } catch (error) {
      if (isOurs(facts)) say(`This cannot be saved: ${error.message}.`);
      at("recorder-kept").textContent = "";
      // What is a file, or kept by this browser, is not lost with the page.
      if (source.file || vault || !source.size) unsent -= 1;
      if (source.size) await refuse(source, error.message);
    }
  }

  // --- What the server refuses -----------------------------------------------------------------------------------------

  // It stays in this browser, and is not sent again, until somebody decides.
  async function refuse(recorded, reason) {
    recorded.facts.refusal = (await isGone(recorded.facts.note)) ? "that note was deleted" : reason;
    await keep("recordings", recorded.facts);
    showRefused(recorded);
  }

  async function isGone(note) {
    const answer = await fetch(`/notes/${note}`, { headers: { Accept: "application/json" } }).catch(() => null);
    return answer?.status === 404 || answer?.status === 410;
  }

  function showRefused(recorded) {
    const { facts } = recorded;
    const list = at("recorder-refused");
    const known = [...list.children].find((item) => item.dataset.recording === facts.id);
    const item = known ?? list.appendChild(document.createElement("li"));
    item.dataset.recording = facts.id;
    const said = document.createElement("p");
    said.textContent = `${whose(facts)}, of ${new Date(facts.began).toLocaleString()}, cannot be saved: ${facts.refusal}.`;
    const file = document.createElement("a");
    file.className = "button";
    file.textContent = "Keep it as a file";
    file.download = facts.name;
    URL.revokeObjectURL(item.querySelector("a")?.href);
    file.href = URL.createObjectURL(new Blob(recorded.parts.map((part) => part.bytes)));
    const actions = document.createElement("div");
    actions.className = "actions";
    actions.append(file);
    // More of it is still to come.
    if (facts.ended) actions.append(retrying(recorded, item), discarding(recorded, item));
    item.replaceChildren(said, actions);
  }

  function button(text, press) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", press);
    return button;
  }

  function settle(item) {
    URL.revokeObjectURL(item.querySelector("a").href);
    item.remove();
    say("");
    if (!vault) unsent -= 1;
  }

  function retrying(recorded, item) {
    return button("Try again", () => {
      settle(item);
      delete recorded.facts.refusal;
      alone(recorded.facts.id, () => uploadRecorded(recorded));
    });
  }

  function discarding(recorded, item) {
    const discard = button("Discard", async () => {
      if (discard.dataset.sure) {
        settle(item);
        await vault?.remove(recorded.facts.id);
        return;
      }
      discard.dataset.sure = "yes";
      discard.className = "danger";
      discard.textContent = "Discard it for good";
    });
    return discard;
  }

  // One page at a time sends a recording: the one that records it, or else the first that finds it.
  const alone = (id, work) =>
    navigator.locks
      ? navigator.locks.request(`crm-recording-${id}`, { ifAvailable: true }, (lock) => (lock ? work() : null))
      : work();

  function uploadRecorded(recorded) {
    const { facts } = recorded;
    const remember = (place) => {
      facts.place = place;
      return keep("recordings", facts);
    };
    const forget = () => vault?.remove(facts.id);
    const terms = { name: facts.name, language: facts.language, place: facts.place };
    return upload(recorded, facts, terms, remember, forget);
  }

  // --- The note, while it is recorded for ------------------------------------------------------------------------------

  const AGAIN = 2000;
  let heard = root.dataset.position;
  let changes = null;

  // What is recorded for a note that somebody deletes cannot be saved, unless it is restored in time.
  function watchNote() {
    changes = new EventSource(`${root.dataset.feed}&after=${heard}`);
    const source = changes;
    source.onmessage = ({ data, lastEventId }) => {
      heard = lastEventId;
      const happened = JSON.parse(data).type.split(".").pop();
      if (["Archived", "Erased"].includes(happened)) at("recorder-gone").hidden = false;
      if (happened === "Restored") at("recorder-gone").hidden = true;
    };
    // A browser does not come back to a server that refuses.
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(() => changes === source && watchNote(), AGAIN);
    };
  }

  function leaveNote() {
    changes?.close();
    changes = null;
    at("recorder-gone").hidden = true;
  }

  // --- The recorder ----------------------------------------------------------------------------------------------------

  let running = null;

  class Session {
    static async start() {
      const device = at("microphone").value;
      const audio = { echoCancellation: false, noiseSuppression: true, autoGainControl: true };
      if (device) audio.deviceId = { exact: device };
      const session = new Session();
      session.stream = await navigator.mediaDevices.getUserMedia({ audio });
      session.began = performance.now();
      session.paused = 0;
      await session.begin();
      return session;
    }

    async begin() {
      const type = TYPES.find((type) => MediaRecorder.isTypeSupported(type)) ?? "";
      this.recorder = new MediaRecorder(this.stream, { mimeType: type, audioBitsPerSecond: 48000 });
      const ending = ENDINGS[this.recorder.mimeType.split(";")[0]] ?? "webm";
      const name = (at("recording-name").value.trim() || "Recording") + "." + ending;
      const { title } = root.dataset;
      const facts = { id: crypto.randomUUID(), note, title, name, language: at("language").value, began: Date.now(), ended: false, place: null };
      this.recorded = new Recorded(facts);
      await keep("recordings", facts);
      // Parts are kept in the order in which they come.
      this.writing = Promise.resolve();
      this.recorder.ondataavailable = ({ data }) => {
        if (data.size) this.writing = this.writing.then(async () => this.recorded.add(await data.arrayBuffer()));
      };
      this.ended = new Promise((done) => (this.recorder.onstop = done));
      this.stream.getAudioTracks()[0].onended = () => stop("The microphone has gone. What it recorded is saved.");
      this.recorder.start(SLICE);
      this.listen();
      // Refused or not, it is this window's until it ends.
      alone(facts.id, () => Promise.all([uploadRecorded(this.recorded), this.ended]));
      this.lock = await navigator.wakeLock?.request("screen").catch(() => null);
    }

    // Shows how loud it is, and says when nothing is heard at all.
    listen() {
      this.context = new AudioContext();
      const analyser = this.context.createAnalyser();
      analyser.fftSize = 2048;
      this.context.createMediaStreamSource(this.stream).connect(analyser);
      const samples = new Float32Array(analyser.fftSize);
      let heard = performance.now();
      const look = () => {
        if (this.recorder.state === "inactive") return;
        analyser.getFloatTimeDomainData(samples);
        const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
        const level = 10 * Math.log10(power + 1e-12);
        at("level").value = Math.max(0, Math.min(1, (level - SILENCE) / -SILENCE));
        if (level > SILENCE || this.recorder.state === "paused") heard = performance.now();
        at("recorder-silent").hidden = performance.now() - heard < 5000;
        at("clock").textContent = this.time();
        setTimeout(look, 100);
      };
      look();
    }

    time() {
      const now = this.pausedAt ?? performance.now();
      const seconds = Math.floor((now - this.began - this.paused) / 1000);
      const two = (number) => String(number).padStart(2, "0");
      return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
    }

    pause() {
      this.recorder.pause();
      this.pausedAt = performance.now();
    }

    resume() {
      this.recorder.resume();
      this.paused += performance.now() - this.pausedAt;
      this.pausedAt = null;
    }

    async stop() {
      if (this.recorder.state !== "inactive") this.recorder.stop();
      await this.ended;
      await this.writing;
      for (const track of this.stream.getTracks()) track.stop();
      await this.context.close();
      await this.lock?.release();
      await this.recorded.end();
      // The file that was offered when it was refused ends there.
      if (this.recorded.facts.refusal) showRefused(this.recorded);
    }
  }

  function show(state) {
    root.dataset.state = state;
    at("start").hidden = state !== "idle";
    at("pause").hidden = state === "idle";
    at("stop").hidden = state === "idle";
    at("pause").textContent = state === "paused" ? "Go on" : "Pause";
    for (const id of ["recording-name", "language", "microphone"]) at(id).disabled = state !== "idle";
  }

  const WHY = {
    NotAllowedError: "The browser may not use the microphone. Allow it for this page, then start again.",
    NotFoundError: "There is no microphone.",
    NotReadableError: "Another program is using the microphone.",
    OverconstrainedError: "The chosen microphone is not there any more.",
  };

  async function start() {
    at("recorder-done").hidden = true;
    try {
      running = await Session.start();
    } catch (error) {
      return say(WHY[error.name] ?? `The recording cannot start: ${error.message}.`);
    }
    show("recording");
    say("Recording.");
    watchNote();
    await devices();
    at("stop").focus();
  }

  function pause() {
    const paused = root.dataset.state === "paused";
    paused ? running.resume() : running.pause();
    show(paused ? "recording" : "paused");
    say(paused ? "Recording." : "Paused.");
  }

  async function stop(said) {
    if (!running) return;
    const session = running;
    running = null;
    show("idle");
    at("recorder-silent").hidden = true;
    leaveNote();
    at("level").value = 0;
    say(typeof said === "string" ? said : "Saving the end of it…");
    await session.stop();
  }

  async function devices() {
    const all = await navigator.mediaDevices.enumerateDevices();
    const chosen = at("microphone").value;
    const options = all
      .filter((device) => device.kind === "audioinput" && device.deviceId && device.deviceId !== "default")
      .map((device, index) => new Option(device.label || `Microphone ${index + 1}`, device.deviceId, false, device.deviceId === chosen));
    at("microphone").replaceChildren(new Option("The browser's choice", ""), ...options);
    at("microphone").value = chosen;
  }

  // Recordings that a closed window has left behind, of whichever note, are sent now.
  async function resume() {
    for (const facts of await vault.all()) alone(facts.id, () => resumeOne(facts));
  }

  async function resumeOne(facts) {
    const parts = await vault.parts(facts.id);
    // Where the browser has lost them, the server may have some.
    if (!parts.length && !facts.place) return vault.remove(facts.id);
    if (facts.refusal) return showRefused(new Recorded({ ...facts, ended: true }, parts));
    if (isOurs(facts)) say(`A recording of ${new Date(facts.began).toLocaleString()} was not saved to its end; crm does that now.`);
    const recorded = new Recorded(facts, parts);
    await recorded.end();
    await uploadRecorded(recorded);
    if (!parts.length) await vault.remove(facts.id);
  }

  async function prepare() {
    try {
      vault = await Vault.open();
      await resume();
    } catch {
      at("recorder-kept").textContent = "This browser keeps nothing for pages: leave this one open until the recording is saved.";
    }
    at("choose").addEventListener("submit", (event) => {
      event.preventDefault();
      const file = at("file").files[0];
      if (!file) return;
      at("recorder-done").hidden = true;
      say(`Uploading ${file.name}.`);
      upload(new Chosen(file), { note }, { name: file.name, language: at("language").value }, () => {}, () => at("choose").reset());
    });
    addEventListener("beforeunload", (event) => {
      if (running || unsent) event.preventDefault();
    });
    if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder) {
      return say("This browser records only on pages that it trusts: open crm by https, or on this machine by localhost. Files can be uploaded.");
    }
    at("start").addEventListener("click", start);
    at("pause").addEventListener("click", pause);
    at("stop").addEventListener("click", stop);
    navigator.mediaDevices.addEventListener("devicechange", devices);
    show("idle");
    await devices();
  }

  prepare();
})();
