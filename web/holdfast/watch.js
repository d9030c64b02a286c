/**
 * What a session without a seat watches: one room of rows at a time, whichever node it is on.
 *
 *     ask ─► watching ─► frames, events             another connection, ROOM_MOVING ─► asked for again, until it is there
 *                 └─ a seat, `end`, ROOM_CLOSED ─► nothing
 *
 * The server knows of it for one connection only, so a new one is asked again; but not while something else is asked
 * for, which may lead to another node.
 */

import { Backoff } from "./backoff.js";
import { ErrorCode, HoldfastError } from "./errors.js";
import { WatchedRoom } from "./room.js";

/** Refused for the moment: the room, or its node, is on its way. */
const NOT_YET = [ErrorCode.ROOM_MOVING, ErrorCode.TIMED_OUT, ErrorCode.INTERNAL, ErrorCode.SHUTTING_DOWN];

export class Watch {
  /**
   * @param {(message: any) => Promise<any>} request asks the server
   * @param {(room: WatchedRoom | null) => void} changed is told of another room, or none
   */
  constructor(request, changed) {
    /** @type {WatchedRoom | null} */
    this.room = null;
    this._request = request;
    this._changed = changed;
    /** Where the room is found, and where one that is being asked for is. @type {{room: string, code: string} | null} */
    this._at = null;
    /** @type {{room: string, code: string} | null} */
    this._wanted = null;
    this._unknown = false; // the present connection knows nothing of the room
    this._asking = 0;
  }

  /** Ask for anything that may lead to another node. Throws HoldfastError. @param {any} message */
  async ask(message) {
    this._asking += 1;
    if (message.t === "watch") this._wanted = { room: message.room, code: message.code };
    try {
      return await this._request(message);
    } finally {
      this._asking -= 1;
      this._wanted = null;
      this.again();
    }
  }

  /** There is another connection, or the room goes on on another node. */
  reconnected() {
    this._unknown = this.room !== null;
    this.again();
  }

  /** @param {any} watching the message */
  take(watching) {
    if (this.room?.id === watching.room) {
      this._unknown = false;
      this.room?._resume(watching);
    } else if (this._wanted) {
      this.end(new HoldfastError(ErrorCode.NOT_SEATED, "another room is watched"));
      this._at = this._wanted;
      this.room = new WatchedRoom(watching);
      this._changed(this.room);
    }
  }

  /** Nothing is watched any more. @param {HoldfastError} error */
  end(error) {
    const room = this.room;
    this.room = null;
    this._unknown = false;
    room?._end(error);
    if (room) this._changed(null);
  }

  /** Ask for the room where it is needed. */
  again() {
    if (this.room && this._unknown && !this._asking) void this._again(this.room);
  }

  /** @param {WatchedRoom} room */
  async _again(room) {
    const backoff = new Backoff();
    this._asking += 1;
    try {
      while (this.room === room && this._unknown) {
        try {
          await this._request({ t: "watch", ...this._at });
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
          if (this.room === room && !NOT_YET.includes(error.code)) this.end(error);
          else await new Promise((resolve) => setTimeout(resolve, backoff.next()));
        }
      }
    } finally {
      this._asking -= 1;
    }
    this.again();
  }
}
