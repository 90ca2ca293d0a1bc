import { post, Runner, upload } from "./api.js";
import { record, toWav } from "./audio.js";
import { Bar, card, compared, Curve, make, title, tone } from "./view.js";

const UNITS = { psnr: "dB", psnr_weighted: "dB" };
const later = (wait, work) => {
  let timer;
  return (...args) => { clearTimeout(timer); timer = setTimeout(() => work(...args), wait); };
};

// One tab: its controls, its jobs and what they brought.
class Bench {
  constructor(id) {
    this.root = document.getElementById(id);
    this.form = this.root.querySelector("form");
    this.bar = new Bar(this.find("[data-bar]"));
    this.cards = this.find("[data-cards]");
    this.sender = new Runner();
    this.seed = 0;
    this.started = false;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", () => this.showDials());
    this.find("[data-reseed]").addEventListener("click", () => { this.seed += 1; this.send(); });
    this.soon = later(140, () => this.send());
    this.showDials();
  }
  find(selector) { return this.root.querySelector(selector); }
  value(name) {
    const control = this.form.elements[name];
    return control.type === "range" ? Number(control.value) : control.value;
  }
  showDials() {
    for (const output of this.form.querySelectorAll("output")) {
      const control = this.form.elements[output.dataset.for];
      output.value = control.dataset.unit === "%" ? `${Math.round(control.value * 100)} %` : `${control.value} dB`;
    }
  }
  place(key, node) {
    node.dataset.key = key;
    const old = [...this.cards.children].find((child) => child.dataset.key === key);
    old ? old.replaceWith(node) : this.cards.append(node);
  }
  run(path, body, on) {
    for (const child of this.cards.children) if (child.dataset.key !== "sent") child.classList.add("stale");
    const cancel = () => { this.sender.cancel(); this.bar.idle("Cancelled."); };
    this.bar.busy("Sending…", cancel);
    const seen = new Set(["sent"]);
    this.sender.start(path, body, {
      working: ({ on: name }) => this.bar.busy(`Sending by ${name}…`, cancel),
      about: (data) => on.about?.(data),
      sent: (data, job) => on.sent?.(data, job),
      arrival: (arrival, job) => { seen.add(`${seen.size}`); on.arrival(arrival, job, seen.size - 2); },
      done: (_, job) => {
        for (const child of [...this.cards.children]) if (child.classList.contains("stale")) child.remove();
        this.bar.idle("Sent by all systems over the same noise.", job);
        on.done?.();
      },
      failed: ({ error }) => this.bar.error(error),
      cancelled: () => this.bar.idle("Cancelled."),
    });
  }
}

const figures = (arrival) => {
  const names = { ms_ssim: "MS-SSIM", ssim: "SSIM", pesq: "PESQ", stoi: "STOI", similarity: "similarity", bleu4: "BLEU-4", token_accuracy: "words right", psnr_weighted: "weighted SNR" };
  return Object.entries(names).filter(([key]) => key in arrival.metrics)
    .map(([key, name]) => `${name} ${arrival.metrics[key].toFixed(key === "pesq" ? 2 : 3)}${UNITS[key] ? ` ${UNITS[key]}` : ""}`);
};
const lostText = (arrival) => (arrival.status === "outage" ? "Outage: nothing could be decoded." : arrival.shown_status && arrival.shown_status !== "ok" ? arrival.shown_status : null);

// A tab with a curve over one of its dials, drawn anew when anything else has changed.
class CurveBench extends Bench {
  constructor(id, path, axis, across, upwards) {
    super(id);
    Object.assign(this, { path, axis });
    this.curve = new Curve(this.find("[data-curve]"), across, upwards);
    this.drawer = new Runner();
    this.drawn = "";
    this.form.addEventListener("input", () => this.curve.mark(this.value(axis)));
  }
  draw(body) {
    const key = JSON.stringify({ ...body, [this.axis]: 0 });
    if (key === this.drawn) return;
    this.curve.clear();
    this.curve.mark(this.value(this.axis));
    this.drawer.start(this.path, body, {
      about: (about) => this.curve.about(about),
      point: (point) => this.curve.add(point),
      done: () => { this.drawn = key; },
    });
  }
}

class PictureBench extends CurveBench {
  constructor() {
    super("picture", "/api/pictures/curve", "snr_db", [0, 20], [10, 35]);
    this.form.addEventListener("input", (event) => event.target.type !== "file" && this.soon());
    listenForFiles(this, (file) => this.take(file.name, () => file.arrayBuffer().then((data) => upload("picture", file.name, data))));
  }
  offer(names) {
    this.find("[data-samples]").replaceChildren(...names.map((name) => make("button", {
      type: "button", textContent: name, onclick: () => this.take(name, () => post(`/api/samples/${name}`)),
    })));
  }
  async take(name, ask) {
    for (const button of this.find("[data-samples]").children) button.setAttribute("aria-pressed", button.textContent === name);
    try {
      this.upload = await ask();
    } catch (mistake) {
      return this.bar.error(mistake.message);
    }
    this.find("[data-notes]").textContent = this.upload.notes.join("; ");
    this.cards.replaceChildren();
    this.place("sent", card({ heading: "Sent", sub: this.upload.name, picture: this.upload.media, alt: "what was sent" }));
    this.send();
  }
  send() {
    if (!this.upload) return;
    const body = { upload: this.upload.upload, seed: this.seed };
    for (const name of ["snr_db", "designed_db", "channel", "rho"]) body[name] = this.value(name);
    this.drawer.cancel();
    this.run("/api/pictures", body, {
      arrival: (arrival, job, place) => this.place(`${place}`, card({
        heading: title(arrival), big: `${arrival.metrics.psnr.toFixed(1)} dB`,
        sub: [...figures(arrival), `${arrival.uses.toLocaleString("en")} uses`, `${arrival.seconds.toFixed(1)} s`].join(" · "),
        lost: lostText(arrival), tone: tone(arrival, place),
        picture: `/api/jobs/${job}/files/${arrival.picture}`,
      })),
      done: () => this.draw(body),
    });
  }
}

class TextBench extends CurveBench {
  constructor() {
    super("text", "/api/texts/curve", "probability", [0, 0.9], [0, 1]);
    const typed = later(500, () => this.send());
    this.form.addEventListener("input", (event) => {
      this.find("[data-p-label]").textContent = this.value("channel") === "bec" ? "Bits erased" : "Bits flipped";
      event.target.name === "text" ? typed() : this.soon();
    });
  }
  send() {
    const body = { text: this.value("text"), channel: this.value("channel"), probability: this.value("probability"), seed: this.seed };
    let sentences = [body.text];
    this.drawer.cancel();
    this.run("/api/texts", body, {
      about: (about) => { sentences = about.sentences; },
      arrival: (arrival, job, place) => this.place(`${place}`, card({
        heading: title(arrival), big: `${Math.round(arrival.metrics.token_accuracy * 100)} % right`,
        sub: [arrival.system, ...figures(arrival).filter((text) => !text.startsWith("words")), `${arrival.uses.toLocaleString("en")} uses`].join(" · "),
        lost: arrival.status === "outage" ? "Outage: no block arrived." : null, tone: tone(arrival, place),
        read: make("div", {}, ...arrival.read.map((read, i) => compared(sentences[i] ?? "", read))),
      })),
      done: () => this.draw(body),
    });
  }
}

class SpeechBench extends Bench {
  constructor() {
    super("speech");
    this.form.addEventListener("input", (event) => event.target.type !== "file" && this.soon());
    listenForFiles(this, (file) => this.take(async () => upload("recording", file.name, await toWav(await file.arrayBuffer()).catch(() => { throw new Error(`${file.name}: this browser can't decode it`); }))));
    this.find("[data-voice]").addEventListener("click", () => this.take(() => post("/api/samples/voice")));
    const button = this.find("[data-record]");
    let stop = null;
    button.addEventListener("click", () => {
      if (stop) return stop();
      this.take(async () => upload("recording", "your recording", await record((end) => {
        stop = end;
        button.classList.add("live");
        button.textContent = "Stop";
      }))).finally(() => { stop = null; button.classList.remove("live"); button.textContent = "Record"; });
    });
  }
  async take(ask) {
    try {
      this.upload = await ask();
    } catch (mistake) {
      return this.bar.error(mistake.message);
    }
    this.find("[data-notes]").textContent = this.upload.notes.join("; ");
    this.cards.replaceChildren();
    this.send();
  }
  send() {
    if (!this.upload) return;
    const body = { upload: this.upload.upload, seed: this.seed };
    for (const name of ["snr_db", "designed_db", "channel"]) body[name] = this.value(name);
    this.run("/api/recordings", body, {
      sent: (sent, job) => this.cards.children.length || this.place("sent", card({
        heading: "Sent", sub: this.upload.name, picture: `/api/jobs/${job}/files/${sent.picture}`, alt: "spectrogram of what was sent", sound: this.upload.media,
      })),
      arrival: (arrival, job, place) => this.place(`${place}`, card({
        heading: title(arrival), big: arrival.metrics.pesq === undefined ? `${arrival.metrics.psnr_weighted.toFixed(1)} dB` : `PESQ ${arrival.metrics.pesq.toFixed(2)}`,
        sub: [arrival.system, ...figures(arrival), `${arrival.uses.toLocaleString("en")} uses`].join(" · "),
        lost: lostText(arrival), tone: tone(arrival, place),
        picture: `/api/jobs/${job}/files/${arrival.picture}`, alt: `spectrogram of what arrived by ${arrival.system}`,
        sound: `/api/jobs/${job}/files/${arrival.sound}`,
      })),
    });
  }
}

function listenForFiles(bench, take) {
  const zone = bench.find("[data-drop]"), input = zone.querySelector("input");
  input.addEventListener("change", () => { if (input.files[0]) take(input.files[0]); input.value = ""; });
  const stop = (event) => event.preventDefault();
  for (const kind of ["dragenter", "dragover"]) bench.root.addEventListener(kind, (event) => { stop(event); zone.classList.add("over"); });
  bench.root.addEventListener("dragleave", () => zone.classList.remove("over"));
  bench.root.addEventListener("drop", (event) => {
    stop(event);
    zone.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}

const benches = { picture: new PictureBench(), text: new TextBench(), speech: new SpeechBench() };
const first = { picture: (about) => benches.picture.take(about.samples[0], () => post(`/api/samples/${about.samples[0]}`)), text: () => benches.text.send(), speech: () => benches.speech.take(() => post("/api/samples/voice")) };
let about = { samples: [] };

function open(id) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const chosen = tab.getAttribute("aria-controls") === id;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (!benches[id].started) {
    benches[id].started = true;
    first[id](about);
  }
}
const tabs = [...document.querySelectorAll("[role=tab]")];
tabs.forEach((tab, i) => {
  tab.addEventListener("click", () => open(tab.getAttribute("aria-controls")));
  tab.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const next = tabs[(i + move + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
});

about = await (await fetch("/api/about")).json();
document.querySelector("[data-version]").textContent = `vqlink ${about.version}.`;
benches.picture.offer(about.samples);
open("picture");
