/** Pictures that the server reads; browsers know the types of a few of these alone. */
export const SUFFIXES: readonly string[] = [
  ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo", ".png", ".apng", ".webp",
  ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".heic", ".heif",
  ".hif", ".avif", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".ico", ".svg",
];

/** What the file dialog offers. */
export const ACCEPTED = ["image/*", ...SUFFIXES].join(",");

/** Whether a file may be a picture, by its type, or by its name where the browser knows none or another one. */
export function mayBePicture({ name, type }: { name: string; type: string }): boolean {
  const known = SUFFIXES.some((suffix) => name.toLowerCase().endsWith(suffix));
  return known || type === "" || type.startsWith("image/");
}
