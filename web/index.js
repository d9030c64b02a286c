import { followTheme, part } from "./common.js";

const theme = followTheme();
part("theme", HTMLButtonElement).addEventListener("click", () => theme.toggle());
// Who came with a server's address goes on with it.
for (const card of document.querySelectorAll("a.card")) card.setAttribute("href", card.getAttribute("href") + location.search);
