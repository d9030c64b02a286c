// The workload on Colyseus, as its documentation advises: a schema for the state, one player a client in a map.
//
//     node colyseus.mjs messages|input timer|tick
//
// messages  inputs are messages; they are queued and applied by `setTimestep`; the state tells each player's last one
// input     `defineInput` and `setFixedTimestep`; Colyseus acknowledges inputs in the head of its patches
// timer     patches are sent by the room's own timer, every 50 ms, as is the default
// tick      patches are sent by `broadcastPatch()` at the tick's end
import { Room, defineRoom, defineServer } from "@colyseus/core";
import { schema, t } from "@colyseus/schema";
import { WebSocketTransport } from "@colyseus/ws-transport";
import { SEATS, TICK_HZ, step } from "./world.mjs";

const [inputs = "messages", patches = "timer"] = process.argv.slice(2);
const AT_TICK = patches === "tick";

const place = () => ({ x: t.uint16(), y: t.uint16(), facing: t.uint8() });
const Input = schema({ move_x: t.int8(), move_y: t.int8(), aim: t.uint16(), buttons: t.uint8() }, "Input");
const Walker = schema(place(), "Walker");
const WalkerState = schema({ players: t.map(Walker) }, "WalkerState");
const CountedWalker = schema({ ...place(), seq: t.uint16() }, "CountedWalker");
const CountedState = schema({ tick: t.uint32(), players: t.map(CountedWalker) }, "CountedState");

/** A new player, somewhere, and with a way to go. */
function arrive(player, number) {
  player.x = number * 6000;
  player.y = number * 6000;
  player.facing = 0;
  player.going = { move_x: 1, move_y: 1, aim: 0 };
  return player;
}

/** No patches by timer. To be called when the room has its timestep: without one, a room without patches ticks its clock
 *  60 times a second, and a fixed timestep would lose that time. */
function patchAtTick(room) {
  room.patchRate = null;
}

class MessageRoom extends Room {
  maxClients = SEATS;
  state = new CountedState();
  messages = {
    input(client, message) {
      client.userData.push(message);
    },
  };

  onCreate() {
    this.state.tick = 0;
    this.setTimestep(() => this.update(), 1000 / TICK_HZ);
    if (AT_TICK) patchAtTick(this);
  }

  onJoin(client) {
    client.userData = [];
    const player = arrive(new CountedWalker(), this.state.players.size);
    player.seq = 0;
    this.state.players.set(client.sessionId, player);
  }

  onLeave(client) {
    this.state.players.delete(client.sessionId);
  }

  update() {
    for (const client of this.clients) {
      const player = this.state.players.get(client.sessionId);
      for (const message of client.userData) {
        player.going = message;
        player.seq = message.seq;
      }
      client.userData.length = 0;
      step(player, player.going);
    }
    this.state.tick++;
    if (AT_TICK) this.broadcastPatch();
  }
}

class InputRoom extends Room {
  maxClients = SEATS;
  state = new WalkerState();
  inputs = this.defineInput(Input);

  onCreate() {
    this.setFixedTimestep(() => this.update(), TICK_HZ);
    if (AT_TICK) patchAtTick(this);
  }

  onJoin(client) {
    this.state.players.set(client.sessionId, arrive(new Walker(), this.state.players.size));
  }

  onLeave(client) {
    this.state.players.delete(client.sessionId);
  }

  update() {
    for (const [sessionId, player] of this.state.players) {
      for (const input of this.inputs.get(sessionId)) player.going = input;
      step(player, player.going);
    }
    if (AT_TICK) this.broadcastPatch();
  }
}

const transport = new WebSocketTransport();
const rooms = { walk: defineRoom(inputs === "input" ? InputRoom : MessageRoom) };
const server = defineServer({ rooms, transport, greet: false });
await server.listen(0, "127.0.0.1");
console.log(`listening ${transport.server.address().port}`);
