// Requests, and the events of a job.

export async function post(path, body, raw = false) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": raw ? "application/octet-stream" : "application/json" },
    body: raw ? body : JSON.stringify(body ?? {}),
  });
  const document = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new Error(document.error);
  return document;
}

export const upload = (kind, name, data) =>
  post(`/api/uploads?kind=${kind}&name=${encodeURIComponent(name)}`, data, true);

// One job at a time: starting another cancels the one before.
export class Runner {
  #serial = 0;
  #stop = () => {};

  async start(path, body, on) {
    this.cancel();
    const serial = ++this.#serial;
    let job;
    try {
      ({ job } = await post(path, body));
    } catch (mistake) {
      if (serial === this.#serial) on.failed?.({ error: mistake.message });
      return;
    }
    if (serial !== this.#serial) {
      fetch(`/api/jobs/${job}`, { method: "DELETE" });
      return;
    }
    const source = new EventSource(`/api/jobs/${job}/events`);
    this.#stop = () => {
      source.close();
      fetch(`/api/jobs/${job}`, { method: "DELETE", keepalive: true }).catch(() => {});
    };
    for (const kind of ["about", "working", "sent", "arrival", "point", "done", "failed", "cancelled"]) {
      source.addEventListener(kind, (event) => {
        if (["done", "failed", "cancelled"].includes(kind)) {
          source.close();
          this.#stop = () => {};
        }
        if (serial === this.#serial) on[kind]?.(JSON.parse(event.data), job);
      });
    }
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return;
      if (serial === this.#serial) on.failed?.({ error: "the server no longer answers" });
    };
  }

  cancel() {
    this.#serial += 1;
    this.#stop();
    this.#stop = () => {};
  }
}
