import { describe, expect, it } from "vitest";

import { asRegion, moveEdge, orNone, WHOLE } from "../src/state/region";

describe("a part of a picture", () => {
  it("lies between two corners, in whatever order, and inside the picture", () => {
    expect(asRegion([0.7, 0.6], [0.2, 0.1])).toEqual([0.2, 0.1, 0.5, 0.5]);
    expect(asRegion([-1, 0.5], [0.25, 9])).toEqual([0, 0.5, 0.25, 0.5]);
    expect(asRegion([0.5, 0.5], [0.505, 0.9])).toBeNull();
  });
  it("has edges that do not pass each other", () => {
    expect(moveEdge([0.2, 0.2, 0.5, 0.5], "Left", 0.9)).toEqual([0.68, 0.2, 0.02, 0.5]);
    expect(moveEdge([0.2, 0.2, 0.5, 0.5], "Bottom", 0)).toEqual([0.2, 0.2, 0.5, 0.02]);
    expect(moveEdge([0.2, 0.2, 0.5, 0.5], "Right", 2)).toEqual([0.2, 0.2, 0.8, 0.5]);
    expect(moveEdge([0.2, 0.2, 0.5, 0.5], "Top", 0)).toEqual([0.2, 0, 0.5, 0.7]);
  });
  it("never reaches beyond what the server takes", () => {
    for (let at = 0; at < 2000; at += 1) {
      const region = asRegion([Math.random(), Math.random()], [Math.random() * 2, Math.random() * 2]);
      const [x, y, width, height] = region ?? WHOLE;
      expect(Math.max(x + width, y + height)).toBeLessThanOrEqual(1 + 1e-6);
      expect(Math.min(width, height)).toBeGreaterThan(0);
    }
  });
  it("is none when it is all of it", () => {
    expect(orNone(WHOLE)).toBeNull();
    expect(orNone([0, 0, 1, 0.5])).toEqual([0, 0, 1, 0.5]);
  });
});
