/**
 * Wrap-around arithmetic: short numbers on the wire, whole numbers in memory (RFC 9000, appendix A.3).
 */

/**
 * The whole number congruent to `low` modulo `2 ** bits` that is nearest to `near`, and never negative. Of two equally
 * near values the higher one is taken. `bits` is at most 16.
 * @param {number} low @param {number} bits @param {number} near
 */
export function widen(low, bits, near) {
  const span = 1 << bits, half = span >> 1;
  // `&` looks at the low 32 bits only, and those are all that counts modulo 2 ** bits.
  const value = near + ((low - near + half - 1) & (span - 1)) - half + 1;
  return value >= 0 ? value : value & (span - 1);
}
