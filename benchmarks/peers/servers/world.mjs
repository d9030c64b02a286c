// What the world of every peer does: ten players who walk all the time, on a field of 65536 × 65536 that has no edges.
// An input says where to and where one looks; it holds until the next one. Nothing else: no shots, no walls, so that
// what is measured is the way in and out. `swarm.py` checks in the frames that all ten have moved.

export const TICK_HZ = 20;
export const SEATS = 10;
export const SPEED = 64;

/** One tick of a player: `move_x` and `move_y` are -1, 0 or 1, `aim` is 16 bits of a turn. */
export function step(player, { move_x, move_y, aim }) {
  player.x = (player.x + move_x * SPEED) & 0xffff;
  player.y = (player.y + move_y * SPEED) & 0xffff;
  player.facing = aim >> 8;
}
