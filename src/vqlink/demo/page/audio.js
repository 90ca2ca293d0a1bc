// Whatever the browser can decode, and the microphone, as a 16-bit mono WAV at 16 kHz.

const RATE = 16000;

export async function toWav(data) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const decoded = await context.decodeAudioData(data); // resampled to RATE
  const mono = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++)
    decoded.getChannelData(channel).forEach((value, i) => { mono[i] += value / decoded.numberOfChannels; });
  return wav(mono);
}

function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, 2 * samples.length, true);
  samples.forEach((value, i) => view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, value)) * 32767, true));
  return view.buffer;
}

// Records until stop() or for ten seconds; resolves with the WAV.
export async function record(whenReady) {
  if (!navigator.mediaDevices) throw new Error("this browser gives no microphone to this page");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true })
    .catch(() => { throw new Error("the microphone was refused"); });
  const recorder = new MediaRecorder(stream), parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  const ended = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.start();
  const limit = setTimeout(() => recorder.state === "recording" && recorder.stop(), 10000);
  whenReady(() => recorder.state === "recording" && recorder.stop());
  await ended;
  clearTimeout(limit);
  stream.getTracks().forEach((track) => track.stop());
  return toWav(await new Blob(parts).arrayBuffer());
}
