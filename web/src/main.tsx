import { render } from "preact";

import { App } from "./components/App";
import { loadCollections } from "./state/actions";
import { listenForKeys } from "./state/keys";
import { searchOnChange } from "./state/search";
import { readAddress, writeAddress } from "./state/sharing";
import { applyTheme } from "./state/theme";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/query.css";
import "./styles/results.css";
import "./styles/dialogs.css";

applyTheme();
readAddress();
searchOnChange();
writeAddress();
listenForKeys();
void loadCollections();

const place = document.getElementById("app");
if (place) render(<App />, place);
