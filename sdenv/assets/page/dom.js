// Making and finding elements. Text is always text: nothing here parses markup.

export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 *
 * @param {string} tag
 * @param {Object} properties `class`, `text`, `on<event>` handlers; everything else is an attribute.
 *   An attribute that is false, null or undefined is left out; true is set without a value.
 * @param {...(Node|string)} children
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "text") element.textContent = value;
    else if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Sets an element's text only when it differs, so that live regions and layouts stay quiet. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What localStorage holds under a name, as JSON; `fallback` where there is nothing, or no storage. */
export function stored(name, fallback) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? fallback;
  } catch {
    return fallback;
  }
}

export function store(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // private windows and full storage: the page works without
  }
}

/** A function that runs `work` once, `pause` ms after the last call. */
export function debounced(work, pause) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), pause);
  };
}
