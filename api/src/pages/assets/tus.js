// Sends a recording in parts by tus 1.0, for as long as it takes: what the server has, it need not be sent again.
//
// A source gives what is to be sent: `read(offset)` the bytes from there on, or null if there are none yet, `total()` how many
// there will be, or null while nobody knows, `more()` a promise that settles when that may have changed.
(() => {
  "use strict";

  const FIRST_PAUSE = 1000;
  const LONGEST_PAUSE = 30000;
  // Longer than the slowest line takes for a part.
  const PATIENCE = 180000;

  // It cannot go on, however often it is tried.
  class Refused extends Error {}

  const encoded = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

  async function detail(answer) {
    try {
      const said = (await answer.json()).detail;
      return Array.isArray(said) ? said.map((fault) => fault.msg).join("; ") : said;
    } catch {
      return `The server answered ${answer.status}`;
    }
  }

  class Upload {
    // `place` is where an upload that was begun before is; `tell` is called with what happens.
    constructor(source, { note, name, language, place, tell }) {
      Object.assign(this, { source, note, name, language, place, tell });
      this.offset = 0;
      this.isKnown = false;
      this.result = null;
    }

    // Settles with the address of the recording; fails only if trying again is of no use.
    async run() {
      let pause = FIRST_PAUSE;
      while (!this.result) {
        try {
          await this.step();
          pause = FIRST_PAUSE;
        } catch (error) {
          if (error instanceof Refused) throw error;
          this.isKnown = false;
          this.tell({ waiting: true, reason: error.message });
          await this.rest(pause);
          pause = Math.min(2 * pause, LONGEST_PAUSE);
        }
      }
      return this.result;
    }

    async step() {
      if (!this.place && this.source.total() === 0) throw new Refused("there is nothing in it");
      if (!this.place) return this.begin();
      if (!this.isKnown) return this.look();
      const bytes = await this.source.read(this.offset);
      const total = this.source.total();
      if (bytes) return this.send(bytes, null);
      // The server may have what the source has lost since.
      if (total !== null) return this.send(new Blob([]), Math.max(total, this.offset));
      await this.source.more();
    }

    async begin() {
      const metadata = [];
      if (this.name) metadata.push(`filename ${encoded(this.name)}`);
      if (this.language) metadata.push(`language ${encoded(this.language)}`);
      const total = this.source.total();
      const headers = total === null ? { "Upload-Defer-Length": "1" } : { "Upload-Length": String(total) };
      if (metadata.length) headers["Upload-Metadata"] = metadata.join(",");
      const answer = await this.ask("POST", `/notes/${this.note}/recordings`, headers);
      if (!answer.ok) await this.fail(answer);
      this.place = answer.headers.get("Location");
      this.offset = 0;
      this.isKnown = true;
      await this.tell({ place: this.place });
    }

    // Asks where it stands. One that is gone is begun anew, since all of it is still here.
    async look() {
      const answer = await this.ask("HEAD", this.place, {});
      if (answer.status === 404 || answer.status === 410) {
        this.place = null;
        return;
      }
      if (!answer.ok) await this.fail(answer);
      this.take(answer);
    }

    async send(bytes, length) {
      const headers = { "Upload-Offset": String(this.offset), "Content-Type": "application/offset+octet-stream" };
      if (length !== null) headers["Upload-Length"] = String(length);
      const answer = await this.ask("PATCH", this.place, headers, bytes);
      // Somebody else has gone on with it.
      if (answer.status === 409) {
        this.isKnown = false;
        return;
      }
      // Whether it is gone is asked again, after a while.
      if (answer.status === 404 || answer.status === 410) throw new Error(await detail(answer));
      if (!answer.ok) await this.fail(answer);
      this.take(answer);
    }

    take(answer) {
      this.offset = Number(answer.headers.get("Upload-Offset"));
      this.isKnown = true;
      this.result = answer.headers.get("Content-Location");
      this.tell({ sent: this.offset });
    }

    async fail(answer) {
      const said = await detail(answer);
      const passes = answer.status >= 500 || answer.status === 408 || answer.status === 429;
      throw passes ? new Error(said) : new Refused(said);
    }

    ask(method, address, headers, body) {
      const signal = AbortSignal.timeout(PATIENCE);
      return fetch(address, { method, headers: { "Tus-Resumable": "1.0.0", ...headers }, body, signal });
    }

    // Waits a while, but not longer than until the line is back.
    rest(time) {
      return new Promise((done) => {
        const end = () => {
          clearTimeout(timer);
          removeEventListener("online", end);
          done();
        };
        const timer = setTimeout(end, time);
        addEventListener("online", end);
      });
    }
  }

  window.crmUpload = { Upload, Refused };
})();
