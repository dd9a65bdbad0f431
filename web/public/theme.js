// Runs before the first paint, so that a chosen theme never flashes the other one. The rest is in src/app/theme.ts.
try {
  var chosen = localStorage.getItem('rushes.theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
} catch (e) {
  /* storage may be forbidden: the system's theme then */
}
