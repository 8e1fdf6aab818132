/** What went wrong, in plain words. */

export class ApiError extends Error {
  constructor(
    /** HTTP status; 0 when the server did not answer. */
    readonly status: number,
    /** The server's own sentence. */
    readonly detail: string,
    /** Seconds to wait, where the server said so. */
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
  }
}

export interface PlainWords {
  title: string;
  advice: string;
}

export function plainWords(error: ApiError): PlainWords {
  const wait = error.retryAfter ? `in ${error.retryAfter} s` : "in a moment";
  switch (error.status) {
    case 0:
      return {
        title: "The server does not answer",
        advice: "It may have stopped, or the connection is gone. Your query is kept; the page keeps trying.",
      };
    case 401:
      return { title: "A key is needed", advice: "This server answers only with an API key." };
    case 403:
      return {
        title: "The server does not allow this",
        advice: "Ask for a key with more rights, or open the page at the address the server was started for.",
      };
    case 404:
      return { title: "Not found", advice: "The collection or the picture is no longer there." };
    case 413:
      return { title: "The picture is too large", advice: "Use a smaller file or one with fewer pixels." };
    case 415:
      return { title: "This file is not a picture the server can read", advice: "Try a JPEG, PNG or WebP file." };
    case 429:
      return { title: "Too many searches in a short time", advice: `Try again ${wait}.` };
    case 503:
      return { title: "The server is busy", advice: `It is starting or has too much to do. Try again ${wait}.` };
    default:
      return error.status >= 500
        ? { title: "The server failed", advice: "Try again. If it keeps failing, its log says why." }
        : { title: "This search is not possible", advice: "Change the query and try again." };
  }
}

/** The sentence in a problem document (RFC 9457); FastAPI's own lists of faults are joined. */
export function problemDetail(body: unknown): string {
  if (typeof body !== "object" || body === null) return "";
  const detail = "detail" in body ? body.detail : "title" in body ? body.title : "";
  if (typeof detail === "string") return detail;
  if (!Array.isArray(detail)) return "";
  return detail
    .map((fault) => (typeof fault === "object" && fault !== null && "msg" in fault ? String(fault.msg) : ""))
    .filter(Boolean)
    .join("; ");
}
