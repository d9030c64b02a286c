/**
 * Holdfast in a browser: everything that a page imports. `docs/web.md` shows how.
 */

export { Client, connect } from "./client.js";
export { ErrorCode, HoldfastError, errorCode } from "./errors.js";
export { ObjectRoom, Room, RowRoom, WatchedRoom } from "./room.js";
export { BrowserStore } from "./storage.js";
export { TURN, UNIT, angleOf, cos, sin } from "./fixed.js";
