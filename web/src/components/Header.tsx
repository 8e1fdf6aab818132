/** Name, collections, and the page's own settings. */

import { choose, closeCompare } from "../state/actions";
import { theme, type Theme } from "../state/theme";
import { chosen, collectionOf, collections, comparing, dialog, notice } from "../state/store";
import { storedKey } from "../api/client";
import { Icon, Mark, type IconName } from "./icons";

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const ICON: Record<Theme, IconName> = { system: "auto", light: "sun", dark: "moon" };

export function Header() {
  const known = collections.value ?? [];
  const others = known.filter(({ name }) => name !== chosen.left.value);
  return (
    <header class="top">
      <h1 class="name"><Mark /> crosslens</h1>
      {known.length > 0 && (
        <div class="which">
          <Picker label="Collection" value={chosen.left.value} names={known.map(({ name }) => name)} onChange={chooseLeft} />
          {comparing.value && (
            <>
              <span class="against" aria-hidden="true">and</span>
              <Picker label="Compared with" value={chosen.right.value} names={others.map(({ name }) => name)} onChange={(name) => choose("right", name)} />
              <button type="button" class="icon-button" aria-label="Stop comparing" title="Stop comparing" onClick={closeCompare}>
                <Icon name="close" />
              </button>
            </>
          )}
          {!comparing.value && others.length > 0 && (
            <button type="button" class="button quiet" onClick={() => choose("right", others[0]?.name ?? null)}>
              <Icon name="compare" /> Compare
            </button>
          )}
        </div>
      )}
      <div class="settings">
        {collectionOf("left")?.writable && (
          <button type="button" class="icon-button" aria-label="Add pictures to the collection" title="Add pictures to the collection" onClick={() => (dialog.value = "add")}>
            <Icon name="more" />
          </button>
        )}
        <button type="button" class="icon-button" aria-label="Copy a link to this search" title="Copy link" onClick={() => void copyLink()}>
          <Icon name="link" />
        </button>
        {storedKey() !== null && (
          <button type="button" class="icon-button" aria-label="API key" title="API key" onClick={() => (dialog.value = "key")}>
            <Icon name="key" />
          </button>
        )}
        <button type="button" class="icon-button" aria-label={`Colours: ${theme.value}`} title={`Colours: ${theme.value}`} onClick={() => (theme.value = NEXT[theme.value])}>
          <Icon name={ICON[theme.value]} />
        </button>
        <button type="button" class="icon-button" aria-label="Help and shortcuts" title="Help (?)" onClick={() => (dialog.value = "help")}>
          <Icon name="help" />
        </button>
      </div>
    </header>
  );
}

interface PickerProps {
  label: string;
  value: string | null;
  names: string[];
  onChange: (name: string) => void;
}

function Picker({ label, value, names, onChange }: PickerProps) {
  const only = names.length === 1 && names[0] === value;
  if (only) return <p class="only"><span class="sr">{label}: </span>{value}</p>;
  return (
    <label class="picker">
      <span class="sr">{label}</span>
      <select value={value ?? ""} onChange={(event) => onChange(event.currentTarget.value)}>
        {names.map((name) => <option key={name} value={name} selected={name === value}>{name}</option>)}
      </select>
    </label>
  );
}

function chooseLeft(name: string): void {
  const before = chosen.left.value;
  choose("left", name);
  if (name === chosen.right.value) choose("right", collectionOf("left") ? before : null);
}

async function copyLink(): Promise<void> {
  try {
    await navigator.clipboard.writeText(location.href);
    notice.value = "Link copied: words, items and filters, without your pictures";
  } catch {
    notice.value = "Copy the address from the address bar";
  }
}
