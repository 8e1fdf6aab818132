/** A modal dialog: focus stays inside, Escape and a click beside it close it, focus then returns. */

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

import { Icon } from "./icons";

interface Props {
  title: string;
  kind?: string;
  onClose: () => void;
  onKeyDown?: (event: KeyboardEvent) => void;
  children: ComponentChildren;
}

export function Dialog({ title, kind = "", onClose, onKeyDown, children }: Props) {
  const place = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const before = document.activeElement;
    const dialog = place.current;
    dialog?.showModal();
    dialog?.addEventListener("close", onClose);
    return () => {
      // Closed before the focus returns: behind an open dialog nothing takes it.
      dialog?.removeEventListener("close", onClose);
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={place}
      class={`dialog ${kind}`}
      aria-labelledby="dialog-title"
      onKeyDown={onKeyDown}
      onClick={(event) => event.target === place.current && place.current?.close()}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id="dialog-title">{title}</h2>
          <button type="button" class="icon-button" aria-label="Close" onClick={() => place.current?.close()}>
            <Icon name="close" />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
