// Runs before the first paint, so that no theme flashes before the other. The rest is in src/app/theme.ts.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem('rushes.theme');
  } catch (e) {
    /* storage may be forbidden: the system's theme then */
  }
  var dark = chosen === 'dark' || (chosen !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.classList.toggle('dark', dark);
})();
