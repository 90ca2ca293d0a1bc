// What the page shows: cards, the line above them, curves.

export function make(tag, props = {}, ...children) {
  const { dataset, style, ...rest } = props;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, dataset);
  for (const [name, value] of Object.entries(style ?? {})) node.style.setProperty(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const ORDERS = { q16: "16-QAM", q64: "64-QAM", q256: "256-QAM", q4096: "4096-QAM", l16: "16 learned points", l64: "64 learned points" };

export function title(arrival) {
  if (arrival.role === "best") return `${title({ ...arrival, role: "fixed" })}, best MCS at each SNR`;
  if (arrival.role === "fixed") {
    const [chain, scheme] = arrival.system.split("@");
    const [source, code = ""] = chain.split("+");
    const mcs = scheme ? `, ${scheme}` : "";
    const names = { hevc: "HEVC", huffman: "Huffman", speech: "Speech codec", ldpc5g: "5G LDPC", turbo: "LTE turbo" };
    return `${names[source] ?? source} + ${names[code] ?? code}${mcs}`;
  }
  const order = arrival.system.split("-").find((part) => part in ORDERS);
  if (arrival.system.startsWith("text")) return "Learned code";
  return order ? `Learned code, ${ORDERS[order]}` : "Learned code, any symbol";
}

export function tone(arrival, place) {
  if (arrival.role === "fixed") return place > 1 && arrival.system.includes("turbo") ? "#cc79a7" : "var(--digital)";
  if (arrival.role === "best") return "var(--digital)";
  return place === 0 ? "var(--learned)" : "var(--learned2)";
}

export class Bar {
  constructor(node) {
    this.node = node;
    node.setAttribute("role", "status");
  }
  busy(text, cancel) {
    const stop = make("button", { type: "button", textContent: "Cancel", onclick: cancel });
    this.node.replaceChildren(make("span", { className: "spin" }), make("span", { className: "grow", textContent: text }), stop);
  }
  error(text) {
    this.node.replaceChildren(make("span", { className: "error", textContent: text }));
    this.node.firstChild.setAttribute("role", "alert");
  }
  idle(text, job) {
    const rows = job && make("a", { href: `/api/jobs/${job}/rows.jsonl`, download: "vqlink-rows.jsonl", textContent: "Download rows" });
    this.node.replaceChildren(make("span", { className: "grow", textContent: text }), ...(rows ? [rows] : []));
  }
}

export function card({ heading, big, sub, lost, tone, picture, alt, sound, read }) {
  const body = make("div", { className: "body" },
    make("h2", {}, make("span", { textContent: heading }), make("span", { className: "big", textContent: big ?? "" })),
    sub ? make("p", { className: "sub", textContent: sub }) : null,
    lost ? make("p", { className: "sub lost", textContent: lost }) : null,
    read ?? null,
    sound ? make("audio", { controls: true, src: sound, preload: "metadata" }) : null,
  );
  return make("article", { className: "card", style: tone ? { "--tone": tone } : {} },
    picture ? make("img", { src: picture, alt: alt ?? heading }) : null, body);
}

// Marks the words of `read` that are not, in order, those of `sent`.
export function compared(sent, read) {
  const a = sent.split(/\s+/), b = read.split(/\s+/).filter(Boolean);
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i][j] = a[i] === b[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
  const line = make("p", { className: "read" });
  let i = 0;
  b.forEach((word, j) => {
    while (i < a.length && a[i] !== word && longest[i + 1][j] === longest[i][j]) i += 1;
    const right = i < a.length && a[i] === word && longest[i][j] === longest[i + 1][j + 1] + 1;
    if (right) i += 1;
    line.append(right ? word : make("mark", { textContent: word }), " ");
  });
  if (!b.length) line.append(make("mark", { textContent: "(nothing)" }));
  return line;
}

const SVG = "http://www.w3.org/2000/svg";
function draw(tag, attributes, text, style = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, value);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

export class Curve {
  #points = new Map();
  #about = {};
  #now = null;

  constructor(node, [low, high], [bottom, top]) {
    Object.assign(this, { node, low, high, bottom, top });
  }
  clear() {
    this.#points.clear();
    this.node.replaceChildren();
  }
  about(text) {
    this.#about = text;
  }
  add(point) {
    const key = `${point.role} ${point.system}`;
    if (!this.#points.has(key)) this.#points.set(key, []);
    const line = this.#points.get(key);
    line.push(point);
    line.sort((a, b) => a.at - b.at);
    this.render();
  }
  mark(now) {
    this.#now = now;
    if (this.#points.size) this.render();
  }
  render() {
    const width = 760, height = 290, left = 44, right = 14, upper = 12, lower = 40;
    const values = [...this.#points.values()].flat().map((point) => point.value);
    const bottom = Math.min(this.bottom, ...values), top = Math.max(this.top, ...values);
    const x = (at) => left + ((at - this.low) / (this.high - this.low)) * (width - left - right);
    const y = (value) => height - lower - ((value - bottom) / (top - bottom)) * (height - upper - lower);
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${this.#about.unit} over ${this.#about.axis}` });
    const step = (top - bottom) > 3 ? 5 : 0.2;
    for (let value = Math.ceil(bottom / step) * step; value <= top + 1e-9; value += step) {
      svg.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
      svg.append(draw("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, Number(value.toFixed(1))));
    }
    const stride = (this.high - this.low) > 3 ? 2 : 0.1;
    for (let at = this.low; at <= this.high + 1e-9; at += stride)
      svg.append(draw("text", { x: x(at), y: height - lower + 18, "text-anchor": "middle" }, Number(at.toFixed(2))));
    svg.append(draw("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, this.#about.axis));
    if (this.#now !== null && this.#now >= this.low && this.#now <= this.high)
      svg.append(draw("line", { class: "now", x1: x(this.#now), x2: x(this.#now), y1: upper, y2: height - lower }));
    const legend = make("div", { className: "legend" });
    let place = 0;
    for (const line of this.#points.values()) {
      const colour = tone(line[0], place++);
      const path = line.map((point, k) => `${k ? "L" : "M"}${x(point.at).toFixed(1)} ${y(point.value).toFixed(1)}`).join("");
      svg.append(draw("path", { d: path, fill: "none", "stroke-width": 2.5, "stroke-linejoin": "round", "stroke-dasharray": line[0].role === "best" ? "7 5" : "none" }, undefined, { stroke: colour }));
      for (const point of line)
        svg.append(draw("circle", { cx: x(point.at), cy: y(point.value), r: 3.6, "stroke-width": 2 }, undefined, { stroke: colour, fill: point.outage ? "var(--card)" : colour }));
      legend.append(make("span", { className: line[0].role, style: { "--tone": colour } }, make("i"), title(line[0])));
    }
    const caption = make("figcaption", { textContent:
      `${this.#about.unit} on ${this.#about.on}. Every point was simulated; a hollow mark has outages.` });
    this.node.replaceChildren(legend, svg, caption);
  }
}
