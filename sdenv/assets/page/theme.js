// Light or dark, decided before the first paint: as the system says, unless the person has said otherwise.
// A classic script, so that it runs before anything is drawn.
(() => {
  const KEY = "sdenv.theme";
  const root = document.documentElement;
  const stored = (() => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage is switched off; the system decides
    }
  })();
  if (stored === "light" || stored === "dark") root.dataset.theme = stored;

  window.sdenvToggleTheme = () => {
    const systemIsDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : systemIsDark;
    root.dataset.theme = isDark ? "light" : "dark";
    try {
      localStorage.setItem(KEY, root.dataset.theme);
    } catch {
      // it lasts until the page is left
    }
    return root.dataset.theme;
  };
})();
