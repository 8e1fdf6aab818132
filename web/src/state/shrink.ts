/** Large photos are scaled down before they are sent: encoders look at a few hundred pixels. */

const LONGEST = 2048;
const LARGE = 4 * 1024 * 1024;

/** The file itself when it is small, or when this browser cannot decode it and the server has to try. */
export async function shrunk(file: File): Promise<Blob> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return file;
  }
  const longest = Math.max(bitmap.width, bitmap.height);
  if (longest <= LONGEST && file.size <= LARGE) return file;
  const scale = Math.min(1, LONGEST / longest);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  if (!context) return file;
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const made = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  return made ? new File([made], file.name, { type: "image/jpeg" }) : file;
}
