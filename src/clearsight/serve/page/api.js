// How the page talks to its service. The key lives in this variable and nowhere else.
let key = "";

export const hasKey = () => key !== "";
export function useKey(text) { key = text.trim(); }

export const headers = () => (key ? { Authorization: `Bearer ${key}` } : {});

export function call(path, options = {}) {
  const asked = { ...headers(), ...(options.headers ?? {}) };
  return fetch(path, { ...options, headers: asked, cache: "no-store", credentials: "omit" });
}
