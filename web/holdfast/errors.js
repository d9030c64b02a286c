/**
 * One list of errors for every channel, the same as in `netcode/errors.py` (a test compares them).
 *
 * A number is never reused and never changes its meaning. `retryable` tells whether the same request may work a little
 * later.
 */

/** @typedef {Readonly<{number: number, wireName: string, retryable: boolean}>} Code */

/** @param {number} number @param {string} wireName @param {boolean} retryable @returns {Code} */
const code = (number, wireName, retryable) => Object.freeze({ number, wireName, retryable });

/** Every error code, by its name. */
export const ErrorCode = Object.freeze({
  BAD_MESSAGE: code(1, "bad_message", false),
  WRONG_VERSION: code(2, "wrong_version", false),
  OUT_OF_TURN: code(3, "out_of_turn", false),
  TOO_LARGE: code(4, "too_large", false),
  TOO_SLOW: code(5, "too_slow", true),
  TIMED_OUT: code(6, "timed_out", true),
  BAD_LOGIN: code(10, "bad_login", false),
  SESSION_GONE: code(11, "session_gone", false),
  SESSION_REPLACED: code(12, "session_replaced", false),
  TOO_MANY_SESSIONS: code(13, "too_many_sessions", true),
  UNKNOWN_GAME: code(20, "unknown_game", false),
  UNKNOWN_ROOM: code(21, "unknown_room", false),
  ROOM_FULL: code(22, "room_full", true),
  TOO_MANY_ROOMS: code(23, "too_many_rooms", true),
  ALREADY_SEATED: code(24, "already_seated", false),
  NOT_SEATED: code(25, "not_seated", false),
  ROOM_CLOSED: code(26, "room_closed", false),
  BAD_OPTION: code(27, "bad_option", false),
  ACT_REFUSED: code(28, "act_refused", false),
  NOT_ALLOWED: code(30, "not_allowed", false),
  LIMITED: code(31, "limited", true),
  NOT_FOUND: code(32, "not_found", false),
  SHUTTING_DOWN: code(40, "shutting_down", true),
  ROOM_MOVING: code(41, "room_moving", true),
  INTERNAL: code(50, "internal", true),
});

const BY_NUMBER = new Map(Object.values(ErrorCode).map((each) => [each.number, each]));

/** @param {number} number @returns {Code} INTERNAL for one that a newer server knows and we do not */
export function errorCode(number) {
  return BY_NUMBER.get(number) ?? ErrorCode.INTERNAL;
}

/** A refusal of the server's, or a fault of either end. */
export class HoldfastError extends Error {
  /** @param {Code} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "HoldfastError";
    this.code = code;
  }

  /** Whether the same request may succeed a little later. */
  get retryable() {
    return this.code.retryable;
  }
}

/** Bytes that are no frame of this view. */
export class BadFrame extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "BadFrame";
  }
}
