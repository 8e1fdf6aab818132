/** A picture of a collection: lazily loaded, with a placeholder while it is missing. */

import { useEffect, useRef, useState } from "preact/hooks";

import { address, getPicture, storedKey } from "../api/client";
import { Icon } from "./icons";

interface Props {
  path: string;
  alt: string;
  /** Shown when ``path`` cannot be, such as a format browsers do not know. */
  instead?: string;
}

export function Picture({ path, alt, instead }: Props) {
  const [source, setSource] = useState(path);
  const [gone, setGone] = useState(false);
  useEffect(() => {
    setSource(path);
    setGone(false);
  }, [path]);
  const failed = () => (instead && source !== instead ? setSource(instead) : setGone(true));
  if (gone) {
    return (
      <span class="picture picture-gone" role="img" aria-label={`${alt} (picture missing)`}>
        <Icon name="missing" />
        <span aria-hidden="true">Picture missing</span>
      </span>
    );
  }
  return storedKey() === null ? (
    <img class="picture" src={address(source)} alt={alt} loading="lazy" decoding="async" onError={failed} />
  ) : (
    <KeyedPicture path={source} alt={alt} failed={failed} />
  );
}

/** With an API key: fetched when it comes near the window, since an <img> sends no key. */
function KeyedPicture({ path, alt, failed }: { path: string; alt: string; failed: () => void }) {
  const place = useRef<HTMLImageElement>(null);
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    let made: string | null = null;
    const load = async () => {
      try {
        made = URL.createObjectURL(await getPicture(path, stop.signal));
        if (stop.signal.aborted) URL.revokeObjectURL(made);
        else setUrl(made);
      } catch {
        if (!stop.signal.aborted) failed();
      }
    };
    const watch = new IntersectionObserver(
      (seen) => {
        if (!seen.some(({ isIntersecting }) => isIntersecting)) return;
        watch.disconnect();
        void load();
      },
      { rootMargin: "300px" },
    );
    if (place.current) watch.observe(place.current);
    return () => {
      watch.disconnect();
      stop.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [path]);
  return <img ref={place} class="picture" {...(url ? { src: url } : {})} alt={alt} decoding="async" />;
}
