/**
 * For the game's pages, in demonstrations: a button that kills the node which runs this page's room.
 *
 * It is there where the server lets this page kill (`--http-kill`, on its own machine) and the tab has the token.
 */

import { ask, kill, takeToken } from "./api.js";

const LOOK = {
  position: "fixed", top: "16px", right: "72px", zIndex: "3", padding: "6px 14px",
  font: "600 14px system-ui, sans-serif", color: "#fff", background: "#a3202f", border: "1px solid #d7566a",
  borderRadius: "8px", cursor: "pointer",
};

async function offer() {
  const { may_kill: may } = await ask("/server");
  if (!may) return;
  const button = document.createElement("button");
  button.type = "button";
  button.id = "kill-node";
  button.textContent = "Kill this node";
  Object.assign(button.style, LOOK);
  button.addEventListener("click", async () => {
    button.blur(); // the keys are the game's
    document.querySelector("canvas")?.focus();
    const client = globalThis.holdfast?.client, room = (client?.room ?? client?.watched)?.id;
    if (!room) return;
    button.disabled = true;
    try {
      const { node } = await ask(`/rooms/${room}`);
      await kill(node);
      button.textContent = `${node} is dead`;
    } catch (error) {
      button.textContent = error.message;
    }
    setTimeout(() => {
      button.disabled = false;
      button.textContent = "Kill this node";
    }, 3000);
  });
  document.body.append(button);
}

if (takeToken()) await offer();
