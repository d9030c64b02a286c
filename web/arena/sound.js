/**
 * Sounds, made on the spot and off until somebody wants them: a bolt, a beam, a hit, a death, an item.
 */

/** What each sounds like: wave, from and to Hz, seconds, loudness. @type {Record<string, [OscillatorType, number, number, number, number]>} */
const VOICES = {
  bolt: ["square", 620, 180, 0.09, 0.05],
  beam: ["sawtooth", 1500, 90, 0.28, 0.08],
  hit: ["triangle", 240, 90, 0.08, 0.12],
  hurt: ["triangle", 150, 60, 0.14, 0.2],
  kill: ["sine", 520, 1040, 0.22, 0.16],
  death: ["sawtooth", 260, 40, 0.45, 0.12],
  item: ["sine", 700, 1200, 0.14, 0.1],
};

export class Sound {
  /** @type {AudioContext | null} */
  _context = null;
  on = false;

  /** On or off; returns which. A browser lets this begin in answer to a click or a key only. */
  toggle() {
    this.on = !this.on;
    if (this.on) {
      this._context ??= new AudioContext();
      void this._context.resume();
    }
    return this.on;
  }

  /** @param {string} name of a voice @param {number} [far] units away: what is far is soft */
  play(name, far = 0) {
    const context = this._context, loud = Math.max(0, 1 - far / 700);
    if (!this.on || !context || loud <= 0) return;
    const [wave, from, to, seconds, loudness] = VOICES[name], now = context.currentTime;
    const voice = context.createOscillator(), gain = context.createGain();
    voice.type = wave;
    voice.frequency.setValueAtTime(from, now);
    voice.frequency.exponentialRampToValueAtTime(to, now + seconds);
    gain.gain.setValueAtTime(loudness * loud, now);
    gain.gain.exponentialRampToValueAtTime(0.0001, now + seconds);
    voice.connect(gain).connect(context.destination);
    voice.start(now);
    voice.stop(now + seconds);
  }
}
