import { render } from "preact";

import { App } from "./components/App";
import { loadCollections } from "./state/actions";
import { keepJudged } from "./state/keeping";
import { listenForKeys } from "./state/keys";
import { workOffline } from "./state/offline";
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
keepJudged();
searchOnChange();
writeAddress();
listenForKeys();
void loadCollections();
workOffline();

const place = document.getElementById("app");
if (place) render(<App />, place);
