// The workload on a bare `ws` server: rooms by hand, each with a timer, and one binary frame a tick, made once a room.
//
//     node ws.mjs
//
// in     seq u16, move_x i8, move_y i8, aim u16, buttons u8
// frame  tick u32, then of each seat: x u16, y u16, facing u8, last input u16          (little-endian; STRIDE below)
// The first message to a client is its seat, one byte.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { SEATS, TICK_HZ, step } from "./world.mjs";

const STRIDE = 7;

class Room {
  players = [];

  constructor() {
    this.tick = 0;
    this.timer = setInterval(() => this.update(), 1000 / TICK_HZ);
  }

  join(socket) {
    const seat = this.players.length;
    const going = { move_x: 1, move_y: 1, aim: 0 };
    const player = { socket, x: seat * 6000, y: seat * 6000, facing: 0, seq: 0, going, inputs: [] };
    this.players.push(player);
    socket.send(Buffer.of(seat));
    return player;
  }

  leave(player) {
    this.players = this.players.filter((other) => other !== player);
    if (this.players.length === 0) clearInterval(this.timer);
  }

  update() {
    const frame = Buffer.allocUnsafe(4 + STRIDE * this.players.length);
    frame.writeUInt32LE(++this.tick, 0);
    let at = 4;
    for (const player of this.players) {
      for (const input of player.inputs) {
        player.going = input;
        player.seq = input.seq;
      }
      player.inputs.length = 0;
      step(player, player.going);
      frame.writeUInt16LE(player.x, at);
      frame.writeUInt16LE(player.y, at + 2);
      frame.writeUInt8(player.facing, at + 4);
      frame.writeUInt16LE(player.seq, at + 5);
      at += STRIDE;
    }
    for (const player of this.players) player.socket.send(frame);
  }
}

/** Inputs as they are on the wire. */
function parse(data) {
  return {
    seq: data.readUInt16LE(0),
    move_x: data.readInt8(2),
    move_y: data.readInt8(3),
    aim: data.readUInt16LE(4),
    buttons: data.readUInt8(6),
  };
}

let open = new Room();
const http = createServer();
const server = new WebSocketServer({ server: http });
server.on("connection", (socket) => {
  if (open.players.length === SEATS) open = new Room();
  const room = open;
  const player = room.join(socket);
  socket.on("message", (data) => player.inputs.push(parse(data)));
  socket.on("close", () => room.leave(player));
  socket.on("error", () => socket.terminate());
});
http.listen(0, "127.0.0.1", () => console.log(`listening ${http.address().port}`));
