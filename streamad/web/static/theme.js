// Before the first paint, so that the page does not flash in the other theme.
try {
  const kept = localStorage.getItem("theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch { /* without storage, the system's theme holds */ }
