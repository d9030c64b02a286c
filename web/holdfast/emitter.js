/**
 * Who wants to know is told: a very small event emitter.
 */

/** @template {Record<string, any>} Kinds */
export class Emitter {
  constructor() {
    /** @type {Map<string, Set<(detail: any) => void>>} */
    this._listeners = new Map();
  }

  /**
   * Call `listener` whenever `kind` happens; returns a function that ends it.
   * @template {keyof Kinds & string} Kind
   * @param {Kind} kind
   * @param {(detail: Kinds[Kind]) => void} listener
   * @returns {() => void}
   */
  on(kind, listener) {
    const listeners = this._listeners.get(kind) ?? new Set();
    this._listeners.set(kind, listeners);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /**
   * @template {keyof Kinds & string} Kind
   * @param {Kind} kind
   * @param {Kinds[Kind]} detail
   * @returns {boolean} whether anybody listened
   */
  emit(kind, detail) {
    const listeners = this._listeners.get(kind);
    if (!listeners?.size) return false;
    for (const listener of [...listeners]) listener(detail);
    return true;
  }
}
