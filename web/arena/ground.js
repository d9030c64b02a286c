/**
 * The map, painted once for a size of screen and a theme: floor, walls with a side that faces the viewer, items' places.
 */

import { TILE_UNITS } from "./maps.js";

/** How deep a wall's side looks, units. */
const DEEP = 7;

/**
 * @param {import("./maps.js").Walls} walls @param {number} scale pixels a unit @param {{floor: string, floorMark: string, wall: string, wallSide: string, wallEdge: string}} colours
 * @returns {HTMLCanvasElement}
 */
export function paintGround(walls, scale, colours) {
  const side = walls.width * TILE_UNITS;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.ceil(side * scale);
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
  pen.scale(scale, scale);
  pen.fillStyle = colours.floor;
  pen.fillRect(0, 0, side, side);
  const wall = (/** @type {number} */ x, /** @type {number} */ y) =>
    x < 0 || y < 0 || x >= walls.width || y >= walls.width || walls.solid[y * walls.width + x] === 1;

  pen.fillStyle = colours.floorMark;
  for (let y = 0; y < walls.width; y++) {
    for (let x = 0; x < walls.width; x++) {
      if (wall(x, y)) continue;
      if ((x + y) % 2 === 0) pen.fillRect(x * TILE_UNITS, y * TILE_UNITS, TILE_UNITS, TILE_UNITS);
    }
  }
  pen.fillStyle = colours.wall;
  for (const [x, y, run] of runs(walls.width, wall)) {
    pen.fillRect(x * TILE_UNITS, y * TILE_UNITS - 0.3, run * TILE_UNITS, TILE_UNITS + 0.6);
  }
  // Over the tops: the sides towards the viewer with their shadows, and edges in the light.
  for (const [x, y, run] of runs(walls.width, (atX, atY) => wall(atX, atY) && !wall(atX, atY + 1))) {
    const left = x * TILE_UNITS, bottom = (y + 1) * TILE_UNITS, long = run * TILE_UNITS;
    pen.fillStyle = colours.wallSide;
    pen.fillRect(left, bottom - DEEP, long, DEEP);
    const shadow = pen.createLinearGradient(0, bottom, 0, bottom + 9);
    shadow.addColorStop(0, "rgb(0 0 0 / 34%)");
    shadow.addColorStop(1, "rgb(0 0 0 / 0%)");
    pen.fillStyle = shadow;
    pen.fillRect(left, bottom, long, 9);
  }
  pen.fillStyle = colours.wallEdge;
  for (const [x, y, run] of runs(walls.width, (atX, atY) => wall(atX, atY) && !wall(atX, atY - 1))) {
    pen.fillRect(x * TILE_UNITS, y * TILE_UNITS, run * TILE_UNITS, 1.8);
  }
  return canvas;
}

/**
 * Tiles of a row that lie side by side: where each run starts, and how long it is.
 * @param {number} width @param {(x: number, y: number) => boolean} test
 */
function* runs(width, test) {
  for (let y = 0; y < width; y++) {
    for (let x = 0; x < width; x++) {
      if (!test(x, y)) continue;
      const from = x;
      while (x < width && test(x, y)) x++;
      yield /** @type {const} */ ([from, y, x - from]);
    }
  }
}
