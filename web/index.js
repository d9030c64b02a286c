import { followTheme, part } from "./common.js";
import { takeToken } from "./dashboard/api.js";

takeToken(); // of an operator, for the dashboard: it is kept for this tab

const theme = followTheme();
part("theme", HTMLButtonElement).addEventListener("click", () => theme.toggle());
// Who came with a server's address goes on with it.
for (const card of document.querySelectorAll("a.card")) card.setAttribute("href", card.getAttribute("href") + location.search);
