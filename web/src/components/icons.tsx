/** Line icons on a 24 x 24 grid. They only accompany words or a label, so screen readers skip them. */

import type { ComponentChildren } from "preact";

export type IconName = keyof typeof SHAPES;

const SHAPES = {
  pen: <path d="M4 20l1-4.5L16.5 4a2.1 2.1 0 0 1 3 3L8 18.5 4 20zM14 6.5l3.5 3.5" />,
  eraser: <path d="M9 20H20M6.6 18.4l-2.5-2.5a1.5 1.5 0 0 1 0-2.1L13.7 4.2a1.5 1.5 0 0 1 2.1 0l4 4a1.5 1.5 0 0 1 0 2.1L11.5 18.6a3.5 3.5 0 0 1-4.9-.2zM9 9l6 6" />,
  undo: <path d="M8 5L4 9l4 4M4.5 9H14a5.5 5.5 0 0 1 0 11h-4" />,
  redo: <path d="M16 5l4 4-4 4M19.5 9H10a5.5 5.5 0 0 0 0 11h4" />,
  clear: <path d="M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5" />,
  upload: <path d="M12 16V4.5M7.5 9L12 4.5 16.5 9M4.5 15.5v4h15v-4" />,
  close: <path d="M6 6l12 12M18 6L6 18" />,
  more: <path d="M12 5v14M5 12h14" />,
  less: <path d="M5 12h14" />,
  sun: (
    <>
      <circle cx="12" cy="12" r="4" />
      <path d="M12 2.5v2.5M12 19v2.5M2.5 12H5M19 12h2.5M5.3 5.3L7 7M17 17l1.7 1.7M5.3 18.7L7 17M17 7l1.7-1.7" />
    </>
  ),
  moon: <path d="M19.5 14.5A8 8 0 1 1 9.5 4.5a6.5 6.5 0 0 0 10 10z" />,
  auto: (
    <>
      <circle cx="12" cy="12" r="8" />
      <path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor" />
    </>
  ),
  help: (
    <>
      <circle cx="12" cy="12" r="9" />
      <path d="M9.5 9.5a2.5 2.5 0 1 1 3.7 2.2c-.8.5-1.2 1-1.2 1.8M12 17v.1" />
    </>
  ),
  key: (
    <>
      <circle cx="8" cy="14.5" r="4" />
      <path d="M11 11.5L19.5 4M16 7l2.5 2.5" />
    </>
  ),
  link: <path d="M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1" />,
  compare: <path d="M4 5h6.5v14H4zM13.5 5H20v14h-6.5z" />,
  mix: (
    <>
      <path d="M4 8h7M16 8h4M4 16h3M12 16h8" />
      <circle cx="13.5" cy="8" r="2.5" />
      <circle cx="9.5" cy="16" r="2.5" />
    </>
  ),
  picture: <path d="M4 5h16v14H4zM4 16l4.5-4.5 4 4 2.5-2.5 5 5M15.5 9.5v.1" />,
  missing: <path d="M4 5h16v14H4zM4 5l16 14" />,
  both: (
    <>
      <circle cx="9" cy="12" r="5.5" />
      <circle cx="15" cy="12" r="5.5" />
    </>
  ),
  left: <path d="M14.5 5L8 12l6.5 7" />,
  right: <path d="M9.5 5L16 12l-6.5 7" />,
  search: (
    <>
      <circle cx="10.5" cy="10.5" r="6" />
      <path d="M15 15l5 5" />
    </>
  ),
  like: <path d="M12 20S4 14.8 4 9.3A4.2 4.2 0 0 1 12 7.4a4.2 4.2 0 0 1 8 1.9C20 14.8 12 20 12 20z" />,
  dislike: (
    <>
      <circle cx="12" cy="12" r="8" />
      <path d="M6.5 17.5l11-11" />
    </>
  ),
  crop: <path d="M7 3v14h14M3 7h14v14" />,
  text: <path d="M5 7V5h14v2M12 5v14M9 19h6" />,
} satisfies Record<string, ComponentChildren>;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      {SHAPES[name]}
    </svg>
  );
}

/** The mark: one circle drawn, one dashed, one shared look. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 22" aria-hidden="true" focusable="false">
      <circle cx="11" cy="11" r="9" />
      <circle cx="21" cy="11" r="9" stroke-dasharray="3.4 2.8" />
    </svg>
  );
}
