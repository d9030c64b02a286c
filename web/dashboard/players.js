/** The players of all nodes, and a word to them. */

import { age, count, keep, make, say, some } from "./dom.js";

export function players(tools) {
  const rows = make("tbody");
  const text = make("input", { type: "text", maxLength: 300, required: true, id: "word" });
  const form = make("form.word", {}, make("label", { for: "word" }, "Say to everybody"), text, make("button", { type: "submit" }, "Say it"));
  form.onsubmit = (event) => {
    event.preventDefault();
    const words = text.value;
    tools.act(async () => {
      const { told } = await tools.ask("/broadcast", { method: "POST", body: { text: words } });
      text.value = "";
      tools.tell(`said to ${some(told, "player")}`);
    }, "Say it");
  };
  const names = ["name", "node", "room", "seat", "here for", "silent for", ""];
  const element = make(
    "div.players",
    {},
    form,
    make("table", {}, make("caption", {}, "Players, at most 500"), make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)))), rows),
  );

  async function look() {
    const found = await tools.ask("/players?limit=500");
    tools.sums([["players", count(found.length)]]);
    keep(rows, found, (one) => one.session, row, (made, one) => {
      made.dataset.away = String(!one.connected);
      say(made.children[0], one.connected ? one.name : `${one.name} (away)`);
      say(made.children[1], one.node);
      const link = made.children[2].firstChild;
      say(link, one.room.slice(0, 8));
      link.href = `#/room/${one.room}`;
      say(made.children[3], one.seat < 0 ? "" : String(one.seat));
      say(made.children[4], age(one.age_s));
      say(made.children[5], age(one.silent_s));
    });
  }

  function row(one) {
    const kick = make("button", { type: "button", "aria-label": `Kick ${one.name}` }, "Kick");
    kick.onclick = () =>
      tools.sure(`Kick ${one.name}`, "The session ends and the seat is free.", "Kick", () => tools.ask(`/players/${one.session}/kick`, { method: "POST" }));
    const cells = [make("td"), make("td"), make("td", {}, make("a")), make("td.number"), make("td.number"), make("td.number")];
    return make("tr", {}, ...cells, make("td", {}, kick));
  }

  return { element, every_ms: 2000, look };
}
