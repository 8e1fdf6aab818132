import { describe, expect, it } from "vitest";

import { ACCEPTED, mayBePicture } from "../src/state/formats";

describe("pictures", () => {
  it("are told by their type or their name", () => {
    for (const [name, type] of [["a.jpg", "image/jpeg"], ["DSC1.MPO", ""], ["x.HEIC", "application/octet-stream"], ["pasted", ""]])
      expect(mayBePicture({ name: name ?? "", type: type ?? "" })).toBe(true);
    for (const [name, type] of [["notes.txt", "text/plain"], ["jpg", "application/pdf"]])
      expect(mayBePicture({ name: name ?? "", type: type ?? "" })).toBe(false);
  });
  it("are offered by the file dialog", () => {
    expect(ACCEPTED.split(",")).toContain(".mpo");
    expect(ACCEPTED.startsWith("image/*,.jpg,")).toBe(true);
  });
});
